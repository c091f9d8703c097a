"""Push-pull convolution as pure functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pushpull.unit.arguments import IntOrPair, Window, check_stem, check_unit
from pushpull.unit.backends import cpu as chunks
from pushpull.unit.backends import triton as kernels
from pushpull.unit.backends.box import box_by_kernels, box_mean, contrast
from pushpull.unit.backends.cpu_operator import inhibited_in_chunks, pooled_in_chunks
from pushpull.unit.backends.dispatch import undisturbed
from pushpull.unit.backends.plain import inhibited, per_filter

# Sums of products of half-precision responses lose what makes them cancel, so those are done in float32.
_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def pull_kernel(weight: Tensor) -> Tensor:
    """Return the opposite-contrast kernel of every filter.

    W~ = -W + (max(W) + min(W)), max and min over each output filter.

    Args:
        weight: (C_out, C_in/groups, kh, kw), floating point.

    Returns:
        Tensor of the same shape; gradients flow through max and min.

    Source: Bennabhaktula et al., ICPR 2024, section 3.
    """
    return contrast(weight)[:, None, None, None] - weight


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
) -> Tensor:
    """Convolve with push and pull kernels and subtract the rectified responses.

    P = conv(x, W);  Q = avg_pool(conv(x, W~));  y = relu(P) - alpha * relu(Q) + b,
    with W~ = m - W and m = max(W) + min(W) a filter. conv(x, W~) is computed as m * S - P, S the sum of x
    over the window: one convolution and a one-channel box filter, not two convolutions.

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

    Returns:
        (N, C_out, H_out, W_out), with the shape, dtype and memory format that `conv2d` gives. In half
        precision and under autocast the convolution runs in half and what follows in float32.

    Raises:
        InputError: a ValueError; shapes that do not fit, an even or negative pooling size, a bad stride.

    Source: Bennabhaktula et al., ICPR 2024, section 3.
    """
    window = check_unit(x, weight, bias, stride, padding, dilation, groups, alpha, avg_kernel_size)
    if x.dim() == 3:
        y = push_pull_conv2d(
            x[None],
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            alpha=alpha,
            avg_kernel_size=avg_kernel_size,
        )
        return y[0]

    if x.device.type in chunks.DEVICES and undisturbed(x, weight, bias, alpha):
        return inhibited_in_chunks(*_for_chunks(x, weight, bias, window, groups, alpha, avg_kernel_size))
    push = _convolved(x, weight, window, groups)
    return _inhibited(push, x, weight, bias, window, groups, alpha, avg_kernel_size)


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
) -> Tensor:
    """Do what a residual network begins with, at inference: unit, batch norm, relu, 3x3/2 max-pool.

    y = max_pool(relu(scale * push_pull_conv2d(x, weight, ...) + shift)), windows of 3x3, stride 2, padding 1.
    Where no gradient is asked for, all that follows the convolution is one pass over the response.

    Args:
        x: (N, C_in, H, W), floating point, any range.
        scale, shift: (C_out,), the batch norm as gamma / sqrt(var + eps) and beta - mean * scale; a bias b of
            the unit adds scale * b to the shift.
        weight, stride, padding, dilation, groups, alpha, avg_kernel_size: as in `push_pull_conv2d`.

    Returns:
        (N, C_out, H_out, W_out), a quarter of the unit's pixels, in the convolution's dtype.

    Raises:
        InputError: a ValueError, as in `push_pull_conv2d`.

    Source: Bennabhaktula et al., ICPR 2024, section 3; He et al., CVPR 2016, section 3.3.
    """
    window = check_unit(x, weight, shift, stride, padding, dilation, groups, alpha, avg_kernel_size)
    check_stem(x, scale, shift, weight)
    given = [t for t in (x, weight, scale, shift, alpha) if isinstance(t, Tensor)]
    trains = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    direct = not trains and undisturbed(*given)
    # A compiler does as well with the unit's operator and its own code for the rest.
    if direct and x.device.type in chunks.DEVICES and not torch.compiler.is_compiling():
        parts = _for_chunks(x, weight, None, window, groups, alpha, avg_kernel_size)
        return pooled_in_chunks(*parts, scale, shift)
    push = _convolved(x, weight, window, groups)
    if direct and kernels.fit(push):
        box = box_by_kernels(x, push, window, groups, avg_kernel_size)
        strength = _wide_strength(alpha, weight, torch.float32)
        sizes = (strength, scale.float(), shift.float(), avg_kernel_size)
        return kernels.pooled(push, contrast(weight.float()), box, *sizes)
    y = _inhibited(push, x, weight, None, window, groups, alpha, avg_kernel_size)
    wide = _WIDER.get(y.dtype, y.dtype)
    y = F.relu(y.to(wide) * per_filter(scale.to(wide)) + per_filter(shift.to(wide)))
    return F.max_pool2d(y, 3, 2, 1).to(push.dtype)


def _convolved(x: Tensor, weight: Tensor, window: Window, groups: int) -> Tensor:
    return F.conv2d(x, weight, None, window.stride, window.padding_argument, window.dilation, groups)


def _inhibited(
    push: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int,
    alpha: float | Tensor,
    avg_kernel_size: int,
) -> Tensor:
    """What follows the convolution, by kernels or by plain operations, in the dtype of `push`."""
    wide = _WIDER.get(push.dtype, push.dtype)
    strength = _wide_strength(alpha, weight, wide)
    added = None if bias is None else bias.to(wide)
    m = contrast(weight.to(wide))
    if kernels.fit(push) and undisturbed(x, weight, bias, alpha):
        box = box_by_kernels(x, push, window, groups, avg_kernel_size)
        return kernels.inhibited(push, m, box, strength, added, avg_kernel_size)
    box = box_mean(x.to(wide), window, groups, weight.shape[0], avg_kernel_size)
    return inhibited(push.to(wide), m, box, strength, added, avg_kernel_size).to(push.dtype)


def _wide_strength(alpha: float | Tensor, weight: Tensor, wide: torch.dtype) -> float | Tensor:
    return alpha.to(wide).expand(weight.shape[0]) if isinstance(alpha, Tensor) else alpha


def _for_chunks(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int,
    alpha: float | Tensor,
    avg_kernel_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, float | Tensor, Tensor | None, chunks.Steps]:
    """What `inhibited_in_chunks` takes; autocast and uneven padding are seen to here."""
    convolved, filters = _as_autocast(x), _as_autocast(weight)
    wide = _WIDER.get(convolved.dtype, convolved.dtype)
    (top, bottom), (left, right) = window.sides
    if top == bottom and left == right:
        padding = (top, left)
    else:
        padding = (0, 0)
        convolved = F.pad(convolved, (left, right, top, bottom))
    steps = chunks.Steps(window.stride, padding, window.dilation, groups, avg_kernel_size, wide)
    box = box_mean(x.to(wide), window, groups, weight.shape[0], avg_kernel_size)
    strength = _wide_strength(alpha, weight, wide)
    added = None if bias is None else bias.to(wide)
    return convolved, filters, contrast(weight.to(wide)), box, strength, added, steps


def _as_autocast(t: Tensor) -> Tensor:
    """The tensor as a convolution under autocast takes it."""
    if torch.is_autocast_enabled("cpu") and t.dtype != torch.float64:
        return t.to(torch.get_autocast_dtype("cpu"))
    return t
