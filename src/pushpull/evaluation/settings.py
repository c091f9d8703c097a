"""What `evaluate` runs with, checked: conditions, scale, preprocessing, device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES
from pushpull.corruptions.entry import SMALLEST_PX, checked_severity
from pushpull.data import Preprocessing
from pushpull.errors import InputError, choice

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
    for word in _words(corruptions):
        names.update(dict.fromkeys(groups.get(choice("corruption", word, allowed), (word,))))
    listed = severities if isinstance(severities, Iterable) else (severities,)
    levels = sorted({checked_severity(level) for level in listed})
    if names and not levels:
        raise InputError("severities is empty; give some of 1..5, or no corruptions")
    ordered = [name for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS) if name in names]
    return [(None, None), *((name, level) for name in ordered for level in levels)]


def _words(corruptions: str | Iterable[str]) -> Iterator[Any]:
    """Yield names one by one; what is no string is passed on, to be refused by its name."""
    several = isinstance(corruptions, Iterable) and not isinstance(corruptions, str)
    every: Iterable[object] = corruptions if several else (corruptions,)
    for text in every:
        if isinstance(text, str):
            yield from filter(None, map(str.strip, text.split(",")))
        else:
            yield text


def severity_scale(scale: str | None, size: tuple[int, int], *, corrupted: bool) -> str:
    """Return the scale of the corruptions' constants: as given, else by the size of the images.

    Args:
        scale: "cifar", "tiny", "imagenet", or None.
        size: (height, width) of the images in px.
        corrupted: False: nothing will be corrupted, so every size will do, and the scale may be "none".

    Raises:
        InputError: an unknown scale, none given for images that are not 32x32, 64x64 or 224x224, or images
            too small to be corrupted.
    """
    if corrupted and min(size) < SMALLEST_PX:
        raise InputError(
            f"images of {size[0]}x{size[1]} are too small to be corrupted; "
            f"give at least {SMALLEST_PX}x{SMALLEST_PX}, or no corruptions"
        )
    if scale is not None:
        return choice("scale", scale, SCALE_BY_SIZE.values())
    if size[0] == size[1] and size[0] in SCALE_BY_SIZE:
        return SCALE_BY_SIZE[size[0]]
    if not corrupted:
        return "none"
    known = ", ".join(f"{name} ({side}x{side})" for side, name in SCALE_BY_SIZE.items())
    raise InputError(
        f"images of {size[0]}x{size[1]} are of none of the sizes that the corruptions have constants for; "
        f"choose by scale (--scale), one of {known}"
    )


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


def model_dtype(model: nn.Module) -> torch.dtype:
    """Return the type of number that a network takes: that of its parameters, float32 where they differ."""
    found = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return found.pop() if len(found) == 1 else torch.float32


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
