"""What `evaluate` runs with, checked: conditions, scale, preprocessing, device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from pushpull.corruptions.arguments import SMALLEST_PX, checked_severity
from pushpull.corruptions.registry import GROUPS
from pushpull.data import Preprocessing
from pushpull.errors import InputError, choice

SCALE_BY_SIZE = {32: "cifar", 64: "tiny", 224: "imagenet"}


def condition_list(
    corruptions: str | Iterable[str] | None,
    severities: int | Iterable[int],
    on_disk: Mapping[str, Sequence[int]] | None = None,
    *,
    clean: bool = True,
) -> list[tuple[str | None, int | None]]:
    """Return the conditions in order: the clean one (None, None), then every corruption at every severity.

    Args:
        corruptions: names, of corruptions or of groups: "benchmark" (the fifteen), "extra" (the four others),
            "all", or a family; a string may hold several, separated by commas. Empty: the clean images only.
            None: the fifteen; of a set on disk those of the fifteen that it has, all that it has if none.
        severities: of 1..5.
        on_disk: what a set on disk has, corruption -> severities; None: any corruption can be made.
        clean: whether there are clean images.

    Raises:
        InputError: an unknown corruption, a severity outside 1..5, or a condition that is not on disk.
    """
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    others = tuple(name for name in on_disk or () if name not in known)
    groups = dict(GROUPS)
    if on_disk is not None:
        groups["all"] = tuple(on_disk)
        there = tuple(name for name in CORRUPTIONS if name in on_disk)
        corruptions = (there or tuple(on_disk)) if corruptions is None else corruptions
    allowed = (*(known if on_disk is None else on_disk), *groups)
    names: dict[str, None] = {}
    for word in _words(CORRUPTIONS if corruptions is None else corruptions):
        names.update(dict.fromkeys(groups.get(choice("corruption", word, allowed), (word,))))
    listed = severities if isinstance(severities, Iterable) else (severities,)
    levels = sorted({checked_severity(level) for level in listed})
    if names and not levels:
        raise InputError("severities is empty; give some of 1..5, or no corruptions")
    ordered = [name for name in (*known, *others) if name in names]
    if on_disk is not None:
        _check_on_disk(ordered, levels, on_disk)
    pairs: list[tuple[str | None, int | None]] = [(name, level) for name in ordered for level in levels]
    return [(None, None), *pairs] if clean else pairs


def _check_on_disk(names: Sequence[str], levels: Sequence[int], on_disk: Mapping[str, Sequence[int]]) -> None:
    """Raise where a set on disk lacks a corruption or a severity, with all that it lacks."""
    absent = [name for name in names if name not in on_disk]
    if absent:
        raise InputError(
            f"the set on disk has no {', '.join(absent)}; fetch that part, or choose among "
            f"{', '.join(on_disk)} (--corruptions)"
        )
    lacking = {
        name: missing for name in names if (missing := [str(s) for s in levels if s not in on_disk[name]])
    }
    if lacking:
        text = "; ".join(f"{name} has no severity {', '.join(missing)}" for name, missing in lacking.items())
        raise InputError(
            f"the set on disk is not complete: {text}; fetch these, or choose others (--severities)"
        )


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


def published_scale(scale: str | None, size: tuple[int, int]) -> str:
    """Return whose constants a set on disk has: as given, else by the size of its images, else "none"."""
    if scale is not None:
        return choice("scale", scale, SCALE_BY_SIZE.values())
    return SCALE_BY_SIZE.get(size[0], "none") if size[0] == size[1] else "none"


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


PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """How the network computes, which changes numbers slightly.

    Args:
        precision: "fp32": as its weights are; "bf16" or "fp16": under autocast, the network alone.
        compiled: by torch.compile.
        channels_last: memory order of its input.
    """

    precision: str = "fp32"
    compiled: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)

    @property
    def text(self) -> str:
        """What results say: "fp32", "bf16, compiled"."""
        return f"{self.precision}, compiled" if self.compiled else self.precision

    def network(self, model: nn.Module) -> Callable[[Tensor], Any]:
        """Return what is called with a batch in place of the model."""
        run: Callable[[Tensor], Any] = torch.compile(model) if self.compiled else model
        dtype, takes = PRECISIONS[self.precision], model_dtype(model)

        def call(x: Tensor) -> Any:
            x = x.contiguous(memory_format=torch.channels_last) if self.channels_last else x
            with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
                return run(x.to(takes))

        return call
