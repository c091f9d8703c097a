"""The table of corruptions."""

from __future__ import annotations

from pushpull.corruptions import blur, digital, elastic, noise, spatter, weather
from pushpull.corruptions.types import Corruption

_STANDARD: tuple[Corruption, ...] = (
    noise.GAUSSIAN_NOISE,
    noise.SHOT_NOISE,
    noise.IMPULSE_NOISE,
    blur.DEFOCUS_BLUR,
    blur.GLASS_BLUR,
    blur.MOTION_BLUR,
    blur.ZOOM_BLUR,
    weather.SNOW,
    weather.FROST,
    weather.FOG,
    digital.BRIGHTNESS,
    digital.CONTRAST,
    elastic.ELASTIC_TRANSFORM,
    digital.PIXELATE,
    digital.JPEG_COMPRESSION,
)
_EXTRA: tuple[Corruption, ...] = (
    noise.SPECKLE_NOISE,
    blur.GAUSSIAN_BLUR,
    spatter.SPATTER,
    digital.SATURATE,
)

REGISTRY: dict[str, Corruption] = {corruption.name: corruption for corruption in _STANDARD + _EXTRA}
"""Every corruption by name, the benchmark's 15 first, in its usual order."""

CORRUPTIONS: tuple[str, ...] = tuple(corruption.name for corruption in _STANDARD)
"""The 15 of the benchmark's mean, in the usual order."""

EXTRA_CORRUPTIONS: tuple[str, ...] = tuple(corruption.name for corruption in _EXTRA)
"""The 4 "validation" corruptions, which never enter the mean."""

FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(corruption.name for corruption in _STANDARD if corruption.family == family)
    for family in dict.fromkeys(corruption.family for corruption in _STANDARD)
}
"""The 15 by family: noise, blur, weather, digital."""
