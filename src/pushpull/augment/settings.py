"""What each augmentation's numbers are, as data with their source, by the scale of the images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

SCALES = ("cifar", "imagenet")
"""Which constants: those for images of about 32 px, or of about 224 px."""


@dataclass(frozen=True)
class SpectralSetting:
    """A random filter: sigma ~ U(0, `sigma`), `side` x `side` taps."""

    side: int = 3
    sigma: float = 4.0


@dataclass(frozen=True)
class DiffeomorphismSetting:
    """A random smooth warp: frequencies up to one of `cut_min`..`cut_max`, strength bounded by `alpha`."""

    cut_max: int
    cut_min: int = 2
    alpha: float = 1.0


@dataclass(frozen=True)
class ColourSetting:
    """A random function of each channel.

    Attributes:
        cut_max: the highest frequency is uniform in 1..cut_max.
        temperature: variance of a frequency's amplitude, uniform in 0..temperature.
        band: how many frequencies at most, from a random one on; None for all up to the highest.
        steps_a_level: entries of the function's table for each of 255 grey levels; between them it is linear.
    """

    cut_max: int
    temperature: float
    band: int | None
    steps_a_level: int


@dataclass(frozen=True)
class PrimeSetting:
    """PRIME: `width` chains of 1..`depth` primitives."""

    diffeomorphism: DiffeomorphismSetting
    colour: ColourSetting
    spectral: SpectralSetting = field(default_factory=SpectralSetting)
    width: int = 3
    depth: int = 3


# Modas et al., ECCV 2022, appendix, and the settings of the authors' code. The tables' lengths are ours: an
# entry more a level costs time, one less accuracy (docs/augment.md has the errors).
PRIME = {
    "cifar": PrimeSetting(DiffeomorphismSetting(100), ColourSetting(100, 0.01, None, 4)),
    "imagenet": PrimeSetting(DiffeomorphismSetting(500), ColourSetting(500, 0.05, 20, 32)),
}


class Range(NamedTuple):
    """Magnitudes of an operation: equal steps from `low` to `high`.

    Attributes:
        low, high: see `pushpull.augment.ops`; shares of the image's width or height with `unit` px.
        signed: whether half of the draws are negated.
        unit: "": as it is; "width", "height": times that many pixels; "bits": rounded.
    """

    low: float = 0.0
    high: float = 0.0
    signed: bool = False
    unit: Literal["", "width", "height", "bits"] = ""


Space = dict[str, Range]


def _space(shear: float, shift: float, turn_deg: float, bits: tuple[float, float], tone: float) -> Space:
    """Return the thirteen operations that the policies have in common, with these magnitudes at the end."""
    signed = {"brightness": tone, "color": tone, "contrast": tone, "sharpness": tone}
    return {
        "shear_x": Range(high=shear, signed=True),
        "shear_y": Range(high=shear, signed=True),
        "translate_x": Range(high=shift, signed=True, unit="width"),
        "translate_y": Range(high=shift, signed=True, unit="height"),
        "rotate": Range(high=turn_deg, signed=True),
        **{name: Range(high=high, signed=True) for name, high in signed.items()},
        "posterize": Range(*bits, unit="bits"),
        "solarize": Range(1.0, 0.0),
        "autocontrast": Range(),
        "equalize": Range(),
    }


# The magnitudes of torchvision's classes, which took them from the papers' code.
AUTOAUGMENT_SPACE: Space = {**_space(0.3, 150 / 331, 30.0, (8, 4), 0.9), "invert": Range()}
RANDAUGMENT_SPACE: Space = {"identity": Range(), **_space(0.3, 150 / 331, 30.0, (8, 4), 0.9)}
TRIVIAL_SPACE: Space = {
    "identity": Range(),
    **_space(0.99, 0.0, 135.0, (8, 2), 0.99),
    "translate_x": Range(high=32.0, signed=True),
    "translate_y": Range(high=32.0, signed=True),
}
AUGMIX_SPACE: Space = _space(0.3, 1 / 3, 30.0, (4, 0), 0.9)

AUGMIX_NINE = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""The operations that do not overlap with the test corruptions (Hendrycks et al., ICLR 2020)."""


@dataclass(frozen=True)
class AugMixSetting:
    """AugMix: `width` chains of 1..`depth` operations at magnitudes up to `severity`, of 1..10."""

    severity: int = 3
    width: int = 3
    depth: int = 3


# Hendrycks et al., ICLR 2020: severity 3 for CIFAR, 1 for ImageNet.
AUGMIX_AUTHORS = {"cifar": AugMixSetting(3), "imagenet": AugMixSetting(1)}
AUGMIX_TORCHVISION = {scale: AugMixSetting(3) for scale in SCALES}


@dataclass(frozen=True)
class RandAugmentSetting:
    """RandAugment: so many operations in a row, all at one of `bins` magnitudes."""

    operations: int = 2
    magnitude: int = 9
    bins: int = 31


# torchvision's defaults, at both scales.
RANDAUGMENT = {scale: RandAugmentSetting() for scale in SCALES}
TRIVIAL_BINS = 31
