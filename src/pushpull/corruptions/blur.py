"""Blurs: defocus, Gaussian, frosted glass, motion, zoom.

x is always (N, 3, H, W) float32 in [0, 1]; so is every result, up to rounding.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import filters, grey
from pushpull.corruptions.constants import FOLD_BITS, MOTION_BITS, MOTION_FORGIVEN, STEPS
from pushpull.corruptions.registry import Canvas, nothing_random, register_corruption
from pushpull.random import Draws, native

_LEAST_LACK = 2.0**-20  # a 4000th of a level: more than truncate_to_bytes forgives
_ZOOM_SMALL = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
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


# heights (r + 1,) int64, how far it reaches up and down in columns 0..r from the middle; the smoothing's taps
# from the middle one on; fold (2 (r + a) + 1, same) float64, whole: what the published kernel has beside the
# two; scale of the sums, to levels.
_Lens = tuple[np.ndarray, tuple[float, ...], np.ndarray, float]


def disk_kernel(radius_px: float, alias_sigma_px: float) -> np.ndarray:
    """Return the published program's kernel, (17, 17) or, for radii above 8, (2r + 1, 2r + 1) float64.

    1 where X^2 + Y^2 <= r^2, normalised, then smoothed by a Gaussian of 3x3 taps (5x5 for the larger grid),
    border reflect-101. For radii 8 and 10 the disk touches its grid's border, where the smoothing is folded
    back as in the published program: the taps add up to 1.013 and 1.011, and the blur brightens.
    """
    reach, alias = max(8, int(radius_px)), _alias_taps(radius_px, alias_sigma_px)
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius_px**2).astype(np.float64)
    return _smoothed_array(np.pad(disk / disk.sum(), len(alias) - 1, mode="reflect"), alias)


def _alias_taps(radius_px: float, sigma_px: float) -> tuple[float, ...]:
    """Return the middle tap of the smoothing and those after it."""
    weights = [math.exp(-(k * k) / (2 * sigma_px**2)) for k in range(2 if radius_px <= 8 else 3)]
    return tuple(weight / (weights[0] + 2 * math.fsum(weights[1:])) for weight in weights)


def _smoothed(x: Tensor, alias: tuple[float, ...]) -> Tensor:
    """Smooth columns, then rows, the inner part; sums and products one by one, as the kernel does them."""
    middle = len(alias) - 1
    for dim in (-2, -1):
        inner = x.shape[dim] - 2 * middle
        total = x.narrow(dim, middle, inner) * alias[0]
        for k in range(1, len(alias)):
            total += (x.narrow(dim, middle - k, inner) + x.narrow(dim, middle + k, inner)).mul_(alias[k])
        x = total
    return x


def _smoothed_array(x: np.ndarray, alias: tuple[float, ...]) -> np.ndarray:
    return _smoothed(torch.from_numpy(x), alias).numpy()


@lru_cache(maxsize=32)
def _lens(radius_px: float, alias_sigma_px: float) -> _Lens:
    radius, alias = int(radius_px), _alias_taps(radius_px, alias_sigma_px)
    heights = np.array([math.isqrt(int(radius_px**2 - k * k)) for k in range(radius + 1)])
    disk = _disk(heights)
    area, reach = disk.sum(), radius + len(alias) - 1
    plain = _smoothed_array(np.pad(disk, 2 * (len(alias) - 1)), alias)
    published = disk_kernel(radius_px, alias_sigma_px)
    wider = np.zeros_like(plain)
    middle, inner = len(published) // 2, min(reach, len(published) // 2)
    ours, theirs = (slice(m - inner, m + inner + 1) for m in (reach, middle))
    wider[ours, ours] = published[theirs, theirs] * area
    fold = np.rint((wider - plain) * 2.0**FOLD_BITS)
    excess = _EXCESS.get((radius_px, alias_sigma_px), 0.0)
    return heights, alias, fold, (1.0 + excess) / (area * STEPS * 255.0)


def _disk(heights: np.ndarray) -> np.ndarray:
    """Return the (2r + 1, 2r + 1) disk of zeros and ones."""
    radius = len(heights) - 1
    axis = np.abs(np.arange(-radius, radius + 1))
    return (axis[:, None] <= heights[axis]).astype(np.float64)


@register_corruption(
    "defocus_blur",
    family="blur",
    severities={
        "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "tiny": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    },
    sample=nothing_random,
)
def defocus_blur(x: Tensor, params: tuple[float, float], drawn: None) -> Tensor:
    """Spread every pixel over a disk; border reflect-101; values rounded to 1024ths of a level.

    params: radius of the disk and sigma of the small Gaussian that smooths it, px.
    """
    lens = heights, alias, fold, scale = _lens(*params)
    reach = len(fold) // 2
    if native.applies(x):
        return _by_runs(x, lens, reach)
    padded = filters.pad(grey.in_steps(x), reach, reach, reach, reach, "reflect101")
    sums = filters.correlate_whole(padded, padded.new_tensor(_disk(heights)))
    smooth = _smoothed(sums, alias)
    if fold.any():
        smooth += filters.correlate_whole(padded, padded.new_tensor(fold)).mul_(2.0**-FOLD_BITS)
    return grey.from_double(smooth.mul_(scale).clamp_(0.0, 1.0))


def _by_runs(x: Tensor, lens: _Lens, reach: int) -> Tensor:
    """Return the same by a kernel: a column of the disk is a difference of two running sums."""
    from pushpull.corruptions import blur_loops

    heights, alias, fold, scale = lens
    lines = (filters.border_lines(size, reach, "reflect101") for size in x.shape[-2:])
    places = np.argwhere(fold)
    disk = heights, np.array(alias), places, fold[tuple(places.T)], np.array([scale])
    return native.images_by(blur_loops.defocus, x.flatten(0, 1), *lines, *disk).view_as(x)


@register_corruption(
    "gaussian_blur",
    family="blur",
    severities={
        "imagenet": (1.0, 2.0, 3.0, 4.0, 6.0),
        "cifar": (0.4, 0.6, 0.7, 0.8, 1.0),
        "tiny": (0.5, 0.75, 1.0, 1.25, 1.5),
    },
    sample=nothing_random,
    extra=True,
)
def gaussian_blur(x: Tensor, sigma_px: float, drawn: None) -> Tensor:
    """Smooth by a Gaussian of `sigma_px`, cut at 4 sigma, border "nearest" (scikit-image's gaussian)."""
    # In double precision a white pixel with anything darker in reach, however small its weight, comes out
    # under 1, and is 254 after truncation: at 32 pixels, half the white ones. float32 can tell
    # it too, of the complement: what a pixel lacks to white is exactly 0 or, here, at least _LEAST_LACK.
    lack = filters.gaussian_blur(1.0 - x, sigma_px)
    return 1.0 - lack.clamp(min=_LEAST_LACK).mul_(lack > 0)


class GlassDraws(NamedTuple):
    """Random part of glass_blur: which neighbour each inner pixel takes in each iteration.

    Attributes:
        down_px, right_px: (N, iterations, H - 2 delta, W - 2 delta) int32 in -delta..delta-1.
    """

    down_px: Tensor
    right_px: Tensor


def sample_glass_blur(draws: Draws, params: tuple[float, int, int], canvas: Canvas) -> GlassDraws:
    """Draw the neighbours."""
    _, delta, iterations = params
    inner = (iterations, canvas.height - 2 * delta, canvas.width - 2 * delta)
    return GlassDraws(*(draws.integers(-delta, delta, *inner) for _ in GlassDraws._fields))


@register_corruption(
    "glass_blur",
    family="blur",
    severities={
        "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "tiny": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    },
    sample=sample_glass_blur,
    limits=lambda params: dict.fromkeys(GlassDraws._fields, (-params[1], params[1] - 1)),
)
def glass_blur(x: Tensor, params: tuple[float, int, int], drawn: GlassDraws) -> Tensor:
    """Blur to 8 bits, let pixels take their neighbours' places, blur again.

    params: sigma of both Gaussian blurs, px; how far a pixel goes at most, px; how often all are exchanged.
    """
    sigma_px, delta, _ = params
    count, channels, height, width = x.shape
    levels = grey.truncate_to_bytes(gaussian_blur(x, sigma_px, None)).view(count, channels, -1)
    if native.applies(levels, drawn.down_px):
        from pushpull.corruptions import blur_loops

        native.run(blur_loops.glass, count, levels.view_as(x), drawn.down_px, drawn.right_px)
        return gaussian_blur(grey.to_floats(levels.view_as(x)), sigma_px, None)
    steps = drawn.down_px * width + drawn.right_px
    scans = (scan_sources(step, delta, height, width) for step in steps.unbind(1))
    source = reduce(lambda source, scan: source.gather(1, scan), scans)
    mixed = levels.gather(2, source[:, None].expand(-1, channels, -1))
    return gaussian_blur(mixed.view_as(x).float().div_(255.0), sigma_px, None)


def scan_sources(step: Tensor, delta: int, height: int, width: int) -> Tensor:
    """Resolve one sequential scan of glass_blur: where does each pixel's value come from?

    The published program walks from the last inner pixel to the first and sets pixel (h, w) to what stands at
    (h + dy, w + dx) at that moment, dy and dx in -delta..delta-1: the new value there if that place comes
    later in memory (and was therefore visited already), else the old one. So the value is found by following
    places as long as they lead forward, and pointer doubling follows all chains at once.

    Args:
        step: (N, H - 2 delta, W - 2 delta) integers, dy W + dx of rows and columns delta + 1 .. size - delta.
        delta: the longest step, in pixels.
        height, width: of the image.

    Returns:
        (N, H W) int64, flat positions in the image before the scan.
    """
    place = torch.arange(height * width, device=step.device)
    target = place.view(height, width).repeat(len(step), 1, 1)
    # An outer pixel is never visited: it is its own target, and ends every chain.
    target[:, delta + 1 : height - delta + 1, delta + 1 : width - delta + 1] += step
    target = target.view(len(step), -1)
    if delta == 1:
        return target  # steps are 0 or -1: none leads forward
    link = torch.maximum(target, place)
    # A step leads forward with probability under 0.43: a chain of over 2^5 links has one of 1e-12.
    for _ in range(5):
        link = link.gather(1, link)
    return target.gather(1, link)


def motion_kernel(radius_px: int, sigma_px: float) -> tuple[float, ...]:
    """Normalised one-sided weights exp(-i^2 / (2 sigma^2)), i = 0..2 radius (ImageMagick's motion blur)."""
    weights = [math.exp(-(i * i) / (2.0 * sigma_px * sigma_px)) for i in range(2 * radius_px + 1)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def motion_blur_apply(x: Tensor, radius_px: int, sigma_px: float, angle_deg: Tensor) -> Tensor:
    """Blur each image along its own direction, to one side, as ImageMagick.

    y(r, c) = sum_i w_i x(r + dy_i, c + dx_i), dx_i = ceil(i cos a - 0.5), dy_i = ceil(i sin a - 0.5), places
    clamped at the border, the result truncated to the 256 grey levels. (Truncated, not rounded: the published
    program's mean grey lies half a level, 18 standard errors, under that of rounded results.)

    Args:
        x: (N, C, H, W) float32 in [0, 1], rounded to 1024ths of a level.
        radius_px: the kernel has 2 radius + 1 taps, in steps of 2^-20.
        sigma_px: of the half Gaussian.
        angle_deg: (N,) float, any angle.

    Returns:
        (N, C, H, W), multiples of 1/255.
    """
    step = torch.arange(2 * radius_px + 1, device=x.device, dtype=torch.float64)
    angle = torch.deg2rad(angle_deg.double())[:, None]
    dy = torch.ceil(step * torch.sin(angle) - 0.5).long()
    dx = torch.ceil(step * torch.cos(angle) - 0.5).long()
    taps = filters.whole_taps(motion_kernel(radius_px, sigma_px), MOTION_BITS)
    if native.applies(x, dy):
        from pushpull.corruptions import blur_loops

        return native.images_by(blur_loops.motion, x, dy, dx, np.array(taps, dtype=np.float64))
    sums = _correlate_along(x, dy, dx, taps)
    levels = sums.mul_(2.0**-MOTION_BITS / STEPS).add_(MOTION_FORGIVEN).floor_()
    return levels.float().div_(255.0)


def _correlate_along(x: Tensor, dy: Tensor, dx: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Return the sums of `motion_blur_apply` before they are scaled, whole numbers."""
    count, _, height, width = x.shape
    reach = len(taps) - 1
    rows, columns = filters.fft_length(height + reach), filters.fft_length(width + reach)
    sums = filters.wide(x.device)
    kernel = x.new_zeros(count, rows * columns, dtype=sums)
    weights = x.new_tensor(taps, dtype=sums).expand(count, -1)
    kernel.scatter_add_(1, dy % rows * columns + dx % columns, weights)
    padded = _extend(grey.in_steps(x), dy[:, -1] >= 0, dx[:, -1] >= 0, rows, columns)
    return filters.whole_correlation(padded, kernel.view(count, 1, rows, columns), height, width)


def _extend(x: Tensor, downwards: Tensor, rightwards: Tensor, rows: int, columns: int) -> Tensor:
    """Lengthen images circularly by the border pixel of the side that the blur reaches over, (N,) bool each.

    The end of a circular axis is beyond the last pixel and before the first; a one-sided blur needs one.
    """
    height, width = x.shape[-2:]
    down, right = downwards.view(-1, 1, 1, 1), rightwards.view(-1, 1, 1, 1)
    longer = x.new_empty(*x.shape[:2], rows, columns)
    longer[..., :height, :width] = x
    longer[..., :height, width:] = torch.where(right, x[..., -1:], x[..., :1])
    longer[..., height:, :] = torch.where(down, longer[..., height - 1 : height, :], longer[..., :1, :])
    return longer


def sample_motion_blur(draws: Draws, params: tuple[int, float], canvas: Canvas) -> Tensor:
    """Draw (N,) directions in degrees, U(-45, 45)."""
    return draws.uniform(low=-45.0, high=45.0)


@register_corruption(
    "motion_blur",
    family="blur",
    severities={
        "imagenet": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "cifar": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        "tiny": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    },
    sample=sample_motion_blur,
)
def motion_blur(x: Tensor, params: tuple[int, float], angle_deg: Tensor) -> Tensor:
    """Blur as by a camera that moves along `angle_deg` (N,); params: radius and sigma, px."""
    return motion_blur_apply(x, *params, angle_deg)


@register_corruption(
    "zoom_blur",
    family="blur",
    severities={
        "imagenet": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "cifar": _ZOOM_SMALL,
        "tiny": _ZOOM_SMALL,
    },
    sample=nothing_random,
)
def zoom_blur(x: Tensor, params: tuple[float, float], drawn: None) -> Tensor:
    """Average the image and its centre enlarged by each factor; the factor 1 counts as one of them.

    params: stop and step of the factors, numpy.arange(1, stop, step).
    """
    # numpy's arange decides whether `stop` itself is reached: 1..1.11 by 0.01 has 12 factors, 1..1.06 has 6.
    first, *factors = np.arange(1.0, *params).tolist()
    assert first == 1.0
    rows, columns = (_zoom_lines(size, tuple(factors)) for size in x.shape[-2:])
    if native.applies(x):
        from pushpull.corruptions import blur_loops

        return native.images_by(blur_loops.zoom, x.flatten(0, 1), *rows, *columns).view_as(x)
    total = x * 2
    for which in range(len(factors)):
        total += _enlarged(_enlarged(x, -2, rows, which), -1, columns, which)
    return total / (len(factors) + 2)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _zoom_lines(size: int, factors: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return the lines of the centre enlarged bilinearly, corners aligned, and trimmed to `size`.

    (factors, size) int32, the line of the image that each lies at or behind; float32, the share of the next.

    As scipy's zoom of order 1 of the centred crop of ceil(size / factor) pixels.
    """
    low, weight = [], []
    for factor in factors:
        crop = math.ceil(size / factor)
        length = round(crop * factor)
        place = torch.arange(size, dtype=torch.float64) + (length - size) // 2
        place *= (crop - 1) / (length - 1)
        low.append(place.floor().clamp_(max=crop - 2))
        weight.append(place - low[-1])
        low[-1] += (size - crop) // 2
    return torch.stack(low).int(), torch.stack(weight).float()


def _enlarged(x: Tensor, dim: int, lines: tuple[Tensor, Tensor], which: int) -> Tensor:
    """Return the mixtures of neighbouring lines along `dim`."""
    low, weight = (part[which].to(x.device) for part in lines)
    weight = weight if dim == -1 else weight[:, None]
    upper, lower = x.index_select(dim, low), x.index_select(dim, low + 1)
    return upper.mul_(1.0 - weight).add_(lower.mul_(weight))
