"""The push-pull unit on the CPU, a few images at a time, so that what lies in between stays in the cache.

A first layer's response is 3 MB an image. On a whole batch, each step of the unit fetches a hundred megabytes
from memory and writes to as many fresh pages, which costs more than the convolution; on few images the steps
beside the convolution cost a third of it. So do the gradients, which compute the responses again: nothing of
the output's size is kept for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushpull.unit.backends.plain import per_filter, window_sum

# Kinds of device where the unit works in chunks.
DEVICES = ("cpu",)
# Bytes of response to work on at once, for each thread: 1 to 4 MiB are about the same, less and more slower.
_CHUNK_BYTES = 2**21

_masked = torch.ops.aten.threshold_backward
_convolution_backward = torch.ops.aten.convolution_backward


class Steps(NamedTuple):
    """What is done beside the tensors: the convolution, the side of the pooling, the dtype after them."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    avg_kernel_size: int
    wide: torch.dtype

    def push(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return conv(x, weight) in the dtype of both, whatever autocast says."""
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)


def forward(
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    bias: Tensor | None,
    number: float,
    steps: Steps,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return `plain.inhibited(conv(x, weight), ...)` in the memory format that `conv2d` gives.

    x and weight have one dtype, which is the result's unless `dtype` says otherwise; all others have
    `steps.wide`; alpha is (C,), or None for `number`. The mean is written as D * K(P): K the sum over the
    window, zeros outside, and D, a plane, one over the number of real pixels. K is linear and its own
    transpose.
    """
    plane = _plane(box, steps.avg_kernel_size)
    flat = _flat(box, plane)
    y = x.new_empty(0)
    for part in _parts(x, box, weight.shape[0]):
        push = steps.push(x[part], weight)
        if part.start == 0:
            y = torch.empty_strided((len(x), *push.shape[1:]), _strides(push), dtype=dtype or push.dtype)
        response = push.to(steps.wide)
        pull = _pull(response, contrast, flat[part], steps).relu_()
        if alpha is not None:
            pull *= per_filter(alpha)
        wide = y.dtype == steps.wide
        target = torch.clamp_min(response, 0, out=y[part]) if wide else response.relu_()
        strength = 1.0 if alpha is not None else number
        if plane is None:
            target.sub_(pull, alpha=strength)
        else:
            target.addcmul_(pull, plane, value=-strength)
        if bias is not None:
            target += per_filter(bias)
        if not wide:
            y[part] = target
    return y


def pooled(
    x: Tensor,
    weight: Tensor,
    contrast: Tensor,
    box: Tensor,
    alpha: Tensor | None,
    bias: Tensor | None,
    number: float,
    steps: Steps,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """Return max_pool(relu(scale * forward(...) + shift), 3, 2, 1) in x's dtype; scale, shift: (C, 1, 1)."""
    n, _, h, w = box.shape
    y = x.new_empty(n, len(weight), (h + 1) // 2, (w + 1) // 2)
    for part in _parts(x, box, len(weight)):
        # x stays in its dtype: what follows the convolution is rounded once, at the end.
        unit = forward(x[part], weight, contrast, box[part], alpha, bias, number, steps, steps.wide)
        found = F.max_pool2d(unit.mul_(scale).add_(shift).relu_(), 3, 2, 1)
        if part.start == 0 and not found.is_contiguous():
            y = y.contiguous(memory_format=torch.channels_last)
        y[part] = found
    return y


def backward(
    of_y: Tensor,
    saved: tuple[Tensor | None, ...],
    number: float,
    steps: Steps,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of the first six arguments of `forward`, which are `saved`, where wanted."""
    x, weight, contrast, box, alpha, _ = saved
    assert x is not None and weight is not None and contrast is not None and box is not None  # noqa: PT018
    strength = number if alpha is None else per_filter(alpha)
    plane = _plane(box, steps.avg_kernel_size)
    flat = _flat(box, plane)
    sums = _Gradients(saved, wanted, steps)
    for part in _parts(x, box, weight.shape[0]):
        push = steps.push(x[part], weight)
        response = push.to(steps.wide)
        of_part = _as_laid_out(of_y[part], response)
        pull = _pull(response, contrast, flat[part], steps)
        # Less the gradient of the pull response: its sign waits for the sums, it would cost a pass here.
        of_pull = _masked(of_part, pull, 0)
        if plane is not None:
            of_pull *= plane
        sums.add_outer(of_part, of_pull, pull)
        if alpha is not None or number != 1.0:
            of_pull *= strength
        sums.add_inner(of_pull, contrast, flat, part)
        if sums.of_convolution:
            of_push = _masked(of_part, response, 0)
            of_push -= _negative_sum(of_pull, steps.avg_kernel_size)
            sums.add_convolution(of_push.to(push.dtype), x, weight, part)
    return sums.finished(plane)


class _Gradients:
    """Sums over the parts of the batch, in the order of the arguments; None where none is wanted."""

    def __init__(self, saved: tuple[Tensor | None, ...], wanted: Sequence[bool], steps: Steps) -> None:
        self.steps = steps
        self.of_convolution = wanted[0] or wanted[1]
        # Those of x and of the box are written part by part; the others are sums, in the wider dtype.
        empty, zeros = torch.empty_like, torch.zeros_like
        kinds = [empty, zeros, zeros, empty, zeros, zeros]
        self.dtypes = [None if t is None else t.dtype for t in saved]
        self.sums = [
            make(t, dtype=t.dtype if i == 0 else steps.wide) if wanted[i] and t is not None else None
            for i, (make, t) in enumerate(zip(kinds, saved, strict=True))
        ]

    def add_outer(self, of_y: Tensor, of_pull: Tensor, pull: Tensor) -> None:
        """Add to alpha and bias."""
        *_, of_alpha, of_bias = self.sums
        if of_bias is not None:
            of_bias += of_y.sum((0, 2, 3))
        if of_alpha is not None:
            of_alpha -= (of_pull * pull).sum((0, 2, 3))

    def add_inner(self, of_pull: Tensor, contrast: Tensor, flat: Tensor, part: slice) -> None:
        """Add to the contrast and to the box."""
        of_contrast, of_box = self.sums[2:4]
        if of_contrast is not None:
            of_contrast -= (of_pull * flat[part]).sum((0, 2, 3))
        if of_box is not None:
            of_flat = of_pull * per_filter(contrast)
            of_box[part] = -(of_flat.sum(1, keepdim=True) if of_box.shape[1] == 1 else of_flat)

    def add_convolution(self, of_push: Tensor, x: Tensor, weight: Tensor, part: slice) -> None:
        """Add to x and to the weight."""
        of_x, of_weight = self.sums[:2]
        stride, padding, dilation, groups, *_ = self.steps
        mask = [of_x is not None, of_weight is not None, False]
        x_part, weight_part, _ = _convolution_backward(
            of_push, x[part], weight, None, stride, padding, dilation, False, [0, 0], groups, mask
        )
        if of_x is not None:
            of_x[part] = x_part
        if of_weight is not None:
            of_weight += weight_part

    def finished(self, plane: Tensor | None) -> list[Tensor | None]:
        """Return what autograd asked for."""
        of_box = self.sums[3]
        if of_box is not None and plane is not None:
            of_box /= plane
        pairs = zip(self.sums, self.dtypes, strict=True)
        return [None if t is None else t.to(dtype) for t, dtype in pairs]


def _parts(x: Tensor, box: Tensor, filters: int) -> Iterator[slice]:
    """Slices of the batch, each with about as much response as the caches hold."""
    image_bytes = filters * box.shape[2] * box.shape[3] * box.element_size()
    images = max(1, _CHUNK_BYTES * torch.get_num_threads() // image_bytes)
    for start in range(0, len(x), images):
        yield slice(start, start + images)


def _strides(part: Tensor) -> tuple[int, ...]:
    """The strides that a whole batch has when a part of it has these: images follow each other."""
    return (part[0].numel(), *part.stride()[1:])


def _as_laid_out(t: Tensor, like: Tensor) -> Tensor:
    same = t.dtype == like.dtype and t.stride()[1:] == like.stride()[1:]
    return t if same else torch.empty_like(like).copy_(t)


def _plane(box: Tensor, side: int) -> Tensor | None:
    """(H, W): one over the real pixels in the mean's window; None where there is no mean."""
    return 1 / _window_sum(torch.ones_like(box[0, 0])[None, None], side)[0, 0] if side > 1 else None


def _flat(box: Tensor, plane: Tensor | None) -> Tensor:
    return box if plane is None else box / plane


def _pull(response: Tensor, contrast: Tensor, flat: Tensor, steps: Steps) -> Tensor:
    """The pull response, not yet divided by the number of pixels."""
    return _negative_sum(response, steps.avg_kernel_size).addcmul_(per_filter(contrast), flat)


def _negative_sum(t: Tensor, side: int) -> Tensor:
    return _window_sum(t, side, -1) if side > 1 else -t


def _window_sum(t: Tensor, side: int, sign: int = 1) -> Tensor:
    """Sum over `side` x `side` pixels, with zeros outside, times the sign.

    ATen's pooling takes 2 (channels_last) to 10 times (contiguous) as long as oneDNN's convolution of every
    channel by itself.
    """
    if t.dtype == torch.float32 and torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled():
        channels = t.shape[1]
        kernel = t.new_full((channels, 1, side, side), float(sign))
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(t, kernel, None, 1, side // 2, 1, channels)
    return window_sum(t, side, sign)
