"""The unit on a GPU: Triton kernels for what follows the convolution, as operators, and when they are used.

Autograd differentiates the operators, `torch.compile` calls them as they are. Importing this imports no
triton: that happens where a tensor on a GPU meets the unit first.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushpull.errors import one_line
from pushpull.unit.backends import plain
from pushpull.unit.backends.plain import (
    Window,
    constant_when_compiled,
    gradient_undisturbed,
    mean,
    per_filter,
    window_sum,
)

# Kinds of device that the kernels run on; the tests add the CPU, where Triton's interpreter runs them.
DEVICES = ("cuda",)
_OLDEST_TRITON = (3, 3)  # of torch 2.7; the interpreter of the one before cannot run the kernels' tests
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_ARGUMENTS = 8  # of the operator `inhibit`


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


def box_mean(x: Tensor, push: Tensor, window: Window) -> Tensor:
    """Return the averaged box (N, groups, H, W) in float32.

    By plain operations where the image trains too, which is rare: the kernels give x no gradient.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return plain.box_mean(x.float(), window)
    kernel, stride, padding, dilation, groups, side, _ = window
    operator: Any = torch.ops.pushpull.box_mean.default
    box: Tensor = operator(x, push.shape[-2:], kernel, stride, padding, dilation, groups, max(side, 1))
    return box


def pooled(
    push: Tensor, contrast: Tensor, box: Tensor, alpha: float | Tensor, scale: Tensor, shift: Tensor,
    side: int,
) -> Tensor:  # fmt: skip
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
                f"triton {triton.__version__} is older than {'.'.join(map(str, _OLDEST_TRITON))}, which "
                "comes with torch 2.7"
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


