"""What the pull response is made from beside the push response: the filters' contrast, the image's box."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pushpull.unit.arguments import Window
from pushpull.unit.backends import triton as kernels
from pushpull.unit.backends.plain import mean


def contrast(weight: Float[Tensor, "o i kh kw"]) -> Float[Tensor, " o"]:
    """m = max(W) + min(W) of each filter: what a pull kernel adds to -W."""
    return weight.amax(dim=(1, 2, 3)) + weight.amin(dim=(1, 2, 3))


def box_mean(x: Tensor, window: Window, groups: int, out_channels: int, avg_kernel_size: int) -> Tensor:
    """The box sum, averaged as the pull response is: (N, 1, H, W), or (N, C_out, H, W) for several groups."""
    box = mean(box_sum(x, window, groups), avg_kernel_size)
    return box if groups == 1 else box.repeat_interleave(out_channels // groups, dim=1)


def box_sum(x: Tensor, window: Window, groups: int) -> Tensor:
    """Sum of x over the window and a group's channels: (N, groups, H, W).

    Windows of a strided view, one side after the other, instead of a convolution with ones: autocast cannot
    round it, its cost is kh + kw additions a pixel of one channel, and its size is the convolution's by the
    same formula, so that torch.export proves them equal for every height, width and stride.
    """
    total = x.sum(1, keepdim=True) if groups == 1 else x.unflatten(1, (groups, -1)).sum(2)
    (top, bottom), (left, right) = window.sides
    total = F.pad(total, (left, right, top, bottom))
    (kh, kw), (dh, dw), (sh, sw) = window.kernel, window.dilation, window.stride
    total = total.unfold(-2, dh * (kh - 1) + 1, sh)[..., ::dh].sum(-1)
    total = total.unfold(-1, dw * (kw - 1) + 1, sw)[..., ::dw].sum(-1)
    return total


def box_by_kernels(x: Tensor, push: Tensor, window: Window, groups: int, side: int) -> Tensor:
    """The averaged box (N, groups, H, W); by plain operations where the image trains too, which is rare."""
    if torch.is_grad_enabled() and x.requires_grad:
        return mean(box_sum(x.float(), window, groups), side)
    before = [first for first, _ in window.sides]
    size = list(push.shape[-2:])
    return kernels.box_mean(x, size, window.kernel, window.stride, before, window.dilation, groups, side)
