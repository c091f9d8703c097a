"""Blurs: Gaussian, defocus, frosted glass, motion, zoom.

x is always (N, 3, H, W) float32 in [0, 1]; so is every result, up to rounding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import defocus, filters, grey
from pushpull.corruptions.severities import Glass, Motion, Zoom
from pushpull.corruptions.types import Canvas, Corruption
from pushpull.random import Draws, native

MOTION_BITS = 20  # taps are whole numbers of 2^-20
MOTION_FORGIVEN = 2.0**-10  # of a level: without it there is less white than in the published images
_LEAST_LACK = 2.0**-20  # a 4000th of a level: more than truncate_to_bytes forgives


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


def sample_glass_blur(draws: Draws, params: Glass, canvas: Canvas) -> GlassDraws:
    """Draw the neighbours."""
    delta = params.max_delta_px
    inner = (params.iterations, canvas.height - 2 * delta, canvas.width - 2 * delta)
    return GlassDraws(draws.integers(-delta, delta, *inner), draws.integers(-delta, delta, *inner))


def _glass_limits(params: Glass) -> dict[str, tuple[float, float]]:
    steps = -params.max_delta_px, params.max_delta_px - 1
    return {"down_px": steps, "right_px": steps}


def glass_blur(x: Tensor, params: Glass, drawn: GlassDraws) -> Tensor:
    """Blur to 8 bits, let pixels take their neighbours' places, blur again."""
    count, channels, height, width = x.shape
    levels = grey.truncate_to_bytes(gaussian_blur(x, params.sigma_px, None)).view(count, channels, -1)
    if native.applies(levels, drawn.down_px):
        native.run(native.kernel("blur", "glass"), count, levels.view_as(x), drawn.down_px, drawn.right_px)
        return gaussian_blur(grey.to_floats(levels.view_as(x)), params.sigma_px, None)
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
        out = native.empty_like(x)
        native.run(native.kernel("blur", "motion"), len(x), out, x, dy, dx, np.array(taps, dtype=np.float64))
        return out
    blurred = _correlate_along(x, dy, dx, taps)
    levels = blurred.mul_(2.0**-MOTION_BITS / grey.STEPS).add_(MOTION_FORGIVEN).floor_()
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


def sample_motion_blur(draws: Draws, params: Motion, canvas: Canvas) -> Tensor:
    """Draw (N,) directions in degrees, U(-45, 45)."""
    return draws.uniform(low=-45.0, high=45.0)


def motion_blur(x: Tensor, params: Motion, angle_deg: Tensor) -> Tensor:
    """Blur as by a camera that moves along `angle_deg` (N,)."""
    return motion_blur_apply(x, params.radius_px, params.sigma_px, angle_deg)


def zoom_blur(x: Tensor, params: Zoom, drawn: None) -> Tensor:
    """Average the image and its centre enlarged by each factor; the factor 1 counts as one of them."""
    # numpy's arange decides whether `stop` itself is reached: 1..1.11 by 0.01 has 12 factors, 1..1.06 has 6.
    first, *factors = np.arange(1.0, params.stop, params.step).tolist()
    assert first == 1.0
    rows, columns = (_zoom_lines(size, tuple(factors)) for size in x.shape[-2:])
    if native.applies(x):
        planes = x.flatten(0, 1)
        out = native.empty_like(planes)
        native.run(native.kernel("blur", "zoom"), len(planes), out, planes, *rows, *columns)
        return out.view_as(x)
    total = x * 2
    for which in range(len(factors)):
        total += _enlarged(_enlarged(x, -2, rows, which), -1, columns, which)
    return total / (len(factors) + 2)


class _Lines(NamedTuple):
    """Where the lines of enlarged images lie in the image: line `low`, and how far towards the next.

    Attributes:
        low: (factors, size) int32.
        weight: (factors, size) float32, of the next line.
    """

    low: Tensor
    weight: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _zoom_lines(size: int, factors: tuple[float, ...]) -> _Lines:
    """Return the lines of the centre enlarged bilinearly, corners aligned, and trimmed to `size`.

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
    return _Lines(torch.stack(low).int(), torch.stack(weight).float())


def _enlarged(x: Tensor, dim: int, lines: _Lines, which: int) -> Tensor:
    """Return the mixtures of neighbouring lines along `dim`."""
    low, weight = lines.low[which].to(x.device), lines.weight[which].to(x.device)
    weight = weight if dim == -1 else weight[:, None]
    upper, lower = x.index_select(dim, low), x.index_select(dim, low + 1)
    return upper.mul_(1.0 - weight).add_(lower.mul_(weight))


GAUSSIAN_BLUR = Corruption("gaussian_blur", "blur", gaussian_blur)
DEFOCUS_BLUR = Corruption("defocus_blur", "blur", defocus.defocus_blur)
GLASS_BLUR = Corruption("glass_blur", "blur", glass_blur, sample_glass_blur, limits=_glass_limits)
MOTION_BLUR = Corruption("motion_blur", "blur", motion_blur, sample_motion_blur)
ZOOM_BLUR = Corruption("zoom_blur", "blur", zoom_blur)
