"""The push-pull unit on the CPU, a few images at a time, so that what lies in between stays in the cache.

A first layer's response is 3 MB per image. On a whole batch, each step of the unit fetches a hundred
megabytes from memory and writes to as many fresh pages, which costs more than the convolution; on few images
the steps beside the convolution cost a third of it. So do the gradients, which compute the responses again:
nothing of the output's size is kept for them. It is one operator: autograd differentiates it, `torch.compile`
calls it as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pushpull.unit.backends import plain
from pushpull.unit.backends.plain import Window, gradient_undisturbed

# Kinds of device where the unit works in chunks.
DEVICES = ("cpu",)
# Bytes of response to work on at once, for each thread: 1 to 4 MiB are about the same, less and more slower.
_CHUNK_BYTES = 2**21
_TENSORS = 6  # of the operator's arguments: x, weight, contrast, box, alpha, bias

_masked = torch.ops.aten.threshold_backward
_convolution_backward = torch.ops.aten.convolution_backward


def respond(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    alpha: float | Tensor,
    window: Window,
    norm: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the unit's response; with a norm, (scale, shift), what a stem makes of it, without gradients."""
    convolved, filters = x, weight
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        convolved, filters = (t if t.dtype == torch.float64 else t.to(half) for t in (x, weight))
    wide = plain.WIDER.get(convolved.dtype, convolved.dtype)
    m, strength, added = plain.filter_values(weight, alpha, bias, wide, window.offset)
    box = plain.box_mean(x.to(wide), window, weight.shape[0] // window.groups)
    given = (strength, added, 1.0) if isinstance(strength, Tensor) else (None, added, float(strength))
    operands = (convolved, filters, m, box, *given)
    if norm is None:
        operator: Any = torch.ops.pushpull.unit_in_chunks.default
        result: Tensor = operator(*operands, *window[1:-1])
        return result
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return _pooled(operands, window, *norm)


@torch.library.custom_op("pushpull::unit_in_chunks", mutates_args=(), device_types="cpu")
def unit_in_chunks(
    x: Tensor, weight: Tensor, contrast: Tensor, box: Tensor, alpha: Tensor | None, bias: Tensor | None,
    number: float, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int,
    side: int,
) -> Tensor:  # fmt: skip
    """See `_forward`."""
    window = Window(weight.shape[2:], stride, padding, dilation, groups, side)
    with torch.autocast("cpu", enabled=False):
        return _forward((x, weight, contrast, box, alpha, bias, number), window)


@torch.library.custom_op("pushpull::unit_in_chunks_backward", mutates_args=(), device_types="cpu")
def unit_in_chunks_backward(
    of_y: Tensor, x: Tensor, weight: Tensor, contrast: Tensor, box: Tensor, alpha: Tensor | None,
    bias: Tensor | None, number: float, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int, side: int, wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """See `_backward`; an empty tensor where no gradient is wanted."""
    window = Window(weight.shape[2:], stride, padding, dilation, groups, side)
    with torch.autocast("cpu", enabled=False):
        found = _backward(of_y, (x, weight, contrast, box, alpha, bias, number), window, wanted)
    first, second, third, fourth, fifth, sixth = (x.new_empty(0) if t is None else t for t in found)
    return first, second, third, fourth, fifth, sixth


@unit_in_chunks.register_fake
def _(x: Tensor, weight: Tensor, *more: Any) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return Window(weight.shape[2:], *more[_TENSORS - 1 :]).convolve(x, weight)


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
    """Return the gradients of the six tensors, and None for the numbers."""
    wanted = ctx.needs_input_grad[:_TENSORS]
    none = [None] * len(ctx.numbers)
    if not gradient_undisturbed(of_y):
        return *_differentiable(ctx, of_y, wanted), *none
    operator: Any = torch.ops.pushpull.unit_in_chunks_backward.default
    found = operator(of_y, *ctx.saved_tensors, *ctx.numbers, wanted)
    return *(t if need else None for t, need in zip(found, wanted, strict=True)), *none


unit_in_chunks.register_autograd(_gradients, setup_context=_remember)


def _differentiable(ctx: Any, of_y: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
    """The gradients by traceable operations on the whole batch: for their own gradients, and for vmap."""
    again = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views, so that a gradient stops here and does not run on to an argument of an argument.
        views: list[Any] = [
            None if t is None else t.view_as(t) if again else t.detach().requires_grad_(need)
            for t, need in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        x, weight, contrast, box, alpha, bias = views
        number, *sizes = ctx.numbers
        push = Window(weight.shape[2:], *sizes).convolve(x, weight)
        strength = number if alpha is None else alpha
        y = plain.inhibited(push.to(box.dtype), contrast, box, strength, bias, sizes[-1]).to(push.dtype)
    asked = [t for t, need in zip(views, wanted, strict=True) if need and t is not None]
    found = iter(torch.autograd.grad(y, asked, of_y, create_graph=again))
    return [next(found) if need else None for need in wanted]


def _forward(operands: tuple[Any, ...], window: Window, dtype: torch.dtype | None = None) -> Tensor:
    """Return `plain.inhibited(conv(x, weight), ...)` in the memory format that `conv2d` gives.

    x and weight have one dtype, which is the result's unless `dtype` says otherwise; all others have the
    wider one of the box; alpha is (C,), or None for the number. The mean is written as D * K(P): K the sum
    over the window, zeros outside, and D, a plane, one over the number of real pixels. K is linear and is its
    own transpose.
    """
    x, weight, contrast, box, alpha, bias, number = operands
    if not len(x):
        return window.convolve(x, weight)
    side = window.avg_kernel_size
    plane, flat = _planes(box, side)
    y = x.new_empty(0)
    for part in _parts(x, box, weight.shape[0]):
        push = window.convolve(x[part], weight)
        if part.start == 0:
            # The strides of the whole batch are those of a part: images follow each other.
            strides = (push[0].numel(), *push.stride()[1:])
            y = torch.empty_strided((len(x), *push.shape[1:]), strides, dtype=dtype or push.dtype)
        response = push.to(box.dtype)
        # Not yet divided by the number of pixels.
        pull = _window_sum(response, side, -1).addcmul_(contrast[:, None, None], flat[part]).relu_()
        if alpha is not None:
            pull *= alpha[:, None, None]
        wide = y.dtype == box.dtype
        target = torch.clamp_min(response, 0, out=y[part]) if wide else response.relu_()
        if plane is None:
            target.sub_(pull, alpha=number)
        else:
            target.addcmul_(pull, plane, value=-number)
        if bias is not None:
            target += bias[:, None, None]
        if not wide:
            y[part] = target
    return y


def _pooled(operands: tuple[Any, ...], window: Window, scale: Tensor, shift: Tensor) -> Tensor:
    """Return max_pool(relu(scale * unit + shift), 3, 2, 1) in x's dtype."""
    x, weight, contrast, box, *more = operands
    scale, shift = (t.to(box.dtype)[:, None, None] for t in (scale, shift))
    n, _, h, w = box.shape
    y = x.new_empty(n, len(weight), (h + 1) // 2, (w + 1) // 2)
    for part in _parts(x, box, len(weight)):
        # x stays in its dtype: what follows the convolution is rounded once, at the end.
        unit = _forward((x[part], weight, contrast, box[part], *more), window, box.dtype)
        found = F.max_pool2d(unit.mul_(scale).add_(shift).relu_(), 3, 2, 1)
        if part.start == 0 and not found.is_contiguous():
            y = y.contiguous(memory_format=torch.channels_last)
        y[part] = found
    return y


def _backward(
    of_y: Tensor, operands: tuple[Any, ...], window: Window, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients of the six tensors among the operands of `_forward`, where wanted."""
    x, weight, _, box, *_ = operands
    if not len(x):
        return [torch.zeros_like(t) if need else None for t, need in zip(operands, wanted, strict=False)]
    plane, flat = _planes(box, window.avg_kernel_size)
    # Those of x and of the box are written part by part; the others are sums, in the wider dtype.
    empty, zeros = torch.empty_like, torch.zeros_like
    kinds = zip((empty, zeros, zeros, empty, zeros, zeros), operands, wanted, strict=False)
    sums = [
        make(t, dtype=x.dtype if t is x else box.dtype) if need and t is not None else None
        for make, t, need in kinds
    ]
    for part in _parts(x, box, weight.shape[0]):
        _add_gradients(sums, part, of_y[part], operands, window, plane, flat[part])
    if sums[3] is not None and plane is not None:
        sums[3] /= plane
    return [None if s is None else s.to(t.dtype) for s, t in zip(sums, operands, strict=False)]


def _add_gradients(
    sums: list[Any],
    part: slice,
    of_y: Tensor,
    operands: tuple[Any, ...],
    window: Window,
    plane: Tensor | None,
    flat: Tensor,
) -> None:
    """Add a part of the batch to the gradients that are wanted, or write it there."""
    x, weight, contrast, box, alpha, _, number = operands
    of_x, of_weight, of_contrast, of_box, of_alpha, of_bias = sums
    push = window.convolve(x[part], weight)
    response = push.to(box.dtype)
    if of_y.dtype != response.dtype or of_y.stride()[1:] != response.stride()[1:]:
        of_y = torch.empty_like(response).copy_(of_y)
    pull = _window_sum(response, window.avg_kernel_size, -1).addcmul_(contrast[:, None, None], flat)
    # Less the gradient of the pull response: its sign waits for the sums, it would cost a pass here.
    of_pull = _masked(of_y, pull, 0)
    if plane is not None:
        of_pull *= plane
    if of_bias is not None:
        of_bias += of_y.sum((0, 2, 3))
    if of_alpha is not None:
        of_alpha -= (of_pull * pull).sum((0, 2, 3))
    if alpha is not None or number != 1.0:
        of_pull *= number if alpha is None else alpha[:, None, None]
    if of_contrast is not None:
        of_contrast -= (of_pull * flat).sum((0, 2, 3))
    if of_box is not None:
        of_flat = of_pull * contrast[:, None, None]
        of_box[part] = -(of_flat.sum(1, keepdim=True) if of_box.shape[1] == 1 else of_flat)
    if of_x is not None or of_weight is not None:
        of_push = _masked(of_y, response, 0)
        of_push -= _window_sum(of_pull, window.avg_kernel_size, -1)
        _add_convolution(of_x, of_weight, of_push.to(push.dtype), part, x, weight, window)


def _add_convolution(
    of_x: Any, of_weight: Any, of_push: Tensor, part: slice, x: Tensor, weight: Tensor, window: Window
) -> None:
    _, stride, padding, dilation, groups, *_ = window
    mask = [of_x is not None, of_weight is not None, False]
    x_part, weight_part, _ = _convolution_backward(
        of_push, x[part], weight, None, stride, padding, dilation, False, [0, 0], groups, mask
    )
    if of_x is not None:
        of_x[part] = x_part
    if of_weight is not None:
        of_weight += weight_part


def _parts(x: Tensor, box: Tensor, filters: int) -> Iterator[slice]:
    """Slices of the batch, each with about as much response as the caches hold."""
    image_bytes = filters * box.shape[2] * box.shape[3] * box.element_size()
    images = max(1, _CHUNK_BYTES * torch.get_num_threads() // image_bytes)
    for start in range(0, len(x), images):
        yield slice(start, start + images)


def _planes(box: Tensor, side: int) -> tuple[Tensor | None, Tensor]:
    """(H, W), one over the real pixels in the mean's window, None without a mean; the box before the mean."""
    if side <= 1:
        return None, box
    plane = 1 / _window_sum(torch.ones_like(box[0, 0])[None, None], side)[0, 0]
    return plane, box / plane


def _window_sum(t: Tensor, side: int, sign: int = 1) -> Tensor:
    """Sum over `side` x `side` pixels, with zeros outside, times the sign; always a new tensor.

    ATen's pooling takes 2 (channels_last) to 10 times (contiguous) as long as oneDNN's convolution of every
    channel by itself.
    """
    onednn = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    if side > 1 and t.dtype == torch.float32 and onednn:
        channels = t.shape[1]
        kernel = t.new_full((channels, 1, side, side), float(sign))
        return F.conv2d(t, kernel, None, 1, side // 2, 1, channels)
    return plain.window_sum(t, side, sign)
