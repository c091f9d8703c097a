"""Blurs: Gaussian, defocus, frosted glass, motion, zoom."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushpull.corruptions import filters
from pushpull.corruptions.random import Draws
from pushpull.corruptions.severities import Motion
from pushpull.corruptions.types import Corruption


def motion_kernel(radius: int, sigma: float) -> tuple[float, ...]:
    """Normalised one-sided weights exp(-i^2 / (2 sigma^2)), i = 0..2 radius (ImageMagick's motion blur)."""
    weights = [math.exp(-(i * i) / (2.0 * sigma * sigma)) for i in range(2 * radius + 1)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def motion_blur_apply(x: Tensor, radius: int, sigma: float, angle_deg: Tensor) -> Tensor:
    """Blur each image along its own direction, to one side, as ImageMagick.

    y(r, c) = sum_i w_i x(r + dy_i, c + dx_i), dx_i = ceil(i cos a - 0.5), dy_i = ceil(i sin a - 0.5), positions
    clamped at the border, the result rounded to the 256 grey levels.

    Args:
        x: (N, C, H, W) float32 in [0, 1].
        radius: the kernel has 2 radius + 1 taps.
        sigma: of the half Gaussian, in pixels.
        angle_deg: (N,) float, any angle.

    Returns:
        (N, C, H, W), multiples of 1/255.
    """
    count, channels, height, width = x.shape
    reach = 2 * radius
    step = torch.arange(reach + 1, device=x.device, dtype=torch.float64)
    angle = torch.deg2rad(angle_deg.double())[:, None]
    dx = torch.ceil(step * torch.cos(angle) - 0.5).long()
    dy = torch.ceil(step * torch.sin(angle) - 0.5).long()
    padded = filters.pad(x, reach, reach, reach, reach, "nearest")
    padded_width = width + 2 * reach
    # In a padded row-major image a tap is one shift of the flat pixels: windows[n, c, shift] is a view.
    length = (height - 1) * padded_width + width
    flat = padded.reshape(count, channels, -1)
    windows = flat.unfold(2, length, 1)
    shift = (dy + reach) * padded_width + dx + reach
    image, channel = torch.arange(count, device=x.device)[:, None], torch.arange(channels, device=x.device)
    total = x.new_zeros(count, channels, height * padded_width)
    lines = total[..., :length]
    for i, weight in enumerate(motion_kernel(radius, sigma)):
        lines.add_(windows[image, channel, shift[:, i, None]], alpha=weight)
    return filters.quantise(total.view(count, channels, height, padded_width)[..., :width])


def sample_motion_blur(draws: Draws, params: Motion, shape: tuple[int, ...]) -> Tensor:
    """Draw (N,) directions in degrees, U(-45, 45)."""
    return draws.uniform(low=-45.0, high=45.0)


def motion_blur(x: Tensor, params: Motion, angle_deg: Tensor) -> Tensor:
    """Blur (N, 3, H, W) in [0, 1] as by a camera that moves along `angle_deg` (N,)."""
    return motion_blur_apply(x, params.radius_px, params.sigma_px, angle_deg)


MOTION_BLUR = Corruption("motion_blur", "blur", motion_blur, sample_motion_blur)
