"""Push-pull convolution as pure functions of tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor

from pushpull.errors import InputError
from pushpull.unit.backends import cpu, plain
from pushpull.unit.backends import triton as kernels
from pushpull.unit.backends.plain import Window, contrast, per_filter, undisturbed

__all__ = ["pull_kernel", "push_pull_conv2d", "push_pull_stem"]

OFFSETS = ("extrema", "mean", "zero")
IntOrPair = int | Sequence[int]
Sides = list[tuple[int, int]]  # (before, after) pixels, vertical then horizontal


def pull_kernel(weight: Tensor, offset: str | float = "extrema") -> Tensor:
    """Return the opposite-contrast kernel of every filter.

    W~ = m - W,  m = max(W) + min(W) over each output filter, or as `offset` says.

    Args:
        weight: (C_out, C_in/groups, kh, kw), floating point.
        offset: as in `push_pull_conv2d`.

    Returns:
        Tensor of the same shape and dtype; gradients flow through m.

    Raises:
        InputError: another offset.

    Source: Bennabhaktula et al., ICPR 2024, section 3.

    >>> pull_kernel(torch.tensor([[[[1.0, -2.0], [3.0, 0.0]]]]))
    tensor([[[[ 0.,  3.],
              [-2.,  1.]]]])
    """
    return contrast(weight, check_pull(0, offset)[1])[:, None, None, None] - weight


def push_pull_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    alpha: float | Tensor = 1.0,
    avg_kernel_size: int = 3,
    offset: str | float = "extrema",
) -> Tensor:
    """Convolve with push and pull kernels and subtract the rectified responses.

    P = conv(x, W);  Q = avg_pool(conv(x, W~));  y = relu(P) - alpha * relu(Q) + b,
    with W~ = m - W and m = max(W) + min(W) of each filter (or as `offset` says). conv(x, W~) is computed as
    m * S - P, S the sum of x over the window: one convolution and a one-channel box filter, not two
    convolutions.

    Args:
        x: (N, C_in, H, W) or (C_in, H, W), floating point, any range.
        weight: (C_out, C_in/groups, kh, kw), the push kernels W.
        bias: (C_out,), added after the subtraction, or None.
        stride: step of the window in pixels, one number or (vertical, horizontal).
        padding: zeros on each side in pixels, one number or a pair, or "same" or "valid".
        dilation: spacing of the kernel's taps in pixels.
        groups: groups of channels that are convolved apart.
        alpha: inhibition strength: a number, a scalar tensor or (C_out,).
        avg_kernel_size: side of the average pooling (stride 1, mean over real pixels only) of the pull
            response, before its rectification; 0 or 1 for none, else odd.
        offset: m of the pull kernel: "extrema", max(W) + min(W), the paper's; "mean", 2 mean(W), with which
            flat regions of any brightness cancel at alpha = 1; "zero"; or t in [0, 1], t of the first and
            1 - t of the second.

    Returns:
        (N, C_out, H_out, W_out), with the shape, dtype and memory format that `conv2d` gives. In half
        precision and under autocast the convolution runs in half and what follows in float32.

    Raises:
        InputError: a ValueError; shapes that do not fit, an even or negative pooling size, a bad stride
            or offset.

    Source: Bennabhaktula et al., ICPR 2024, section 3. Offsets other than "extrema" are ours.

    >>> push_pull_conv2d(torch.rand(2, 3, 32, 32), torch.randn(16, 3, 3, 3), padding=1).shape
    torch.Size([2, 16, 32, 32])
    """
    check_image(x)
    _check_parameters(weight, bias, alpha)
    x, window = _laid(x, weight, stride, padding, dilation, groups, avg_kernel_size, offset)
    return respond(x, weight, bias, alpha, window)


def push_pull_stem(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    alpha: float | Tensor = 1.0,
    avg_kernel_size: int = 3,
    offset: str | float = "extrema",
) -> Tensor:
    """Do what a residual network begins with, at inference: unit, batch norm, relu, 3x3/2 max-pool.

    y = max_pool(relu(scale * push_pull_conv2d(x, weight, ...) + shift)), windows of 3x3, stride 2, padding 1.
    Where no gradient is asked for, all that follows the convolution is one pass over the response.

    Args:
        x: (N, C_in, H, W), floating point, any range.
        weight, stride, padding, dilation, groups, alpha, avg_kernel_size, offset: as in `push_pull_conv2d`.
        scale, shift: (C_out,), the batch norm as gamma / sqrt(var + eps) and beta - mean * scale; a bias b of
            the unit adds scale * b to the shift.

    Returns:
        (N, C_out, H_out, W_out), a quarter of the unit's pixels, in the convolution's dtype.

    Raises:
        InputError: a ValueError, as in `push_pull_conv2d`; an image without batch, a scale of another shape.

    Source: Bennabhaktula et al., ICPR 2024, section 3; He et al., CVPR 2016, section 3.3.
    """
    check_image(x)
    _check_parameters(weight, None, alpha)
    for name, value in (("scale", scale), ("shift", shift)):
        _check_per_filter(name, value, weight.shape[0], "")
    x, window = _laid(x, weight, stride, padding, dilation, groups, avg_kernel_size, offset)
    return respond_pooled(x, weight, scale, shift, alpha, window)


def respond(x: Tensor, weight: Tensor, bias: Tensor | None, alpha: float | Tensor, window: Window) -> Tensor:
    """Do what `push_pull_conv2d` does; only x is checked, as all else is where it enters a layer."""
    check_fits(x, weight, window)
    if x.dim() == 3:
        return respond(x[None], weight, bias, alpha, window)[0]
    direct = undisturbed(x, weight, bias, alpha)
    if direct and x.device.type in cpu.DEVICES:
        return cpu.respond(x, weight, bias, alpha, window)
    push = window.convolve(x, weight)
    return _inhibited(push, x, weight, bias, alpha, window, direct and kernels.fit(push))


def respond_pooled(
    x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, alpha: float | Tensor, window: Window
) -> Tensor:
    """Do what `push_pull_stem` does; only x is checked."""
    if x.dim() != 4:
        raise InputError(f"x has shape {tuple(x.shape)}; a stem takes batches (N, C_in, H, W): x[None]")
    check_fits(x, weight, window)
    given = [t for t in (x, weight, scale, shift, alpha) if isinstance(t, Tensor)]
    trains = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    direct = not trains and undisturbed(*given)
    # A compiler does as well with the unit's operator and its own code for the rest.
    if direct and x.device.type in cpu.DEVICES and not torch.compiler.is_compiling():
        return cpu.respond(x, weight, None, alpha, window, (scale, shift))
    push = window.convolve(x, weight)
    if direct and kernels.fit(push):
        m, strength, _ = plain.filter_values(weight, alpha, None, torch.float32, window.offset)
        box = kernels.box_mean(x, push, window)
        return kernels.pooled(push, m, box, strength, scale.float(), shift.float(), window.avg_kernel_size)
    y = _inhibited(push, x, weight, None, alpha, window, kernels.fit(push) and undisturbed(x, weight, alpha))
    wide = plain.WIDER.get(y.dtype, y.dtype)
    y = F.relu(y.to(wide) * per_filter(scale.to(wide)) + per_filter(shift.to(wide)))
    return F.max_pool2d(y, 3, 2, 1).to(push.dtype)


def _inhibited(
    push: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    alpha: float | Tensor,
    window: Window,
    by_kernels: bool,
) -> Tensor:
    """What follows the convolution, by kernels or by plain operations, in the dtype of `push`."""
    wide, side = plain.WIDER.get(push.dtype, push.dtype), window.avg_kernel_size
    m, strength, added = plain.filter_values(weight, alpha, bias, wide, window.offset)
    if by_kernels:
        return kernels.inhibited(push, m, kernels.box_mean(x, push, window), strength, added, side)
    box = plain.box_mean(x.to(wide), window, weight.shape[0] // window.groups)
    return plain.inhibited(push.to(wide), m, box, strength, added, side).to(push.dtype)


def is_integer(value: object, minimum: int) -> bool:
    """Whether `value` is a whole number (True is not) of at least `minimum`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= minimum


