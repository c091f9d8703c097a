"""Batched filters that several corruptions share: borders, Gaussians, correlation.

All are pure functions of (..., H, W) tensors in which image i of the result depends on image i alone,
whatever the batch. How a library orders a sum depends on the batch, the number of threads and where in memory
a plane begins, and would reach the last bit of the result. So the sums here are exact, and have no order:
values and weights are whole numbers of a fine grid, as long as a float64 takes them (a float32 on a device
without, where the last bits may differ).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pushpull.corruptions.constants import TAP_BITS, TAPS_PER_PASS, VALUE_GRID
from pushpull.errors import choice
from pushpull.random import native

_LONGEST_LINE = 129  # taps: from here on products of matrices are faster on the CPU
_BLOCK = 32  # rows of a filter's matrix at a time; 16 and 56 are slower
BORDERS = ("nearest", "reflect", "reflect101")


def border_index(positions: Tensor, size: int, border: str) -> Tensor:
    """Map positions outside 0..size-1 back inside.

    Args:
        positions: int64, any shape.
        size: length of the axis.
        border: "nearest" (a a | a b c d | d d; also called replicate), "reflect" (b a | a b c d | d c;
            scipy's: the edge pixel is repeated), "reflect101" (c b | a b c d | c b; OpenCV's default).
    """
    choice("border", border, BORDERS)
    if border == "nearest":
        return positions.clamp(0, size - 1)
    if border == "reflect":
        folded = positions.remainder(2 * size)
        return torch.minimum(folded, 2 * size - 1 - folded)
    period = max(2 * (size - 1), 1)
    folded = positions.remainder(period)
    return torch.minimum(folded, period - folded)


def border_lines(size: int, reach: int, border: str) -> Tensor:
    """Return (reach + size + reach,): which values of an axis stand there and beyond both of its ends."""
    return border_index(torch.arange(-reach, size + reach), size, border)


def pad(x: Tensor, top: int, bottom: int, left: int, right: int, border: str) -> Tensor:
    """Return (..., H + top + bottom, W + left + right), filled by `border`; pads may exceed the image."""
    height, width = x.shape[-2:]
    padded = x.new_empty(*x.shape[:-2], top + height + bottom, left + width + right)
    inner_rows = padded[..., top : top + height, :]
    inner_rows[..., left : left + width] = x
    # Only the margins are looked up, a fifth of the time of looking up all.
    for part, size, before, after, dim in (
        (inner_rows, width, left, right, -1),
        (padded, height, top, bottom, -2),
    ):
        outside = torch.cat([torch.arange(-before, 0), torch.arange(size, size + after)])
        source = (border_index(outside, size, border) + before).to(x.device)
        part.index_copy_(dim, (outside + before).to(x.device), part.index_select(dim, source))
    return padded


def gaussian_taps(sigma: float, truncate: float = 4.0) -> tuple[float, ...]:
    """Normalised weights exp(-k^2 / (2 sigma^2)) for k = -r..r, r = int(truncate sigma + 0.5), as scipy."""
    radius = int(truncate * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) if k else 1.0 for k in range(-radius, radius + 1)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def whole_taps(taps: tuple[float, ...], bits: int) -> tuple[int, ...]:
    """Return normalised taps times 2^bits as whole numbers that add up to it; the largest gives way."""
    whole = [round(tap * (1 << bits)) for tap in taps]
    whole[whole.index(max(whole))] += (1 << bits) - sum(whole)
    return tuple(whole)


def _line_matrix(size: int, taps: tuple[int, ...], border: str) -> Tensor:
    """Return the (size, size) float64 matrix that filters a line of `size` values, border included."""
    radius = len(taps) // 2
    offsets = torch.arange(-radius, radius + 1)
    source = border_index(torch.arange(size)[:, None] + offsets, size, border)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, source, torch.tensor(taps, dtype=torch.float64).expand(size, -1))
    return matrix


def separable_filter(x: Tensor, taps: tuple[float, ...], border: str) -> Tensor:
    """Correlate columns, then rows, with the same odd-length `taps`: y = A x B^T, A and B banded matrices.

    In steps of 2^-24, rounded up before each of the two, so that what is above 0 stays so; taps in steps of
    2^-26. As matrices, because any border is then a change of the matrix, and the widest Gaussian of
    elastic_transform (1025 taps) costs no more than one of 150. Blocks of rows need only the matrix' band: 32
    rows at a time, 9 taps at 224 pixels take a third of the time of the whole matrix.

    Args:
        x: (..., H, W) float32, absolute values under 8: then all sums are exact.
        taps: odd number of weights, not negative, normalised.
        border: see `border_index`.
    """
    height, width = x.shape[-2:]
    whole = whole_taps(taps, TAP_BITS)
    planes = x.reshape(-1, height, width)
    if len(whole) <= _LONGEST_LINE and native.applies(x):
        return _by_lines(planes, whole, border).view(x.shape)
    rows, columns = (_line_blocks(size, whole, border, x.device) for size in (height, width))
    middle = _filter_rows(planes.to(wide(x.device)).mul(VALUE_GRID).ceil_(), rows)
    filtered = _filter_columns(middle.mul_(2.0**-TAP_BITS).ceil_(), columns)
    return filtered.mul_(2.0**-TAP_BITS / VALUE_GRID).to(x.dtype).view(x.shape)


def _by_lines(planes: Tensor, taps: tuple[int, ...], border: str) -> Tensor:
    """Return the same by a compiled loop, tap after tap."""
    from pushpull.corruptions import loops

    reach = len(taps) // 2
    half = [*map(float, taps[reach:]), *[0.0] * (-reach % TAPS_PER_PASS)]  # they are symmetric
    lines = [border_lines(size, len(half) - 1, border) for size in planes.shape[1:]]
    return native.images_by(loops.separable, planes, np.array(half), *lines)


def wide(device: torch.device) -> torch.dtype:
    """Return the type of number that sums are taken in."""
    return torch.float32 if device.type == "mps" else torch.float64


_Block = tuple[Tensor, slice]  # some rows of a line's matrix; of which places of the line they are made


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _line_blocks(size: int, taps: tuple[int, ...], border: str, device: torch.device) -> tuple[_Block, ...]:
    """Return the blocks of `_line_matrix` from top to bottom, without the zeros outside the band."""
    matrix, reach = _line_matrix(size, taps, border).to(device, wide(device)), len(taps) // 2
    span = min(size, _BLOCK + 2 * reach)
    if 4 * span > 3 * size:
        return ((matrix, slice(0, size)),)
    starts = range(0, size, _BLOCK)
    sources = [min(max(start - reach, 0), size - span) for start in starts]
    return tuple(
        (matrix[row : row + _BLOCK, first : first + span], slice(first, first + span))
        for row, first in zip(starts, sources, strict=True)
    )


def _filter_rows(planes: Tensor, blocks: tuple[_Block, ...]) -> Tensor:
    """Return A x for every plane x (P, H, W)."""
    count = len(planes)
    return torch.cat([torch.bmm(m.expand(count, -1, -1), planes[:, source]) for m, source in blocks], 1)


def _filter_columns(planes: Tensor, blocks: tuple[_Block, ...]) -> Tensor:
    """Return x B^T for every plane x (P, H, W)."""
    count = len(planes)
    return torch.cat([torch.bmm(planes[..., source], m.t().expand(count, -1, -1)) for m, source in blocks], 2)


def gaussian_blur(x: Tensor, sigma: float, *, truncate: float = 4.0, border: str = "nearest") -> Tensor:
    """Smooth (..., H, W) by a Gaussian of `sigma` pixels cut at `truncate` sigmas, as scipy.ndimage.

    A sigma under 0.5 / truncate has one tap: the image itself is returned.
    """
    if int(truncate * sigma + 0.5) == 0:
        return x
    return separable_filter(x, gaussian_taps(sigma, truncate), border)


def fft_length(at_least: int) -> int:
    """Return the smallest length of the form 2^a 3^b 5^c that is not below `at_least`."""
    from scipy.fft import next_fast_len  # only where it is needed: it takes a while to load

    return int(next_fast_len(at_least, real=True))


def whole_correlation(x: Tensor, kernel: Tensor, height: int, width: int) -> Tensor:
    """y(r, c) = sum_(i, j) kernel(i, j) x(r + i, c + j), indices modulo the size, for whole numbers.

    By FFT, whose rounding error is far under a half, so that the nearest whole number is the exact sum. One
    filter of 21x21 taps at 224 pixels takes 3 ms an image on one core, 317 shifted additions 8 ms, a dense
    convolution 19 ms.

    Args:
        x: (N, C, P, Q) whole `wide` numbers, already padded.
        kernel: (N or 1, 1, P, Q) likewise; negative offsets stand at the end.
        height, width: what is wanted of y.

    Returns:
        (N, C, height, width) whole numbers, the upper left of y.
    """
    spectrum = torch.fft.rfft2(x)
    spectrum *= torch.fft.rfft2(kernel).conj()
    return torch.fft.irfft2(spectrum, s=x.shape[-2:])[..., :height, :width].round()


def correlate_whole(padded: Tensor, kernel: Tensor) -> Tensor:
    """Correlate (N, C, H + 2r, W + 2r) whole numbers with a (2r + 1, 2r + 1) kernel: the inner part."""
    size = len(kernel)
    height, width = (side - size + 1 for side in padded.shape[-2:])
    rows, columns = (fft_length(side) for side in padded.shape[-2:])
    x = F.pad(padded, (0, columns - padded.shape[-1], 0, rows - padded.shape[-2]))
    spread = x.new_zeros(1, 1, rows, columns)
    spread[..., :size, :size] = kernel
    return whole_correlation(x, spread, height, width)
