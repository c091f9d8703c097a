"""Which convolution an image meets first: found by running the model, not by its registration order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from pushpull.errors import InputError, one_line

# timm's mixture of kernel sizes holds convolutions that each see a part of the channels: it counts as one.
_ONE_UNIT = ("MixedConv2d",)
_FUNCTIONAL = re.compile(r"_?(deform_|mkldnn_)?conv(\dd|olution|_transpose|_tbc)")
SIZES_PX = (224, 32, 64, 128, 256, 384, 512, 299, 28)
_MOST_CHANNELS = 4


class _Met(BaseException):
    """Stops the run at a convolution; a BaseException, so that no model's `except Exception` swallows it."""

    def __init__(self, unit: nn.Module | None, image: Tensor | None = None, function: str = "") -> None:
        self.unit, self.image, self.function = unit, image, function


class _NotFoundError(Exception):
    """One way to run the model did not lead to a convolution."""


class _FunctionalConvolutions(TorchFunctionMode):
    """Stops the run where the image meets a convolution that is no module, before it met any that is."""

    def __init__(self, met: list[_Met]) -> None:
        super().__init__()
        self.met = met

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        function = getattr(func, "__name__", "")
        if not self.met and _FUNCTIONAL.match(function) and _tainted((args, kwargs)):
            raise _Met(None, function=function)
        return func(*args, **kwargs)