@torch.library.custom_op("pushpull::inhibit", mutates_args=())
def _inhibit(
    push: Tensor, contrast: Tensor, box: Tensor, alpha: Tensor | None, bias: Tensor | None, number: float,
    side: int, keep: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """y in the layout of `push`, and the signs of both responses; empty unless `keep`."""
    from pushpull.unit.backends.triton import launch

    push = _dense(push)
    y, signs = _outputs(push, keep)
    contrast, box, alpha, bias = _contiguous(contrast, box, alpha, bias)
    launch.inhibited(push, contrast, box, alpha, bias, number, side, keep, y, signs)
    return y, signs


@torch.library.custom_op("pushpull::inhibit_backward", mutates_args=())
def _inhibit_backward(
    of_y: Tensor, signs: Tensor, push: Tensor | None, contrast: Tensor, box: Tensor, alpha: Tensor | None,
    number: float, side: int, need_box: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of push, of contrast, bias and alpha (3, C), and of the box (empty unless needed).

    push is given where alpha trains: its gradient is a sum over the pull response itself.
    """
    from pushpull.unit.backends.triton import launch

    of_y = of_y if of_y.stride() == signs.stride() else torch.empty_like(signs, dtype=of_y.dtype).copy_(of_y)
    contrast, box, alpha = _contiguous(contrast, box, alpha)
    push = None if push is None else _dense(push)
    of_push, _, of_box = _gradient_outputs(of_y, signs, box, need_box)
    sums = launch.gradients(of_y, signs, push, contrast, box, alpha, number, side, of_push)
    if need_box:
        launch.box_gradient(of_y, signs, contrast, alpha, number, of_box)
    return of_push, sums, of_box


@torch.library.custom_op("pushpull::box_mean", mutates_args=())
def _box_mean(
    x: Tensor, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], before: Sequence[int],
    dilation: Sequence[int], groups: int, side: int,
) -> Tensor:  # fmt: skip
    """The box (N, groups, H, W), averaged over `side` x `side` real pixels; no gradient."""
    from pushpull.unit.backends.triton import launch

    box = x.new_empty((len(x), groups, *size), dtype=torch.float32)
    launch.box_mean(x, kernel, stride, before, dilation, side, box)
    return box


@torch.library.custom_op("pushpull::inhibit_pooled", mutates_args=())
def _inhibit_pooled(
    push: Tensor, contrast: Tensor, box: Tensor, alpha: Tensor | None, scale: Tensor, shift: Tensor,
    number: float, side: int,
) -> Tensor:  # fmt: skip
    """max_pool(relu(scale * unit + shift), 3, 2, 1), in the layout of `push`; no gradient."""
    from pushpull.unit.backends.triton import launch

    push = _dense(push)
    y = _pooled_output(push)
    contrast, box, alpha, scale, shift = _contiguous(contrast, box, alpha, scale, shift)
    launch.pooled(push, contrast, box, alpha, scale, shift, number, side, y)
    return y


@_inhibit.register_fake
def _(push: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
    return _outputs(_dense(push), more[-1])


@_inhibit_backward.register_fake
def _(of_y: Tensor, signs: Tensor, push: Tensor | None, contrast: Tensor, box: Tensor, *more: Any) -> Any:
    return _gradient_outputs(of_y, signs, box, more[-1])


@_box_mean.register_fake
def _(x: Tensor, size: Sequence[int], *more: Any) -> Tensor:
    # Not len(x): that would make a constant of the batch.
    return x.new_empty((x.shape[0], more[-2], *size), dtype=torch.float32)


@_inhibit_pooled.register_fake
def _(push: Tensor, *more: Any) -> Tensor:
    return _pooled_output(_dense(push))


def _contiguous(*tensors: Tensor | None) -> Any:
    """The tensors as the kernels index them: a scalar that was expanded to all channels is not."""
    return [None if t is None else t.contiguous() for t in tensors]


def _dense(push: Tensor) -> Tensor:
    """The tensor, contiguous or channels_last."""
    if push.is_contiguous() or push.is_contiguous(memory_format=torch.channels_last):
        return push
    return push.contiguous()


def _outputs(push: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    signs = torch.empty_like(push, dtype=torch.uint8) if keep else push.new_empty(0, dtype=torch.uint8)
    return torch.empty_like(push), signs


def _gradient_outputs(of_y: Tensor, signs: Tensor, box: Tensor, need_box: bool) -> tuple[Tensor, ...]:
    of_box = torch.empty_like(box, memory_format=torch.contiguous_format) if need_box else box.new_empty(0)
    return torch.empty_like(signs, dtype=of_y.dtype), box.new_empty(3, signs.shape[1]), of_box


def _pooled_output(push: Tensor) -> Tensor:
    n, c, h, w = push.shape
    last = torch.contiguous_format if push.is_contiguous() else torch.channels_last
    shape = (n, c, (h + 1) // 2, (w + 1) // 2)
    return torch.empty(shape, dtype=push.dtype, device=push.device, memory_format=last)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    push, contrast, box, alpha, _, ctx.number, ctx.side, _ = inputs
    ctx.save_for_backward(output[1], None if alpha is None else push, contrast, box, alpha)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, of_y: Tensor | None, of_signs: Tensor | None) -> tuple[Tensor | None, ...]:
    if of_y is None:
        return (None,) * _ARGUMENTS
    signs, push, contrast, box, alpha = ctx.saved_tensors
    if gradient_undisturbed(of_y):
        operator: Any = torch.ops.pushpull.inhibit_backward.default
        need_box = ctx.needs_input_grad[2]
        of_push, sums, of_box = operator(
            of_y, signs, push, contrast, box, alpha, ctx.number, ctx.side, need_box
        )
        found = [of_push, sums[0], of_box, sums[2], sums[1]]
    else:
        found = _differentiable(of_y, signs, push, contrast, box, alpha, ctx.number, ctx.side)
    needs = ctx.needs_input_grad
    return *(t if need else None for t, need in zip(found, needs, strict=False)), None, None, None


_inhibit.register_autograd(_gradients, setup_context=_remember)


def _differentiable(
    of_y: Tensor, signs: Tensor, push: Tensor | None, contrast: Tensor, box: Tensor, alpha: Tensor | None,
    number: float, side: int,
) -> list[Tensor | None]:  # fmt: skip
    """The gradients by plain operations, for their own gradients: between its kinks the unit is linear."""
    wide = of_y.to(box.dtype)
    through, passed = wide * ((signs & 2) != 0), wide * ((signs & 1) != 0)
    strength: float | Tensor = number if alpha is None else per_filter(alpha)
    real = window_sum(torch.ones_like(box[:1, :1]), side)
    of_push = passed + window_sum(strength * through / real, side)
    members = signs.shape[1] // box.shape[1]
    each = box if members == signs.shape[1] else box.repeat_interleave(members, dim=1)
    of_each = -(strength * per_filter(contrast) * through)
    of_box = of_each.unflatten(1, (box.shape[1], members)).sum(2)
    of_alpha = None
    if push is not None:
        pull = per_filter(contrast) * each - mean(push.to(box.dtype), side)
        of_alpha = -(through * pull).sum((0, 2, 3))
    of_contrast = -(strength * through * each).sum((0, 2, 3))
    return [of_push.to(of_y.dtype), of_contrast, of_box, of_alpha, wide.sum((0, 2, 3))]
