"""The Triton kernels as operators: autograd differentiates them, `torch.compile` calls them as they are.

Importing this does not import triton; the first call of an operator does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushpull.unit.backends.dispatch import gradient_undisturbed
from pushpull.unit.backends.plain import mean, per_filter, window_sum

_ARGUMENTS = 8


@torch.library.custom_op("pushpull::inhibit", mutates_args=())
def inhibit(
    push: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    bias: Tensor | None,
    number: float,
    side: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """y in the layout of `push`, and the signs of both responses; empty unless `keep`."""
    from pushpull.unit.backends.triton import launch

    push = _dense(push)
    y, signs = _outputs(push, keep)
    contrast, box, alpha, bias = _contiguous(contrast, box, alpha, bias)
    launch.inhibited(push, contrast, box, alpha, bias, number, side, keep, y, signs)
    return y, signs


@torch.library.custom_op("pushpull::inhibit_backward", mutates_args=())
def inhibit_backward(
    of_y: Tensor,
    signs: Tensor,
    push: Tensor | None,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    number: float,
    side: int,
    need_box: bool,
) -> tuple[Tensor, Tensor, Tensor]:
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
    """The box (N, groups, H, W), averaged over `side` x `side` real pixels; no gradient."""
    from pushpull.unit.backends.triton import launch

    box = x.new_empty((len(x), groups, *size), dtype=torch.float32)
    launch.box_mean(x, kernel, stride, before, dilation, side, box)
    return box


@torch.library.custom_op("pushpull::inhibit_pooled", mutates_args=())
def inhibit_pooled(
    push: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    number: float,
    side: int,
) -> Tensor:
    """max_pool(relu(scale * unit + shift), 3, 2, 1), in the layout of `push`; no gradient."""
    from pushpull.unit.backends.triton import launch

    push = _dense(push)
    y = _pooled_output(push)
    contrast, box, alpha, scale, shift = _contiguous(contrast, box, alpha, scale, shift)
    launch.pooled(push, contrast, box, alpha, scale, shift, number, side, y)
    return y


@inhibit.register_fake
def _(push: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
    return _outputs(_dense(push), more[-1])


@inhibit_backward.register_fake
def _(of_y: Tensor, signs: Tensor, push: Tensor | None, contrast: Tensor, box: Tensor, *more: Any) -> Any:
    return _gradient_outputs(of_y, signs, box, more[-1])


@box_mean.register_fake
def _(x: Tensor, size: Sequence[int], *more: Any) -> Tensor:
    # Not len(x): that would make a constant of the batch.
    return x.new_empty((x.shape[0], more[-2], *size), dtype=torch.float32)


@inhibit_pooled.register_fake
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


inhibit.register_autograd(_gradients, setup_context=_remember)


def _differentiable(
    of_y: Tensor,
    signs: Tensor,
    push: Tensor | None,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    number: float,
    side: int,
) -> list[Tensor | None]:
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
