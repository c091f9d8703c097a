"""Sequences of slightly changed images, as ImageNet-P and CIFAR-10-P are: what is made of one clean image.

Source: Hendrycks & Dietterich, ICLR 2019, and the programs that made the published sets (difficulty 1).
Differs from them: random numbers are this package's; sequences are of the image that the corruptions get, so
that a rotated, shifted or shrunk one has black borders where ImageNet-P shows more of the photograph; no
video codec. Not made: spatter, and the four validation perturbations speckle noise, Gaussian blur and shear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pushpull.corruptions.blur import motion_blur_apply
from pushpull.corruptions.colour import brightness
from pushpull.corruptions.noise import ShotDraws, gaussian_noise, shot_noise
from pushpull.corruptions.weather import Snow, SnowDraws, snow
from pushpull.errors import choice
from pushpull.random import Draws

_FRAMES = 31
_MIDDLE = 15
_ZOOM_STEP = 0.004
Frames = Iterator[Tensor]  # (n, 3, H, W) uint8 or float in [0, 1], one after the other


def perturbed(images: Tensor, name: str, *, scale: str, seed: int, index: Tensor) -> Iterator[Tensor]:
    """Return what yields the frames of every image's sequence, one at a time.

    Args:
        images: (n, 3, H, W) uint8.
        name: one of `PERTURBATIONS`.
        scale: "imagenet" or "cifar": whose constants.
        seed: of the random numbers.
        index: (n,) int64, the rows of the images, which the random numbers depend on.

    Returns:
        Of (n, 3, H, W) uint8, 31 times (21 of CIFAR's motion blur; of translations 41, of CIFAR's 16).

    Raises:
        InputError: another name or scale.
    """
    choice("scale of perturbations", scale, ("imagenet", "cifar"))
    make, of_imagenet, of_cifar = PERTURBATIONS[choice("perturbation", name, PERTURBATIONS)]
    draws = Draws(index, seed=seed, name=f"perturbed {name}", severity=0)
    return map(_in_levels, make(images, of_imagenet if scale == "imagenet" else of_cifar, draws))


def _in_levels(frame: Tensor) -> Tensor:
    return frame if frame.dtype == torch.uint8 else (frame.clamp(0, 1) * 255).to(torch.uint8)


def is_noise(name: str) -> bool:
    """Whether a perturbation's frames are independent, so that each is compared with the first."""
    return "noise" in name


def _gaussian_noise(images: Tensor, sigma: float, draws: Draws) -> Frames:
    yield images
    for _ in range(1, _FRAMES):
        yield gaussian_noise(images / 255, sigma, draws.normal(*images.shape[1:]))


def _shot_noise(images: Tensor, photons: float, draws: Draws) -> Frames:
    yield images
    for _ in range(1, _FRAMES):
        yield shot_noise(images / 255, photons, ShotDraws(draws.uniform(*images.shape[1:]), None))


def _motion_blur(images: Tensor, motion: tuple[int, float, int, int], draws: Draws) -> Frames:
    radius, sigma, step_deg, frames = motion
    for frame in range(frames):
        angle = torch.full((len(images),), float((frame - frames + 1) * step_deg), device=images.device)
        yield motion_blur_apply(images / 255, radius, sigma, angle)


def _zoom_blur(images: Tensor, nothing: None, draws: Draws) -> Frames:
    total = images / 255
    yield images
    for frame in range(1, _FRAMES):
        total = total + _affine(images / 255, scale=1 + _ZOOM_STEP * frame)
        yield total / (frame + 1)


def _snow(images: Tensor, params: Snow, draws: Draws) -> Frames:
    field = draws.normal(*(math.ceil(side / params.zoom) for side in images.shape[-2:]))
    for frame in range(_FRAMES):
        angle = torch.full((len(images),), 4.0 * frame - 150, device=images.device)
        yield snow(images / 255, params, SnowDraws(field, angle))


