"""The unit's arguments: checked, and what they say about where its kernel is laid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

from torch import Tensor

from pushpull.errors import InputError

IntOrPair = int | Sequence[int]


def same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (before, after) pixels, vertical then horizontal, that "same" adds: an odd one goes after."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(t // 2, t - t // 2) for t in total]


def is_integer(value: object, minimum: int) -> bool:
    """Whether `value` is a whole number (True is not) of at least `minimum`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= minimum


def is_strength(alpha: object) -> bool:
    """Whether `alpha` is a number; True is not: `alpha=True` is a slip for `trainable_alpha=True`."""
    return isinstance(alpha, Real) and not isinstance(alpha, bool)


def check_strength(alpha: object) -> float:
    """Return a fixed inhibition strength, or raise `InputError` unless it is finite and >= 0."""
    if not is_strength(alpha) or not 0 <= alpha < math.inf:  # type: ignore[operator]
        found = " ".join(repr(alpha).split())
        raise InputError(f"alpha={found} must be a finite number of at least 0")
    return float(alpha)  # type: ignore[arg-type]


def pair(what: str, value: IntOrPair, minimum: int) -> tuple[int, int]:
    """Return `value` as (vertical, horizontal) integers of at least `minimum`, or raise `InputError`."""
    numbers = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(numbers) == 1:
        numbers = (numbers[0], numbers[0])
    if len(numbers) != 2 or not all(is_integer(n, minimum) for n in numbers):
        raise InputError(f"{what}={value!r} must be an integer of at least {minimum} or a pair of them")
    return int(numbers[0]), int(numbers[1])


def check_avg_kernel_size(size: int) -> int:
    """Return a valid pooling size, or raise `InputError`: an even one would shift the pull response."""
    if not is_integer(size, 0) or (size > 0 and size % 2 == 0):
        raise InputError(f"avg_kernel_size={size!r} must be 0 (no pooling) or odd and positive: 1, 3, 5, ...")
    return int(size)


def check_image(x: Tensor) -> None:
    """Raise `InputError` unless x is a floating-point image or a batch of them."""
    if not isinstance(x, Tensor):
        raise InputError(f"x is a {type(x).__name__}; it must be a tensor (N, C_in, H, W) or (C_in, H, W)")
    if x.dim() not in (3, 4):
        raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, C_in, H, W) or (C_in, H, W)")
    if not x.is_floating_point():
        raise InputError(f"x is {x.dtype}; it must be floating point: x.float() / 255 for 8-bit images")


class Window:
    """Where the kernel is laid on the image: the checked stride, padding and dilation."""

    def __init__(
        self, kernel: tuple[int, int], stride: IntOrPair, padding: IntOrPair | str, dilation: IntOrPair
    ) -> None:
        self.kernel = kernel
        self.stride = pair("stride", stride, 1)
        self.dilation = pair("dilation", dilation, 1)
        self.padding_argument: tuple[int, int] | str
        if isinstance(padding, str):
            self.padding_argument = padding
            self.sides = self._named(padding)
        else:
            self.padding_argument = pair("padding", padding, 0)
            self.sides = [(p, p) for p in self.padding_argument]

    def _named(self, padding: str) -> list[tuple[int, int]]:
        if padding == "valid":
            return [(0, 0), (0, 0)]
        if padding != "same":
            raise InputError(f"padding={padding!r} must be an integer, a pair, 'same' or 'valid'")
        if self.stride != (1, 1):
            raise InputError(
                f"padding='same' needs stride 1, not {self.stride}; give the padding as a number"
            )
        return same_padding(self.kernel, self.dilation)

    def output_size(self, size: Sequence[int]) -> list[int]:
        """Return the height and width of the response to an image of this height and width."""
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        padded = [n + sum(side) for n, side in zip(size, self.sides, strict=True)]
        return [(p - span) // s + 1 for p, span, s in zip(padded, spans, self.stride, strict=True)]


def check_unit(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: IntOrPair,
    padding: IntOrPair | str,
    dilation: IntOrPair,
    groups: int,
    alpha: float | Tensor,
    avg_kernel_size: int,
) -> Window:
    """Raise `InputError` for arguments that do not fit together; return the window they describe."""
    check_image(x)
    _check_parameters(weight, bias, alpha)
    out_channels, channels, *kernel = weight.shape
    if not is_integer(groups, 1) or out_channels % groups:
        raise InputError(f"groups={groups!r} must be positive and divide the {out_channels} output channels")
    if x.shape[-3] != channels * groups:
        raise InputError(
            f"x has {x.shape[-3]} channels; weight {tuple(weight.shape)} with groups={groups} "
            f"needs {channels * groups}"
        )
    check_avg_kernel_size(avg_kernel_size)
    window = Window((kernel[0], kernel[1]), stride, padding, dilation)
    if min(window.output_size(x.shape[-2:])) < 1:
        raise InputError(
            f"the {kernel[0]}x{kernel[1]} kernel with dilation {window.dilation} is larger than the image "
            f"{tuple(x.shape[-2:])} with padding {padding!r}; give larger images or more padding"
        )
    return window


def _check_parameters(weight: Tensor, bias: Tensor | None, alpha: float | Tensor) -> None:
    if not isinstance(weight, Tensor) or weight.dim() != 4 or 0 in weight.shape:
        found = f"has shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else "is no tensor"
        raise InputError(f"weight {found}; it must be (C_out, C_in/groups, kh, kw)")
    filters = weight.shape[0]
    if bias is not None and not (isinstance(bias, Tensor) and tuple(bias.shape) == (filters,)):
        found = f"has shape {tuple(bias.shape)}" if isinstance(bias, Tensor) else f"is {bias!r}"
        raise InputError(f"bias {found}; it must be a tensor ({filters},) or None")
    if isinstance(alpha, Tensor):
        if tuple(alpha.shape) not in [(filters,), (1,), ()]:
            raise InputError(f"alpha has shape {tuple(alpha.shape)}; it must be ({filters},) or a scalar")
    elif not is_strength(alpha):
        raise InputError(f"alpha={alpha!r} must be a number or a tensor ({filters},)")


def check_stem(x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor) -> None:
    """Raise `InputError` for what a stem takes less of than the unit: batches, with both numbers a filter."""
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}; a stem takes batches (N, C_in, H, W): x[None]")
    filters = weight.shape[0]
    for name, value in (("scale", scale), ("shift", shift)):
        if not (isinstance(value, Tensor) and tuple(value.shape) == (filters,)):
            found = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is {value!r}"
            raise InputError(f"{name} {found}; it must be a tensor ({filters},)")
