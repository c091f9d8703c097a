"""The unit's steps after the convolution as plain operations: tools trace, transform and export them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def inhibited(
    response: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: float | Tensor,
    bias: Tensor | None,
    avg_kernel_size: int,
) -> Tensor:
    """Return relu(P) - alpha * relu(contrast * box - mean(P)) + bias, in operations that can be traced.

    Args:
        response: (N, C, H, W), P.
        contrast, bias: (C,).
        box: (N, 1 or C, H, W), averaged already: a mean is linear, and the box has one channel.
        alpha: a number or (C,).
        avg_kernel_size: side of the mean over real pixels; 0 or 1 for none.
    """
    pull = per_filter(contrast) * box - mean(response, avg_kernel_size)
    strength = per_filter(alpha) if isinstance(alpha, Tensor) else alpha
    y = F.relu(response) - strength * F.relu(pull)
    return y if bias is None else y + per_filter(bias)


def mean(response: Tensor, side: int) -> Tensor:
    """Average over `side` x `side` pixels, real ones only; 0 or 1 for none."""
    if side <= 1:
        return response
    return F.avg_pool2d(response, side, 1, side // 2, count_include_pad=False)


def per_filter(value: Tensor) -> Tensor:
    """(C,) or a scalar, to be broadcast over (N, C, H, W)."""
    return value.reshape(-1, 1, 1)


def window_sum(t: Tensor, side: int, sign: int = 1) -> Tensor:
    """Sum over `side` x `side` pixels, with zeros outside, times the sign; 0 or 1 for none."""
    return F.avg_pool2d(t, side, 1, side // 2, divisor_override=sign) if side > 1 else sign * t
