"""What `evaluate` runs with, checked: conditions, scale, preprocessing, device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES
from pushpull.data import Preprocessing
from pushpull.errors import InputError, choice
from pushpull.evaluation.results import SEVERITIES

SCALE_BY_SIZE = {32: "cifar", 64: "tiny", 224: "imagenet"}


def condition_list(
    corruptions: str | Iterable[str], severities: int | Iterable[int]
) -> list[tuple[str | None, int | None]]:
    """Return the conditions in order: the clean one (None, None), then every corruption at every severity.

    Args:
        corruptions: names, of corruptions or of groups: "benchmark" (the fifteen), "extra" (the four others),
            "all", or a family; a string may hold several, separated by commas. Empty: the clean images only.
        severities: of 1..5.

    Raises:
        InputError: an unknown corruption, or a severity outside 1..5.
    """
    groups = {
        "benchmark": CORRUPTIONS,
        "extra": EXTRA_CORRUPTIONS,
        "all": (*CORRUPTIONS, *EXTRA_CORRUPTIONS),
        **FAMILIES,
    }
    allowed = (*CORRUPTIONS, *EXTRA_CORRUPTIONS, *groups)
    names: dict[str, None] = {}
    text = corruptions if isinstance(corruptions, str) else ",".join(corruptions)
    for word in map(str.strip, text.split(",")):
        if word:
            names.update(dict.fromkeys(groups.get(choice("corruption", word, allowed), (word,))))
    levels = sorted(set([severities] if isinstance(severities, int) else severities))
    for level in levels:
        if isinstance(level, bool) or level not in SEVERITIES:
            raise InputError(f"severity={level} is outside 1..5")
    if names and not levels:
        raise InputError("severities is empty; give some of 1..5, or no corruptions")
    ordered = [name for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS) if name in names]
    return [(None, None), *((name, level) for name in ordered for level in levels)]


def severity_scale(scale: str | None, size: tuple[int, int]) -> str:
    """Return the scale of the corruptions' constants: as given, else by the size of the images.

    Raises:
        InputError: an unknown scale, or none given for images that are not 32x32, 64x64 or 224x224.
    """
    if scale is not None:
        return choice("scale", scale, SCALE_BY_SIZE.values())
    if size[0] == size[1] and size[0] in SCALE_BY_SIZE:
        return SCALE_BY_SIZE[size[0]]
    known = ", ".join(f"{name} ({side}x{side})" for side, name in SCALE_BY_SIZE.items())
    raise InputError(f"images of {size[0]}x{size[1]} have no scale of their own; give scale, one of {known}")


def chosen_preprocessing(preprocessing: Preprocessing | None, model: nn.Module) -> Preprocessing:
    """Return what is done to images before the network: as given, else its own, else only [0, 1]."""
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        raise InputError(
            f"preprocessing={preprocessing!r} is not one; give pushpull.Preprocessing(mean, std, size)"
        )
    if preprocessing is not None:
        return preprocessing
    # It brings torchvision and timm, which a network that comes with its preprocessing does not need.
    from pushpull.models import model_preprocessing

    return model_preprocessing(model) or Preprocessing()


def chosen_device(device: str | torch.device | None, model: nn.Module) -> torch.device:
    """Return the device to run on: as given, else where the model is.

    Raises:
        InputError: no such device here, or none given for a model that is spread over several.
    """
    homes = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(homes) > 1:
        raise InputError(
            f"the model is spread over {', '.join(sorted(map(str, homes)))}; move it to one device"
        )
    if device is None:
        return next(iter(homes), torch.device("cpu"))
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"device={str(device)!r} cannot be used here ({reason}); try cpu") from error
    return wanted


@contextmanager
def lent_to_evaluation(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Have the model in eval mode on `device`, then restore every module's train flag and the device."""
    flags = [(module, module.training) for module in model.modules()]
    home = chosen_device(None, model)
    try:
        model.eval().to(device)
        yield
    finally:
        model.to(home)
        for module, flag in flags:
            module.training = flag


def device_text(device: torch.device) -> str:
    """Return the device's type, and its name where there is one: "cpu", "cuda (NVIDIA H100)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