def is_number(value: object) -> bool:
    """Whether `value` is a number; True is not: `alpha=True` is a slip for `trainable_alpha=True`."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_strength(alpha: object) -> float:
    """Return a fixed inhibition strength, or raise `InputError` unless it is finite and >= 0."""
    if isinstance(alpha, Real) and not isinstance(alpha, bool) and 0 <= float(alpha) < math.inf:
        return float(alpha)
    found = " ".join(repr(alpha).split())
    raise InputError(f"alpha={found} must be a finite number of at least 0")


def pair(what: str, value: IntOrPair, minimum: int) -> tuple[int, int]:
    """Return `value` as (vertical, horizontal) integers of at least `minimum`, or raise `InputError`."""
    numbers = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(numbers) == 1:
        numbers = (numbers[0], numbers[0])
    if len(numbers) != 2 or not all(is_integer(n, minimum) for n in numbers):
        raise InputError(f"{what}={value!r} must be an integer of at least {minimum} or a pair of them")
    return int(numbers[0]), int(numbers[1])


def check_pull(size: int, offset: str | float) -> tuple[int, str | float]:
    """Return the pull response's pooling size, odd so that nothing shifts, and offset, or raise."""
    if not is_integer(size, 0) or (size > 0 and size % 2 == 0):
        raise InputError(f"avg_kernel_size={size!r} must be 0 (no pooling) or odd and positive: 1, 3, 5, ...")
    if offset not in OFFSETS and not (is_number(offset) and 0 <= float(offset) <= 1):
        raise InputError(f"offset={offset!r} must be one of {', '.join(OFFSETS)}, or a number from 0 to 1")
    return int(size), offset


