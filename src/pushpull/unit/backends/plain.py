"""The unit as plain operations, and where these are needed: tools trace, transform and export them.

What the other backends are built from is here too: the window, the filters' contrast, the image's box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _len_torch_dispatch_stack

P = ParamSpec("P")

# Sums of products of half-precision responses lose what makes them cancel, so those are done in float32.
WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


class Window(NamedTuple):
    """Where a kernel is laid on the image, and over what the pull response is averaged; checked already.

    Attributes:
        kernel, stride, padding, dilation: (vertical, horizontal) pixels.
        groups: groups of channels that are convolved apart.
        avg_kernel_size: side of the mean over real pixels; 0 or 1 for none.
        offset: of the pull kernel, see `contrast`.
    """

    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int
    avg_kernel_size: int
    offset: str | float = "extrema"

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return conv(x, weight), the push response."""
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)


def contrast(weight: Float[Tensor, "o i kh kw"], offset: str | float = "extrema") -> Float[Tensor, " o"]:
    """Return m of each filter, what a pull kernel adds to -W.

    "extrema": max(W) + min(W); "mean": 2 mean(W); "zero": 0; a number t: t of the first, 1 - t of the second.
    """
    if offset == "zero":
        return weight.new_zeros(len(weight))
    share = float(offset != "mean") if isinstance(offset, str) else offset
    if share == 0:
        return 2 * weight.mean(dim=(1, 2, 3))
    extrema = weight.amax(dim=(1, 2, 3)) + weight.amin(dim=(1, 2, 3))
    return extrema if share == 1 else torch.lerp(2 * weight.mean(dim=(1, 2, 3)), extrema, share)


def filter_values(
    weight: Tensor, alpha: float | Tensor, bias: Tensor | None, wide: torch.dtype, offset: str | float
) -> tuple[Tensor, float | Tensor, Tensor | None]:
    """Return m, alpha (a number or (C,)) and bias in the dtype of what follows the convolution."""
    strength = alpha.to(wide).expand(weight.shape[0]) if isinstance(alpha, Tensor) else alpha
    return contrast(weight.to(wide), offset), strength, None if bias is None else bias.to(wide)


def box_mean(x: Tensor, window: Window, members: int = 1) -> Tensor:
    """Return the sum of x over the window and a group's channels, averaged as the pull response is.

    Windows of a strided view, one side after the other, instead of a convolution with ones: autocast cannot
    round it, its cost is kh + kw additions per pixel of one channel, and its size is the convolution's by the
    same formula, so that torch.export proves them equal for every height, width and stride.

    Args:
        x: (N, C_in, H_in, W_in).
        window: where the sums are taken.
        members: how often each group's box is repeated: the filters of a group, for operations that do not
            share a box among channels; the one box of a single group is broadcast.

    Returns:
        (N, 1, H, W), or (N, groups * members, H, W) for several groups.
    """
    groups, (ph, pw), (kh, kw) = window.groups, window.padding, window.kernel
    (dh, dw), (sh, sw) = window.dilation, window.stride
    total = x.sum(1, keepdim=True) if groups == 1 else x.unflatten(1, (groups, -1)).sum(2)
    total = F.pad(total, (pw, pw, ph, ph))
    total = total.unfold(-2, dh * (kh - 1) + 1, sh)[..., ::dh].sum(-1)
    total = total.unfold(-1, dw * (kw - 1) + 1, sw)[..., ::dw].sum(-1)
    box, side = total, window.avg_kernel_size
    if side > 1:
        box = F.avg_pool2d(total, side, 1, side // 2, count_include_pad=False)
    return box if groups == 1 or members == 1 else box.repeat_interleave(members, dim=1)


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


def undisturbed(*values: object) -> bool:
    """Whether one operator may stand for the unit: plain tensors on one device, nothing exports or counts.

    `torch.compile` does not disturb: it takes an operator as it is. Forward-mode differentiation,
    `torch.func`, `torch.export` and modes that see every operation (FlopCounterMode) do.
    """
    if torch.jit.is_tracing() or _exporting() or _transformed():
        return False
    tensors = [t for t in values if isinstance(t, Tensor)]
    if not all(type(t) in (Tensor, torch.nn.Parameter) and t.layout == torch.strided for t in tensors):
        return False
    if any(t.device != tensors[0].device for t in tensors):
        return False  # PyTorch's own operations say what is wrong, or take a number from the CPU
    if torch.compiler.is_compiling():
        return True
    return not _len_torch_dispatch_stack() and not any(
        torch._C._functorch.is_legacy_batchedtensor(t) or forward_ad.unpack_dual(t).tangent is not None
        for t in tensors
    )


def gradient_undisturbed(of_y: Tensor) -> bool:
    """Whether a gradient may come from an operator, which has none itself and cannot be batched."""
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        return True
    batched = torch._C._functorch.is_legacy_batchedtensor(of_y)
    return not (_len_torch_dispatch_stack() or batched or forward_ad.unpack_dual(of_y).tangent is not None)


# Older versions cannot tell export from compilation: there both get plain operations.
_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def constant_when_compiled(function: Callable[P, bool]) -> Callable[P, bool]:
    """Let a compiler call the function once, while it looks at the program, instead of looking into it.

    As `torch.compiler.assume_constant_result`, which imports the compiler for it: a second more for everyone.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_when_compiled
def _transformed() -> bool:
    return bool(torch._C._are_functorch_transforms_active())
