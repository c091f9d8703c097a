"""The unit in chunks as one operator: autograd differentiates it, `torch.compile` calls it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushpull.unit.backends import cpu as chunks
from pushpull.unit.backends.cpu import Steps
from pushpull.unit.backends.dispatch import gradient_undisturbed
from pushpull.unit.backends.plain import inhibited, per_filter

_TENSORS = 6


def inhibited_in_chunks(
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: float | Tensor,
    bias: Tensor | None,
    steps: Steps,
) -> Tensor:
    """Return `plain.inhibited(conv(x, weight), ...)` by `chunks.forward`; alpha is a number or (C,)."""
    strength, number = (alpha, 1.0) if isinstance(alpha, Tensor) else (None, float(alpha))
    operator: Any = torch.ops.pushpull.unit_in_chunks.default
    result: Tensor = operator(x, weight, contrast, box, strength, bias, number, *steps[:-1])
    return result


def pooled_in_chunks(
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: float | Tensor,
    bias: Tensor | None,
    steps: Steps,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """Return max_pool(relu(scale * inhibited_in_chunks(...) + shift), 3, 2, 1), without gradients."""
    strength, number = (alpha, 1.0) if isinstance(alpha, Tensor) else (None, float(alpha))
    given = (x, weight, contrast, box, strength, bias, number, steps)
    with torch.no_grad():
        return chunks.pooled(*given, per_filter(scale.to(steps.wide)), per_filter(shift.to(steps.wide)))


@torch.library.custom_op("pushpull::unit_in_chunks", mutates_args=(), device_types="cpu")
def unit_in_chunks(
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    bias: Tensor | None,
    number: float,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    side: int,
) -> Tensor:
    """See `chunks.forward`."""
    steps = _steps(box, stride, padding, dilation, groups, side)
    if not len(x):
        return steps.push(x, weight)
    return chunks.forward(x, weight, contrast, box, alpha, bias, number, steps)


@torch.library.custom_op("pushpull::unit_in_chunks_backward", mutates_args=(), device_types="cpu")
def unit_in_chunks_backward(
    of_y: Tensor,
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    bias: Tensor | None,
    number: float,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    side: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the six tensors; an empty one where none is wanted."""
    saved = (x, weight, contrast, box, alpha, bias)
    steps = _steps(box, stride, padding, dilation, groups, side)
    if len(x):
        found = chunks.backward(of_y, saved, number, steps, wanted)
    else:
        found = [None if t is None else torch.zeros_like(t) for t in saved]
    of_x, of_weight, of_contrast, of_box, of_alpha, of_bias = (
        x.new_empty(0) if t is None else t for t in found
    )
    return of_x, of_weight, of_contrast, of_box, of_alpha, of_bias


@unit_in_chunks.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    bias: Tensor | None,
    number: float,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    side: int,
) -> Tensor:
    return _steps(box, stride, padding, dilation, groups, side).push(x, weight)


@unit_in_chunks_backward.register_fake
def _(of_y: Tensor, x: Tensor, *more: Any) -> tuple[Tensor, ...]:
    saved, wanted = (x, *more[: _TENSORS - 1]), more[-1]
    return tuple(
        x.new_empty(0) if t is None or not need else torch.empty_like(t)
        for t, need in zip(saved, wanted, strict=True)
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep the arguments alone, nothing of the output's size."""
    ctx.save_for_backward(*inputs[:_TENSORS])
    ctx.numbers = inputs[_TENSORS:]


def _gradients(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of the first six arguments, and None for the numbers."""
    wanted = ctx.needs_input_grad[:_TENSORS]
    none = [None] * len(ctx.numbers)
    if not gradient_undisturbed(of_y):
        return *_differentiable(ctx, of_y, wanted), *none
    operator: Any = torch.ops.pushpull.unit_in_chunks_backward.default
    found = operator(of_y, *ctx.saved_tensors, *ctx.numbers, wanted)
    return *(t if need else None for t, need in zip(found, wanted, strict=True)), *none


unit_in_chunks.register_autograd(_gradients, setup_context=_remember)


def _steps(
    box: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    side: int,
) -> Steps:
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    return Steps((sh, sw), (ph, pw), (dh, dw), groups, side, box.dtype)


def _differentiable(ctx: Any, of_y: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
    """The gradients by traceable operations on the whole batch: for their own gradients, and for vmap."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that a gradient stops here and does not run on to an argument of an argument.
        views = [
            None if t is None else t.view_as(t) if again else t.detach().requires_grad_(need)
            for t, need in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        x, weight, contrast, box, alpha, bias = views
        assert x is not None and weight is not None and contrast is not None and box is not None  # noqa: PT018
        number, *sizes = ctx.numbers
        steps = _steps(box, *sizes)
        push = steps.push(x, weight)
        strength = number if alpha is None else alpha
        y = inhibited(push.to(steps.wide), contrast, box, strength, bias, steps.avg_kernel_size)
        y = y.to(push.dtype)
    asked = [t for t, need in zip(views, wanted, strict=True) if need and t is not None]
    found = iter(torch.autograd.grad(y, asked, of_y, create_graph=again))
    return [next(found) if need else None for need in wanted]