def check_image(x: Tensor) -> None:
    """Raise `InputError` unless x is a floating-point image or a batch of them."""
    if not isinstance(x, Tensor):
        raise InputError(f"x is a {type(x).__name__}; it must be a tensor (N, C_in, H, W) or (C_in, H, W)")
    if x.dim() not in (3, 4):
        raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, C_in, H, W) or (C_in, H, W)")
    if not x.is_floating_point():
        raise InputError(f"x is {x.dtype}; it must be floating point: x.float() / 255 for 8-bit images")


def check_fits(x: Tensor, weight: Tensor, window: Window) -> None:
    """Raise `InputError` unless x is an image with the channels of the weight and a place for its kernel."""
    if not (isinstance(x, Tensor) and x.dim() in (3, 4) and x.is_floating_point()):
        check_image(x)
    channels = weight.shape[1] * window.groups
    if x.shape[-3] != channels:
        raise InputError(
            f"x has {x.shape[-3]} channels; weight {tuple(weight.shape)} with groups={window.groups} "
            f"needs {channels}"
        )
    for n, k, p, d in zip(x.shape[-2:], window.kernel, window.padding, window.dilation, strict=True):
        if n + 2 * p < d * (k - 1) + 1:
            raise InputError(
                f"the {window.kernel[0]}x{window.kernel[1]} kernel with dilation {window.dilation} is larger "
                f"than the image {tuple(x.shape[-2:])} with padding {window.padding}; give larger images or "
                "more padding"
            )


def padded(x: Tensor, sides: Sides, mode: str = "constant") -> Tensor:
    """Pad x at each side, as `torch.nn.functional.pad` does in this mode."""
    (top, bottom), (left, right) = sides
    return F.pad(x, (left, right, top, bottom), mode=mode)


def evenly_padded(x: Tensor, sides: Sides) -> tuple[Tensor, tuple[int, int]]:
    """Return x with the zeros that a convolution is to add, or where sides differ, padded and with none."""
    (top, bottom), (left, right) = sides
    return (x, (top, left)) if top == bottom and left == right else (padded(x, sides), (0, 0))


def same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> Sides:
    """Return (before, after) pixels, vertical then horizontal, that "same" adds: an odd one goes after."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(t // 2, t - t // 2) for t in total]


def _laid(
    x: Tensor,
    weight: Tensor,
    stride: IntOrPair,
    padding: IntOrPair | str,
    dilation: IntOrPair,
    groups: int,
    avg_kernel_size: int,
    offset: str | float,
) -> tuple[Tensor, Window]:
    """Check where the kernel is to be laid; return the window, and x, padded where sides differ."""
    kernel = (weight.shape[2], weight.shape[3])
    if not is_integer(groups, 1) or weight.shape[0] % groups:
        raise InputError(
            f"groups={groups!r} must be positive and divide the {weight.shape[0]} output channels"
        )
    pull = check_pull(avg_kernel_size, offset)
    steps, spacing = pair("stride", stride, 1), pair("dilation", dilation, 1)
    pad = (0, 0)
    if not isinstance(padding, str):
        pad = pair("padding", padding, 0)
    elif padding == "same":
        if steps != (1, 1):
            raise InputError(f"padding='same' needs stride 1, not {steps}; give the padding as a number")
        x, pad = evenly_padded(x, same_padding(kernel, spacing))
    elif padding != "valid":
        raise InputError(f"padding={padding!r} must be an integer, a pair, 'same' or 'valid'")
    return x, Window(kernel, steps, pad, spacing, int(groups), *pull)


def _check_parameters(weight: Tensor, bias: Tensor | None, alpha: float | Tensor) -> None:
    if not isinstance(weight, Tensor) or weight.dim() != 4 or 0 in weight.shape:
        found = f"has shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else "is no tensor"
        raise InputError(f"weight {found}; it must be (C_out, C_in/groups, kh, kw)")
    filters = weight.shape[0]
    if bias is not None:
        _check_per_filter("bias", bias, filters, " or None")
    if isinstance(alpha, Tensor):
        if tuple(alpha.shape) not in [(filters,), (1,), ()]:
            raise InputError(f"alpha has shape {tuple(alpha.shape)}; it must be ({filters},) or a scalar")
    elif not is_number(alpha):
        raise InputError(f"alpha={alpha!r} must be a number or a tensor ({filters},)")


def _check_per_filter(name: str, value: Tensor, filters: int, otherwise: str) -> None:
    if not (isinstance(value, Tensor) and tuple(value.shape) == (filters,)):
        found = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is {value!r}"
        raise InputError(f"{name} {found}; it must be a tensor ({filters},){otherwise}")
