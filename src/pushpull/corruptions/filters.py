"""Batched filters that several corruptions share: borders, Gaussians, correlation, 8 bits.

All are pure functions of (..., H, W) tensors in which image i of the result depends on image i alone, bit for
bit, whatever the batch.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from pushpull.errors import choice

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


def pad(x: Tensor, top: int, bottom: int, left: int, right: int, border: str) -> Tensor:
    """Return (..., H + top + bottom, W + left + right), filled by `border`; pads may exceed the image."""
    height, width = x.shape[-2:]
    rows = border_index(torch.arange(-top, height + bottom, device=x.device), height, border)
    columns = border_index(torch.arange(-left, width + right, device=x.device), width, border)
    return x.index_select(-2, rows).index_select(-1, columns)


def gaussian_taps(sigma: float, truncate: float = 4.0) -> tuple[float, ...]:
    """Normalised weights exp(-k^2 / (2 sigma^2)) for k = -r..r, r = int(truncate sigma + 0.5), as scipy."""
    radius = int(truncate * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) if k else 1.0 for k in range(-radius, radius + 1)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _line_matrix(size: int, taps: tuple[float, ...], border: str) -> Tensor:
    """Return the (size, size) float32 matrix that filters a line of `size` values, border included."""
    radius = len(taps) // 2
    offsets = torch.arange(-radius, radius + 1)
    source = border_index(torch.arange(size)[:, None] + offsets, size, border)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, source, torch.tensor(taps, dtype=torch.float64).expand(size, -1))
    return matrix.float()


def separable_filter(x: Tensor, taps: tuple[float, ...], border: str) -> Tensor:
    """Correlate rows and columns with the same odd-length `taps`: y = A x B^T, A and B banded matrices.

    As matrices, because the cost then does not depend on the number of taps (1025 for the widest Gaussian of
    elastic_transform) and any border is a change of the matrix.

    Args:
        x: (..., H, W) float32.
        taps: odd number of weights.
        border: see `border_index`.
    """
    height, width = x.shape[-2:]
    planes = x.reshape(-1, height, width)
    rows = _line_matrix(height, taps, border).to(x.device).expand(len(planes), -1, -1)
    columns = _line_matrix(width, taps, border).to(x.device).t().expand(len(planes), -1, -1)
    # bmm and not matmul: matmul folds the batch into one product whose blocking depends on the batch.
    return torch.bmm(torch.bmm(rows, planes), columns).view(x.shape)


def gaussian_blur(x: Tensor, sigma: float, *, truncate: float = 4.0, border: str = "nearest") -> Tensor:
    """Smooth (..., H, W) by a Gaussian of `sigma` pixels cut at `truncate` sigmas, as scipy.ndimage.

    A sigma under 0.5 / truncate has one tap: the image itself is returned.
    """
    if int(truncate * sigma + 0.5) == 0:
        return x
    return separable_filter(x, gaussian_taps(sigma, truncate), border)


def fft_length(at_least: int) -> int:
    """Return the smallest length of the form 2^a 3^b 5^c that is not below `at_least`."""
    length = at_least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def circular_correlation(x: Tensor, kernel: Tensor) -> Tensor:
    """y(r, c) = sum_(i, j) kernel(i, j) x(r + i, c + j), indices modulo the size; by FFT.

    One FFT filter of 21x21 taps at 224 pixels takes 3 ms an image on one core, 317 shifted additions 8 ms, a
    dense convolution 19 ms.

    Args:
        x: (N, C, P, Q) float32, already padded.
        kernel: (N or 1, 1, P, Q) float32; negative offsets stand at the end.
    """
    spectrum = torch.fft.rfft2(x)
    spectrum *= torch.fft.rfft2(kernel).conj()
    return torch.fft.irfft2(spectrum, s=x.shape[-2:])


def correlate(x: Tensor, kernel: Tensor, border: str) -> Tensor:
    """Correlate (N, C, H, W) with one square kernel of odd size, as OpenCV's filter2D."""
    height, width = x.shape[-2:]
    size = len(kernel)
    reach = size // 2
    rows, columns = fft_length(height + 2 * reach), fft_length(width + 2 * reach)
    padded = pad(x, reach, rows - height - reach, reach, columns - width - reach, border)
    spread = x.new_zeros(1, 1, rows, columns)
    spread[..., :size, :size] = kernel
    return circular_correlation(padded, spread)[..., :height, :width]


def truncate_to_bytes(x: Tensor) -> Tensor:
    """Turn float values in [0, 1] into uint8 as the reference does: clip, times 255, drop the fraction.

    2^-13 of a level is added first: k / 255 in float32 times 255 may lie just under k, and would lose a level
    that the reference, in double precision, keeps.
    """
    return x.clamp(0.0, 1.0).mul_(255.0).add_(2.0**-13).to(torch.uint8)
