"""Published errors that the normalised metrics divide by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Baseline:
    """A reference network's errors, all fractions in [0, 1].

    Args:
        label: what tables call it.
        mean_errors: corruption -> top-1 error, mean over the five severities.
        clean_error: top-1 error on the uncorrupted images.
        source: where the figures are published.
        data: the only data set on which dividing by them means anything.
    """

    label: str
    mean_errors: Mapping[str, float]
    clean_error: float
    source: str
    data: str


ALEXNET = Baseline(
    label="AlexNet",
    mean_errors=MappingProxyType(
        {
            "gaussian_noise": 0.886428,
            "shot_noise": 0.894468,
            "impulse_noise": 0.922640,
            "defocus_blur": 0.819880,
            "glass_blur": 0.826268,
            "motion_blur": 0.785948,
            "zoom_blur": 0.798360,
            "snow": 0.866816,
            "frost": 0.826572,
            "fog": 0.819324,
            "brightness": 0.564592,
            "contrast": 0.853204,
            "elastic_transform": 0.646056,
            "pixelate": 0.717840,
            "jpeg_compression": 0.606500,
        }
    ),
    clean_error=0.4348,
    source="Hendrycks & Dietterich (ICLR 2019), as listed in google-research/augmix and "
    "google-research/robustness_metrics",
    data="ImageNet-C",
)
BASELINES: Mapping[str, Baseline] = MappingProxyType({"alexnet": ALEXNET})
