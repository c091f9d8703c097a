"""The table of corruptions."""

from __future__ import annotations

from pushpull.corruptions import blur
from pushpull.corruptions.types import Corruption


def _pending(name: str, family: str) -> Corruption:
    def apply(x, params, drawn):  # type: ignore[no-untyped-def]
        raise NotImplementedError(name)

    return Corruption(name, family, apply)


_STANDARD: tuple[Corruption, ...] = (
    _pending("gaussian_noise", "noise"),
    _pending("shot_noise", "noise"),
    _pending("impulse_noise", "noise"),
    _pending("defocus_blur", "blur"),
    _pending("glass_blur", "blur"),
    blur.MOTION_BLUR,
    _pending("zoom_blur", "blur"),
    _pending("snow", "weather"),
    _pending("frost", "weather"),
    _pending("fog", "weather"),
    _pending("brightness", "weather"),
    _pending("contrast", "digital"),
    _pending("elastic_transform", "digital"),
    _pending("pixelate", "digital"),
    _pending("jpeg_compression", "digital"),
)
_EXTRA: tuple[Corruption, ...] = (
    _pending("speckle_noise", "noise"),
    _pending("gaussian_blur", "blur"),
    _pending("spatter", "weather"),
    _pending("saturate", "digital"),
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