def _brightness(images: Tensor, step: float, draws: Draws) -> Frames:
    for frame in range(_FRAMES):
        x = images / 255
        added = (frame - _MIDDLE) * step
        yield brightness(x, added, None) if added >= 0 else _darker(x, -added)


def _darker(x: Tensor, by: float) -> Tensor:
    """Lower V of HSV to no less than 0, at fixed hue and saturation."""
    value = x.amax(dim=1, keepdim=True)
    return x * ((value - by).clamp(min=0) / torch.where(value > 0, value, 1.0))


def _translate(images: Tensor, shift_px: tuple[int, int], draws: Draws) -> Frames:
    for shift in range(*shift_px):
        left, right = max(0, shift), max(0, -shift)
        moved = torch.zeros_like(images)
        moved[..., left : images.shape[-1] - right] = images[..., right : images.shape[-1] - left]
        yield moved


def _rotate(images: Tensor, nothing: None, draws: Draws) -> Frames:
    for frame in range(_FRAMES):
        yield _affine(images, angle_deg=frame - _MIDDLE)


def _scale(images: Tensor, first_and_step: tuple[float, float], draws: Draws) -> Frames:
    first, step = first_and_step
    for frame in range(_FRAMES):
        yield _affine(images, scale=first + step * frame)


def _affine(x: Tensor, angle_deg: float = 0.0, scale: float = 1.0) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import affine

    return affine(x, angle_deg, [0, 0], scale, [0.0], InterpolationMode.BILINEAR)


def _tilt(images: Tensor, step_deg: float, draws: Draws) -> Frames:
    """Turn the image about both of its axes, seen from the distance of its diagonal."""
    from torchvision.transforms.v2.functional import perspective

    height, width = images.shape[-2:]
    corners = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]
    for frame in range(_FRAMES):
        angle = math.radians((frame - _MIDDLE) * step_deg)
        ends = [_turned(column, row, angle, width, height) for column, row in corners]
        # Places of pixels' middles, which torchvision counts from the edge.
        points = [[[x + 0.5, y + 0.5] for x, y in of] for of in (corners, ends)]
        yield perspective(images, points[0], points[1])


def _turned(column: float, row: float, angle: float, width: int, height: int) -> tuple[float, float]:
    """Return where a place is after turns about the vertical axis, then about the horizontal one."""
    distance, x, y = math.hypot(width, height), column - width / 2, row - height / 2
    depth = 1.0  # the published program's plane stands at 1, not at 0
    x, depth = x * math.cos(angle) - depth * math.sin(angle), x * math.sin(angle) + depth * math.cos(angle)
    y, depth = y * math.cos(angle) - depth * math.sin(angle), y * math.sin(angle) + depth * math.cos(angle)
    factor = distance / (depth + distance)
    return x * factor + width / 2, y * factor + height / 2


PERTURBATIONS: Mapping[str, tuple[Callable[[Tensor, Any, Draws], Frames], Any, Any]] = MappingProxyType(
    {
        "gaussian_noise": (_gaussian_noise, 0.03, 0.02),
        "shot_noise": (_shot_noise, 300.0, 700.0),
        # Radius and sigma in px, step in degrees, number of frames.
        "motion_blur": (_motion_blur, (10, 3.0, 4, 31), (6, 1.8, 9, 21)),
        "zoom_blur": (_zoom_blur, None, None),
        "snow": (_snow, Snow(0.05, 0.3, 3.0, 0.5, 14, 4, 0.85), Snow(0.05, 0.3, 2.0, 0.5, 10, 2, 0.85)),
        "brightness": (_brightness, 0.02, 0.015),
        # Of the first frame, and of the one after the last.
        "translate": (_translate, (-20, 21), (-7, 9)),
        "rotate": (_rotate, None, None),
        "tilt": (_tilt, 1.0, 0.75),
        # Of the first frame, and what each adds.
        "scale": (_scale, (0.4, 0.025), (0.7, 0.02)),
    }
)
"""What makes the frames of each, and its constants for ImageNet's images and for CIFAR's."""
