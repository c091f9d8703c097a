"""The unit on a GPU: Triton kernels for what follows the convolution, and when they are used.

Importing this imports no triton: that happens where a tensor on a GPU meets the unit first.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushpull.errors import one_line
from pushpull.unit.backends.dispatch import constant_when_compiled
from pushpull.unit.backends.triton import ops as _ops

# Kinds of device that the kernels run on; the tests add the CPU, where Triton's interpreter runs them.
DEVICES = ("cuda",)
_OLDEST_TRITON = (3, 3)  # of torch 2.7; the interpreter of the one before cannot run the kernels' tests
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

assert _ops.inhibit is not None


def fit(push: Tensor) -> bool:
    """Whether the kernels can take this response: its device, its dtype, and Triton works here at all."""
    device = push.device
    if device.type not in DEVICES or push.dtype not in _DTYPES:
        return False
    return device.type == "cpu" or _works(device.index or 0, push.dtype == torch.bfloat16)


def inhibited(
    push: Tensor, contrast: Tensor, box: Tensor, alpha: float | Tensor, bias: Tensor | None, side: int
) -> Tensor:
    """Return `plain.inhibited(...)` in the dtype of `push`, and in its layout.

    Args:
        push: (N, C, H, W), a dtype that `fit` takes; all others are float32.
        contrast, bias: (C,).
        box: (N, groups, H, W), averaged already.
        alpha: a number or (C,).
        side: side of the mean over real pixels; 0 or 1 for none.
    """
    strength, number = _strength(alpha)
    given = (push, contrast, box, strength, bias)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)
    operator: Any = torch.ops.pushpull.inhibit.default
    y: Tensor = operator(*given, number, max(side, 1), keep)[0]
    return y


def box_mean(
    x: Tensor,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    side: int,
) -> Tensor:
    """Return the averaged box (N, groups, *size) in float32; x gets no gradient through it."""
    operator: Any = torch.ops.pushpull.box_mean.default
    box: Tensor = operator(x, size, kernel, stride, before, dilation, groups, max(side, 1))
    return box


def pooled(
    push: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: float | Tensor,
    scale: Tensor,
    shift: Tensor,
    side: int,
) -> Tensor:
    """Return max_pool(relu(scale * inhibited(...) + shift), 3, 2, 1); no gradient."""
    strength, number = _strength(alpha)
    operator: Any = torch.ops.pushpull.inhibit_pooled.default
    y: Tensor = operator(push, contrast, box, strength, scale, shift, number, max(side, 1))
    return y


def _strength(alpha: float | Tensor) -> tuple[Tensor | None, float]:
    return (alpha, 1.0) if isinstance(alpha, Tensor) else (None, float(alpha))


@constant_when_compiled
def _works(index: int, bfloat16: bool) -> bool:
    return _probe(index, bfloat16)


@functools.cache
def _probe(index: int, bfloat16: bool) -> bool:
    """Whether a first kernel runs: Triton may be missing, lack a C compiler or not know the GPU."""
    if bfloat16 and torch.version.hip is None and torch.cuda.get_device_capability(index) < (8, 0):
        return False  # bfloat16 is not in the older GPUs' instructions
    try:
        import triton

        if tuple(map(int, triton.__version__.split(".")[:2])) < _OLDEST_TRITON:
            raise ImportError(
                f"triton {triton.__version__} is older than {'.'.join(map(str, _OLDEST_TRITON))}"
            )
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        from pushpull.unit.backends.triton import launch

        # A compiler may ask while it works on fake tensors.
        with unset_fake_temporarily():
            launch.probe(torch.device("cuda", index))
    # Whatever it is, the unit works without the kernels.
    except Exception as error:
        warnings.warn(
            f"the push-pull unit runs without its Triton kernels, slower: {one_line(error)}", stacklevel=2
        )
        return False
    return True