def convolution_units(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module below `model` that is a convolution, by its first name, in registration order.

    That is: PyTorch's own classes and theirs, and modules called `...Conv2d` that hold no convolution
    (deformable, conditional, quantised ones, and the push-pull unit).
    """
    units: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        within_mixture = any(
            name.startswith(f"{outer}.") and type(unit).__name__ in _ONE_UNIT for outer, unit in units.items()
        )
        if name and not within_mixture and _is_unit(module):
            units[name] = module
    return units


def first_convolution(model: nn.Module, example_input: Any = None) -> nn.Module:
    """Return the first convolution module that the image reaches when `model` runs.

    A NaN-filled image is sent through, in eval mode and without gradients, and stopped at the first
    convolution whose input holds a NaN: one that runs earlier on something else does not count.
    Where several see the very same image side by side (RepVGG's branches), the largest kernel is meant.
    Train flags, buffers and torch's random state are as before afterwards.

    Args:
        model: any module.
        example_input: what the model takes: a tensor, a list, a tuple (positional arguments) or a dict
            (keyword arguments). Only its shapes matter. None tries usual sizes and the channels that fit.

    Raises:
        InputError: the model could not be run, or the image reaches no convolution module.
    """
    examples = _examples(model) if example_input is None else iter([example_input])
    failures = []
    with undisturbed_model(model):
        for example in examples:
            try:
                return _run(model, example)
            except _NotFoundError as failure:
                failures.append(str(failure))
    raise InputError(f"the first convolution was not found: {failures[0]}")


def called(model: nn.Module, example: Any) -> Any:
    """Call a model with a tensor, a tuple of positional or a dict of keyword arguments; return its result."""
    if isinstance(example, tuple):
        return model(*example)
    return model(**example) if isinstance(example, dict) else model(example)


def _is_unit(module: nn.Module) -> bool:
    name = type(module).__name__
    if isinstance(module, _ConvNd) or name in _ONE_UNIT:
        return True
    return "conv2d" in name.lower() and not any(isinstance(inner, _ConvNd) for inner in module.modules())


def _image_channels(unit: nn.Module) -> int | None:
    """Channels of the images that a 2-D convolution takes; push-pull layers are such, but no `nn.Conv2d`."""
    channels = getattr(unit, "in_channels", None)
    is_2d = isinstance(unit, nn.Conv2d) or "conv2d" in type(unit).__name__.lower()
    return channels if is_2d and isinstance(channels, int) else None


def _tainted(values: Any) -> bool:
    floats = (v for v in tree_leaves(values) if isinstance(v, Tensor) and v.is_floating_point())
    return any(bool(v.isnan().any()) for v in floats)


def _nan_image(example: Any) -> Any:
    """A copy of the example whose image, the floating-point tensor of most dimensions, is all NaN."""
    if isinstance(example, Mapping):
        example = dict(example)
    dims = [v.dim() for v in tree_leaves(example) if isinstance(v, Tensor) and v.is_floating_point()]
    if not dims:
        raise InputError("example_input holds no floating-point tensor to follow; give one, or name=")

    def fill(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        image = value.is_floating_point() and value.dim() == max(dims)
        return torch.full_like(value, torch.nan) if image else value.clone()

    return tree_map(fill, example)


def _run(model: nn.Module, example: Any) -> nn.Module:
    """Return the unit at which the run stopped; `_NotFoundError` where this example led to none."""
    image, met = _nan_image(example), list[_Met]()
    units = convolution_units(model).values()

    def meet(unit: nn.Module, args: Any, kwargs: Any) -> None:
        if not _tainted((args, kwargs)):
            return
        seen = next(v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor))
        if not met or _same(met[0].image, seen):
            met.append(_Met(unit, seen))
            if any(_kernel(other) > _kernel(unit) and _parallel(other, unit) for other in units):
                return  # on to the branches beside it
        raise met[-1]

    handles = [unit.register_forward_pre_hook(meet, prepend=True, with_kwargs=True) for unit in units]
    try:
        with _FunctionalConvolutions(met):
            called(model, image)
    except _Met as stopped:
        met = met or [stopped]
    except Exception as error:
        if not met:
            raise _NotFoundError(
                f"the model does not run ({one_line(error)}); give example_input= or name="
            ) from error
    finally:
        for handle in handles:
            handle.remove()
    if not met:
        raise _NotFoundError(
            "the image reaches no convolution when the model runs; give name= to replace one anyway"
        )
    return _accepted(model, max(met, key=lambda one: _kernel(one.unit)))


def _kernel(unit: nn.Module | None) -> int:
    """Pixels under the kernel, 0 where it is not known."""
    size = getattr(unit, "kernel_size", 0)
    return math.prod(size) if isinstance(size, tuple) else 0


def _parallel(one: nn.Module, other: nn.Module) -> bool:
    """Whether two convolutions could stand side by side."""
    return all(getattr(one, what, 0) == getattr(other, what, 1) for what in ("in_channels", "stride"))


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and one.data_ptr() == other.data_ptr()


def _accepted(model: nn.Module, met: _Met) -> nn.Module:
    if met.unit is None:
        raise InputError(
            f"the image first meets the function {met.function} in {_caller(model, met)}, not a module; "
            f"only modules can be replaced: give name= for another convolution"
        )
    expected, image = _image_channels(met.unit), met.image
    channels = image.shape[-3] if image is not None and image.dim() >= 3 else None
    if None not in (expected, channels) and channels != expected:
        raise _NotFoundError(
            f"the first convolution takes {expected} channels, not {channels}; give another example_input"
        )
    return met.unit


def _caller(model: nn.Module, met: _Met) -> str:
    """Class and name of the innermost module that was running when the function was met."""
    names = {id(module): name for name, module in model.named_modules()}
    found = f"the model itself ({type(model).__name__})"
    trace = met.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if names.get(id(module)):
            found = f"{type(module).__name__} {names[id(module)]!r}"
        trace = trace.tb_next
    return found


def _examples(model: nn.Module) -> Iterator[Tensor]:
    """Images to try: the size that timm notes, then the channels that convolutions take, 3 and 1 first."""
    floats = (p for p in model.parameters() if p.is_floating_point() and not nn.parameter.is_lazy(p))
    like = next(floats, torch.empty(0))
    config = getattr(model, "pretrained_cfg", None)
    noted = config.get("input_size") if isinstance(config, Mapping) else None
    if noted:
        yield like.new_zeros((1, *noted))
    known = [_image_channels(unit) for unit in convolution_units(model).values()]
    taken = dict.fromkeys(count for count in known if count is not None)
    channels = sorted(taken, key=lambda c: {3: 0, 1: 1}.get(c, 2))[:_MOST_CHANNELS]
    channels += [3] if 3 not in channels else []  # pixels may be folded into channels on the way
    for size_px in SIZES_PX:
        for count in channels:
            yield like.new_zeros((1, count, size_px, size_px))


@contextmanager
def undisturbed_model(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; on leaving, train flags, buffers and random state are what they were."""
    modules = list(model.modules())
    flags = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    copies = [(b, b.clone()) for b in model.buffers() if not b.is_meta]
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        try:
            for module in modules:
                # Not .eval(): some models do work in it (they merge or move weights).
                module.training = False
            yield
        finally:
            for module, flag, registered in zip(modules, flags, buffers, strict=True):
                module.training = flag
                module._buffers.update(registered)
            for buffer, copy in copies:
                if not torch.equal(buffer, copy):
                    buffer.copy_(copy)
