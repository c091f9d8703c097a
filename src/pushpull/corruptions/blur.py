"""Blurs: Gaussian, defocus, frosted glass, motion, zoom.

x is always (N, 3, H, W) float32 in [0, 1]; so is every result, up to rounding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pushpull.corruptions import filters, grey
from pushpull.corruptions.severities import Defocus, Glass, Motion, Zoom
from pushpull.corruptions.types import Canvas, Corruption
from pushpull.random import Draws

_VECTOR = 16  # floats in the widest vector register
_LEAST_LACK = 2.0**-20  # a 4000th of a level: more than truncate_to_bytes forgives


def gaussian_blur(x: Tensor, sigma_px: float, drawn: None) -> Tensor:
    """Smooth by a Gaussian of `sigma_px`, cut at 4 sigma, border "nearest" (scikit-image's gaussian)."""
    # In double precision a white pixel with anything darker in reach, however small its weight, comes out
    # under 1, and is 254 after truncation: at 32 pixels, half the white ones. float32 can tell
    # it too, of the complement: what a pixel lacks to white is exactly 0 or, here, at least _LEAST_LACK.
    lack = filters.gaussian_blur(1.0 - x, sigma_px)
    return 1.0 - lack.clamp(min=_LEAST_LACK).mul_(lack > 0)


@lru_cache(maxsize=32)
def disk_kernel(radius_px: float, alias_sigma_px: float) -> Tensor:
    """Return the lens' disk, (17, 17) or, for radii above 8, (2r + 1, 2r + 1) float32.

    1 where X^2 + Y^2 <= r^2, normalised, then smoothed by a Gaussian of 3x3 taps (5x5 for the larger grid),
    border reflect-101. For radii 8 and 10 the disk touches its grid's border, where the smoothing is folded
    back as in the published program: the taps add up to 1.013 and 1.011, and the blur brightens.
    """
    reach, alias_reach = (8, 1) if radius_px <= 8 else (int(radius_px), 2)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (axis[:, None] ** 2 + axis**2 <= radius_px**2).double()
    weights = torch.exp(
        -(torch.arange(-alias_reach, alias_reach + 1).double() ** 2) / (2 * alias_sigma_px**2)
    )
    taps = tuple((weights / weights.sum()).tolist())
    return filters.separable_filter((disk / disk.sum()).float(), taps, "reflect101")


# The published kernels of these (radius, alias sigma) add up to 4e-9 to 3e-8 less than 1 in float32, so whole
# levels, flat areas among them, come out one lower.
_SHORT_DISKS = {(3, 0.1), (4, 0.5), (6, 0.5)}
# Those of the small ones add up to so much more than 1: flat areas keep their level, and nearly white ones
# that lack less than this stay white.
_EXCESS_OF_SMALL_DISKS = {
    (0.3, 0.4): 1.4e-9,
    (0.4, 0.5): 1.9e-8,
    (0.5, 0.6): 4.5e-8,
    (1, 0.1): 1.5e-8,
    (1, 0.2): 1.8e-8,
    (1.5, 0.1): 7.5e-9,
    (2.5, 0.01): 1.9e-8,
}


def defocus_blur(x: Tensor, params: Defocus, drawn: None) -> Tensor:
    """Spread every pixel over a disk; border reflect-101."""
    if params.radius_px < 3:
        # The mean of five pixels is a whole level in a fifth of the cases, but for a Gaussian of 4e-6.
        return grey.from_double(_correlate_by_taps(grey.in_double(x), params).clamp_(0.0, 1.0))
    blurred = filters.correlate(x, disk_kernel(*params).to(x.device), "reflect101")
    return grey.short_of_whole(blurred) if tuple(params) in _SHORT_DISKS else blurred


def _correlate_by_taps(x: Tensor, params: Defocus) -> Tensor:
    """Correlate (N, C, H, W) with a small disk, one tap after the other, in the precision of x."""
    height, width = x.shape[-2:]
    reach, taps = _disk_taps(*params)
    padded = filters.pad(x, reach, reach, reach, reach, "reflect101")
    total = torch.zeros_like(x)
    for row, column, weight in taps:
        total.add_(padded[..., row : row + height, column : column + width], alpha=weight)
    return total


@lru_cache(maxsize=32)
def _disk_taps(radius_px: float, alias_sigma_px: float) -> tuple[int, tuple[tuple[int, int, float], ...]]:
    """Return a disk's reach, and row, column and weight of each of its taps that is not 0."""
    kernel = disk_kernel(radius_px, alias_sigma_px)
    taps = [(row, column, float(kernel[row, column])) for row, column in kernel.nonzero().tolist()]
    excess = _EXCESS_OF_SMALL_DISKS.get((radius_px, alias_sigma_px), 0.0)
    scale = (1.0 + excess) / math.fsum(weight for _, _, weight in taps)
    return len(kernel) // 2, tuple((row, column, weight * scale) for row, column, weight in taps)


class GlassDraws(NamedTuple):
    """Random part of glass_blur: which neighbour each inner pixel takes in each iteration.

    Attributes:
        down_px, right_px: (N, iterations, H - 2 delta, W - 2 delta) int32 in -delta..delta-1.
    """

    down_px: Tensor
    right_px: Tensor


def sample_glass_blur(draws: Draws, params: Glass, canvas: Canvas) -> GlassDraws:
    """Draw the neighbours."""
    delta = params.max_delta_px
    inner = (params.iterations, canvas.height - 2 * delta, canvas.width - 2 * delta)
    return GlassDraws(draws.integers(-delta, delta, *inner), draws.integers(-delta, delta, *inner))


def glass_blur(x: Tensor, params: Glass, drawn: GlassDraws) -> Tensor:
    """Blur to 8 bits, let pixels take their neighbours' places, blur again."""
    count, channels, height, width = x.shape
    levels = grey.truncate_to_bytes(gaussian_blur(x, params.sigma_px, None)).view(count, channels, -1)
    steps = drawn.down_px * width + drawn.right_px
    scans = [scan_sources(step, params.max_delta_px, height, width) for step in steps.unbind(1)]
    source = scans[0]
    for scan in scans[1:]:
        source = source.gather(1, scan)
    mixed = levels.gather(2, source[:, None].expand(-1, channels, -1))
    return gaussian_blur(mixed.view_as(x).float().div_(255.0), params.sigma_px, None)


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
        x: (N, C, H, W) float32 in [0, 1].
        radius_px: the kernel has 2 radius + 1 taps.
        sigma_px: of the half Gaussian.
        angle_deg: (N,) float, any angle.

    Returns:
        (N, C, H, W), multiples of 1/255.
    """
    count, _, height, width = x.shape
    reach = 2 * radius_px
    rows, columns = filters.fft_length(height + reach), filters.fft_length(width + reach)
    step = torch.arange(reach + 1, device=x.device, dtype=torch.float64)
    angle = torch.deg2rad(angle_deg.double())[:, None]
    dy = torch.ceil(step * torch.sin(angle) - 0.5).long()
    dx = torch.ceil(step * torch.cos(angle) - 0.5).long()
    sums = filters.wide(x.device)
    weights = x.new_tensor(motion_kernel(radius_px, sigma_px), dtype=sums).expand(count, -1)
    kernel = x.new_zeros(count, rows * columns, dtype=sums)
    # Two taps may share a pixel; their order in the sum is fixed, so the result is repeatable.
    kernel.scatter_add_(1, dy % rows * columns + dx % columns, weights)
    padded = _extend(x, dy[:, -1] >= 0, dx[:, -1] >= 0, rows, columns)
    kernel = kernel.view(count, 1, rows, columns)
    blurred = filters.circular_correlation(padded, kernel, height, width)
    # A 1024th of a level covers float32's error: an area of level k stays at k.
    return blurred.clamp_(0.0, 1.0).mul_(255.0).add_(2.0**-10).floor_().div_(255.0)


def _extend(x: Tensor, downwards: Tensor, rightwards: Tensor, rows: int, columns: int) -> Tensor:
    """Lengthen images circularly by the border pixel of the side that the blur reaches over, (N,) bool each.

    The end of a circular axis is beyond the last pixel and before the first; a one-sided blur needs one.
    """
    height, width = x.shape[-2:]
    down, right = downwards.view(-1, 1, 1, 1), rightwards.view(-1, 1, 1, 1)
    longer = x.new_empty(*x.shape[:2], rows, columns, dtype=filters.wide(x.device))
    longer[..., :height, :width] = x
    longer[..., :height, width:] = torch.where(right, x[..., -1:], x[..., :1])
    longer[..., height:, :] = torch.where(down, longer[..., height - 1 : height, :], longer[..., :1, :])
    return longer


def sample_motion_blur(draws: Draws, params: Motion, canvas: Canvas) -> Tensor:
    """Draw (N,) directions in degrees, U(-45, 45)."""
    return draws.uniform(low=-45.0, high=45.0)


def motion_blur(x: Tensor, params: Motion, angle_deg: Tensor) -> Tensor:
    """Blur as by a camera that moves along `angle_deg` (N,)."""
    return motion_blur_apply(x, params.radius_px, params.sigma_px, angle_deg)


def zoom_blur(x: Tensor, params: Zoom, drawn: None) -> Tensor:
    """Average the image and its centre enlarged by each factor; the factor 1 counts as one of them."""
    # All planes of the batch as channels of one image, side by side in memory: a place's weights are then
    # computed once and not for every plane, a third of the time. In whole vectors, so that a plane's result
    # does not depend on where it stands.
    planes = x.flatten(0, 1)
    count = len(planes)
    side_by_side = F.pad(planes, (0, 0, 0, 0, 0, -count % _VECTOR))[None]
    side_by_side = side_by_side.contiguous(memory_format=torch.channels_last)
    # numpy's arange decides whether `stop` itself is reached: 1..1.11 by 0.01 has 12 factors, 1..1.06 has 6.
    first, *factors = np.arange(1.0, params.stop, params.step).tolist()
    assert first == 1.0
    total = side_by_side * 2
    for factor in factors:
        total += _enlarge_centre(side_by_side, factor)
    return (total[0, :count] / (len(factors) + 2)).view_as(x)


class _Axis(NamedTuple):
    """How one axis is enlarged: cut `crop` out, resize it to `length`, keep `kept`."""

    crop: slice
    length: int
    kept: slice


def _zoom_axis(size: int, factor: float) -> _Axis:
    """Return the centred crop of ceil(size / factor) pixels, its new length, and which `size` pixels stay."""
    crop = math.ceil(size / factor)
    length = round(crop * factor)
    first, trim = (size - crop) // 2, (length - size) // 2
    return _Axis(slice(first, first + crop), length, slice(trim, trim + size))


def _enlarge_centre(x: Tensor, factor: float) -> Tensor:
    """Enlarge the centre bilinearly, corners aligned (scipy's zoom of order 1), and trim to the old size."""
    rows, columns = (_zoom_axis(size, factor) for size in x.shape[-2:])
    size = (rows.length, columns.length)
    large = F.interpolate(x[..., rows.crop, columns.crop], size=size, mode="bilinear", align_corners=True)
    return large[..., rows.kept, columns.kept]


GAUSSIAN_BLUR = Corruption("gaussian_blur", "blur", gaussian_blur)
DEFOCUS_BLUR = Corruption("defocus_blur", "blur", defocus_blur)
GLASS_BLUR = Corruption("glass_blur", "blur", glass_blur, sample_glass_blur)
MOTION_BLUR = Corruption("motion_blur", "blur", motion_blur, sample_motion_blur)
ZOOM_BLUR = Corruption("zoom_blur", "blur", zoom_blur)
