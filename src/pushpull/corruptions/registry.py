"""The table of corruptions."""

from __future__ import annotations

from pushpull.corruptions import blur, colour, elastic, jpeg, noise, pixelate, spatter, weather
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
    colour.BRIGHTNESS,
    colour.CONTRAST,
    elastic.ELASTIC_TRANSFORM,
    pixelate.PIXELATE,
    jpeg.JPEG_COMPRESSION,
)
_EXTRA: tuple[Corruption, ...] = (
    noise.SPECKLE_NOISE,
    blur.GAUSSIAN_BLUR,
    spatter.SPATTER,
    colour.SATURATE,
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

GROUPS: dict[str, tuple[str, ...]] = {
    "benchmark": CORRUPTIONS,
    "extra": EXTRA_CORRUPTIONS,
    "all": tuple(REGISTRY),
    **FAMILIES,
}
"""Every name that stands for several corruptions."""
