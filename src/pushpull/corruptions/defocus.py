"""defocus_blur: every pixel spread over a disk.

A disk of equal weights, smoothed a little: the sums over the disk are of whole numbers, and exact.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import filters, grey
from pushpull.corruptions.severities import Defocus
from pushpull.random import native

FOLD_BITS = 16  # what is folded back at the kernel's border is whole numbers of 2^-16
# What the published float32 kernels add up to, less 1: so small that it only tells whether a whole level is
# reached or missed, as in flat areas, and whether nearly white stays white.
_EXCESS = {
    (0.3, 0.4): 1.4e-9,
    (0.4, 0.5): 1.9e-8,
    (0.5, 0.6): 4.5e-8,
    (1, 0.1): 1.5e-8,
    (1, 0.2): 1.8e-8,
    (1.5, 0.1): 7.5e-9,
    (2.5, 0.01): 1.9e-8,
    (3, 0.1): -4e-9,
    (4, 0.5): -3e-8,
    (6, 0.5): -3e-8,
}


class _Lens(NamedTuple):
    """A disk and its smoothing.

    Attributes:
        heights: (r + 1,) int64, how far the disk reaches up and down in the columns 0..r from its middle.
        alias: (a + 1,) float64, the smoothing's taps from the middle one on.
        fold: (2 (r + a) + 1, same) float64, whole: what the published kernel has beside the smoothed disk.
        scale: of the sums, to levels.
    """

    heights: np.ndarray
    alias: tuple[float, ...]
    fold: np.ndarray
    scale: float


def disk_kernel(radius_px: float, alias_sigma_px: float) -> np.ndarray:
    """Return the published program's kernel, (17, 17) or, for radii above 8, (2r + 1, 2r + 1) float64.

    1 where X^2 + Y^2 <= r^2, normalised, then smoothed by a Gaussian of 3x3 taps (5x5 for the larger grid),
    border reflect-101. For radii 8 and 10 the disk touches its grid's border, where the smoothing is folded
    back as in the published program: the taps add up to 1.013 and 1.011, and the blur brightens.
    """
    reach, alias = _reach(radius_px), _alias_taps(radius_px, alias_sigma_px)
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius_px**2).astype(np.float64)
    beyond = len(alias) - 1
    padded = np.pad(disk / disk.sum(), beyond, mode="reflect")
    return _smoothed(padded, alias)


def _reach(radius_px: float) -> int:
    return 8 if radius_px <= 8 else int(radius_px)


def _alias_taps(radius_px: float, sigma_px: float) -> tuple[float, ...]:
    """Return the middle tap of the smoothing and those after it."""
    weights = [math.exp(-(k * k) / (2 * sigma_px**2)) for k in range(2 if radius_px <= 8 else 3)]
    total = weights[0] + 2 * math.fsum(weights[1:])
    return tuple(weight / total for weight in weights)


def _smoothed(x: np.ndarray, alias: tuple[float, ...]) -> np.ndarray:
    """Smooth columns, then rows, of the inner part."""
    for axis in (0, 1):
        lines = np.moveaxis(x, axis, 0)
        inner = len(lines) - 2 * (len(alias) - 1)
        parts = [lines[k : k + inner] for k in range(2 * len(alias) - 1)]
        middle = len(alias) - 1
        total = alias[0] * parts[middle]
        for k in range(1, len(alias)):
            total = total + alias[k] * (parts[middle - k] + parts[middle + k])
        x = np.moveaxis(total, 0, axis)
    return x


@lru_cache(maxsize=32)
def _lens(radius_px: float, alias_sigma_px: float) -> _Lens:
    radius, alias = int(radius_px), _alias_taps(radius_px, alias_sigma_px)
    heights = np.array([math.isqrt(int(radius_px**2 - k * k)) for k in range(radius + 1)])
    disk = _disk(heights)
    area, reach = disk.sum(), radius + len(alias) - 1
    plain = _smoothed(np.pad(disk, 2 * (len(alias) - 1)), alias)
    published = disk_kernel(radius_px, alias_sigma_px)
    wider = np.zeros_like(plain)
    middle, inner = len(published) // 2, min(reach, len(published) // 2)
    ours, theirs = (slice(m - inner, m + inner + 1) for m in (reach, middle))
    wider[ours, ours] = published[theirs, theirs] * area
    fold = np.rint((wider - plain) * 2.0**FOLD_BITS)
    excess = _EXCESS.get((radius_px, alias_sigma_px), 0.0)
    return _Lens(heights, alias, fold, (1.0 + excess) / (area * grey.STEPS * 255.0))


def _disk(heights: np.ndarray) -> np.ndarray:
    """Return the (2r + 1, 2r + 1) disk of zeros and ones."""
    radius = len(heights) - 1
    axis = np.abs(np.arange(-radius, radius + 1))
    return (axis[:, None] <= heights[axis]).astype(np.float64)


def defocus_blur(x: Tensor, params: Defocus, drawn: None) -> Tensor:
    """Spread every pixel over a disk; border reflect-101; values rounded to 1024ths of a level."""
    lens = _lens(*params)
    reach = len(lens.fold) // 2
    if native.applies(x):
        return _by_runs(x, lens, reach)
    padded = filters.pad(grey.in_steps(x), reach, reach, reach, reach, "reflect101")
    sums = filters.correlate_whole(padded, padded.new_tensor(_disk(lens.heights)))
    smooth = _smoothed_tensor(_smoothed_tensor(sums, lens.alias, -2), lens.alias, -1)
    if lens.fold.any():
        smooth += filters.correlate_whole(padded, padded.new_tensor(lens.fold)).mul_(2.0**-FOLD_BITS)
    return grey.from_double(smooth.mul_(lens.scale).clamp_(0.0, 1.0))


def _smoothed_tensor(x: Tensor, alias: tuple[float, ...], dim: int) -> Tensor:
    """Smooth along `dim`, the inner part; sums and products one by one, as the kernel does them."""
    middle = len(alias) - 1
    inner = x.shape[dim] - 2 * middle
    total = x.narrow(dim, middle, inner) * alias[0]
    for k in range(1, len(alias)):
        total += (x.narrow(dim, middle - k, inner) + x.narrow(dim, middle + k, inner)).mul_(alias[k])
    return total


def _by_runs(x: Tensor, lens: _Lens, reach: int) -> Tensor:
    """Return the same by a kernel: a column of the disk is a difference of two running sums."""
    planes = x.flatten(0, 1)
    rows, columns = (
        filters.border_index(torch.arange(-reach, size + reach), size, "reflect101") for size in x.shape[-2:]
    )
    places = np.argwhere(lens.fold)
    folds = lens.fold[tuple(places.T)]
    out = native.empty_like(planes)
    disk = lens.heights, np.array(lens.alias), places, folds, lens.scale
    native.run(native.kernel("blur", "defocus"), len(planes), out, planes, rows, columns, *disk)
    return out.view_as(x)
