"""Every constant of the benchmark corruptions: SEVERITIES[scale][corruption][severity - 1].

Source: the programs published with Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019 (hendrycks/robustness, Apache-2.0): `make_imagenet_c.py`
("imagenet", made for 224 pixels), `make_cifar_c.py` ("cifar", 32), `make_tinyimagenet_c.py` ("tiny", 64). The
scales are different constants, not a resize; images of other sizes take one of the three by name.

Lengths are in pixels, intensities in units of the range [0, 1], unless a field says otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Defocus(NamedTuple):
    """Disk of `radius_px`, smoothed by a small Gaussian of `alias_sigma_px`."""

    radius_px: float
    alias_sigma_px: float


class Glass(NamedTuple):
    """Gaussian blur, `iterations` local exchanges up to `max_delta_px` away, Gaussian blur."""

    sigma_px: float
    max_delta_px: int
    iterations: int


class Motion(NamedTuple):
    """One-sided Gaussian of 2 `radius_px` + 1 taps."""

    radius_px: int
    sigma_px: float


class Zoom(NamedTuple):
    """Zoom factors numpy.arange(1, `stop`, `step`)."""

    stop: float
    step: float


class Snow(NamedTuple):
    """Flakes N(`loc`, `scale`), zoomed, cut at `threshold`, motion-blurred; `mix` of the image is kept."""

    loc: float
    scale: float
    zoom: float
    threshold: float
    blur_radius_px: int
    blur_sigma_px: float
    mix: float


class Frost(NamedTuple):
    """Weights of image and frost photograph; the photograph is resized by `texture_scale`."""

    image_weight: float
    frost_weight: float
    texture_scale: float


class Fog(NamedTuple):
    """Plasma fractal of `strength`, its amplitude divided by `wibble_decay` each octave."""

    strength: float
    wibble_decay: float


class Spatter(NamedTuple):
    """Drops N(`loc`, `scale`), smoothed by `sigma_px`, cut at `threshold`; water, or mud."""

    loc: float
    scale: float
    sigma_px: float
    threshold: float
    strength: float
    mud: bool


class Saturate(NamedTuple):
    """Saturation S becomes `gain` S + `offset`."""

    gain: float
    offset: float


class Elastic(NamedTuple):
    """Random affine of up to `affine_px`, then displacements smoothed by `sigma_px` times `alpha_px`."""

    alpha_px: float
    sigma_px: float
    affine_px: float


_ZOOM_SMALL = (Zoom(1.06, 0.01), Zoom(1.11, 0.01), Zoom(1.16, 0.01), Zoom(1.21, 0.01), Zoom(1.26, 0.01))

_IMAGENET: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60.0, 25.0, 12.0, 5.0, 3.0),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": (1.0, 2.0, 3.0, 4.0, 6.0),
    "defocus_blur": (Defocus(3, 0.1), Defocus(4, 0.5), Defocus(6, 0.5), Defocus(8, 0.5), Defocus(10, 0.5)),
    "glass_blur": (Glass(0.7, 1, 2), Glass(0.9, 2, 1), Glass(1.0, 2, 3), Glass(1.1, 3, 2), Glass(1.5, 4, 2)),
    "motion_blur": (Motion(10, 3), Motion(15, 5), Motion(15, 8), Motion(15, 12), Motion(20, 15)),
    "zoom_blur": (Zoom(1.11, 0.01), Zoom(1.16, 0.01), Zoom(1.21, 0.02), Zoom(1.26, 0.02), Zoom(1.31, 0.03)),
    "snow": (
        Snow(0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
        Snow(0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
        Snow(0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
        Snow(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        Snow(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": (
        Frost(1, 0.4, 1),
        Frost(0.8, 0.6, 1),
        Frost(0.7, 0.7, 1),
        Frost(0.65, 0.7, 1),
        Frost(0.6, 0.75, 1),
    ),
    "fog": (Fog(1.5, 2), Fog(2, 2), Fog(2.5, 1.7), Fog(2.5, 1.5), Fog(3, 1.4)),
    "spatter": (
        Spatter(0.65, 0.3, 4.0, 0.69, 0.6, False),
        Spatter(0.65, 0.3, 3.0, 0.68, 0.6, False),
        Spatter(0.65, 0.3, 2.0, 0.68, 0.5, False),
        Spatter(0.65, 0.3, 1.0, 0.65, 1.5, True),
        Spatter(0.67, 0.4, 1.0, 0.65, 1.5, True),
    ),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "saturate": (Saturate(0.3, 0), Saturate(0.1, 0), Saturate(2, 0), Saturate(5, 0.1), Saturate(20, 0.2)),
    "jpeg_compression": (25, 18, 15, 10, 7),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "elastic_transform": (
        Elastic(488.0, 170.8, 24.4),
        Elastic(488.0, 19.52, 48.8),
        Elastic(12.2, 2.44, 4.88),
        Elastic(17.08, 2.44, 4.88),
        Elastic(29.28, 2.44, 4.88),
    ),
}

_CIFAR: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500.0, 250.0, 100.0, 75.0, 50.0),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "defocus_blur": (
        Defocus(0.3, 0.4),
        Defocus(0.4, 0.5),
        Defocus(0.5, 0.6),
        Defocus(1, 0.2),
        Defocus(1.5, 0.1),
    ),
    "glass_blur": (
        Glass(0.05, 1, 1),
        Glass(0.25, 1, 1),
        Glass(0.4, 1, 1),
        Glass(0.25, 1, 2),
        Glass(0.4, 1, 2),
    ),
    "motion_blur": (Motion(6, 1), Motion(6, 1.5), Motion(6, 2), Motion(8, 2), Motion(9, 2.5)),
    "zoom_blur": _ZOOM_SMALL,
    "snow": (
        Snow(0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
        Snow(0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
        Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": (
        Frost(1, 0.2, 0.2),
        Frost(1, 0.3, 0.2),
        Frost(0.9, 0.4, 0.2),
        Frost(0.85, 0.4, 0.2),
        Frost(0.75, 0.45, 0.2),
    ),
    "fog": (Fog(0.2, 3), Fog(0.5, 3), Fog(0.75, 2.5), Fog(1, 2), Fog(1.5, 1.75)),
    "spatter": (
        Spatter(0.62, 0.1, 0.7, 0.7, 0.5, False),
        Spatter(0.65, 0.1, 0.8, 0.7, 0.5, False),
        Spatter(0.65, 0.3, 1.0, 0.69, 0.5, False),
        Spatter(0.65, 0.1, 0.7, 0.69, 0.6, True),
        Spatter(0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "saturate": (Saturate(0.3, 0), Saturate(0.1, 0), Saturate(1.5, 0), Saturate(2, 0.1), Saturate(2.5, 0.2)),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "elastic_transform": (
        Elastic(0.0, 0.0, 2.56),
        Elastic(1.6, 6.4, 2.24),
        Elastic(2.56, 1.92, 1.92),
        Elastic(3.2, 1.28, 1.6),
        Elastic(3.2, 0.96, 0.96),
    ),
}

_TINY: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": (250.0, 100.0, 50.0, 30.0, 15.0),
    "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
    "speckle_noise": (0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": (0.5, 0.75, 1.0, 1.25, 1.5),
    "defocus_blur": (
        Defocus(0.5, 0.6),
        Defocus(1, 0.1),
        Defocus(1.5, 0.1),
        Defocus(2.5, 0.01),
        Defocus(3, 0.1),
    ),
    "glass_blur": (Glass(0.1, 1, 1), Glass(0.5, 1, 1), Glass(0.6, 1, 2), Glass(0.7, 2, 1), Glass(0.9, 2, 2)),
    "motion_blur": (Motion(10, 1), Motion(10, 1.5), Motion(10, 2), Motion(10, 2.5), Motion(12, 3)),
    "zoom_blur": _ZOOM_SMALL,
    "snow": (
        Snow(0.1, 0.2, 1.0, 0.6, 8, 3, 0.8),
        Snow(0.1, 0.2, 1.0, 0.5, 10, 4, 0.8),
        Snow(0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        Snow(0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        Snow(0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": (
        Frost(1, 0.3, 0.3),
        Frost(0.9, 0.4, 0.3),
        Frost(0.8, 0.45, 0.3),
        Frost(0.75, 0.5, 0.3),
        Frost(0.7, 0.55, 0.3),
    ),
    "fog": (Fog(0.4, 3), Fog(0.7, 3), Fog(1, 2.5), Fog(1.5, 2), Fog(2, 1.75)),
    "spatter": (
        Spatter(0.62, 0.1, 0.7, 0.7, 0.6, False),
        Spatter(0.65, 0.1, 0.8, 0.7, 0.6, False),
        Spatter(0.65, 0.3, 1.0, 0.69, 0.6, False),
        Spatter(0.65, 0.1, 0.7, 0.68, 0.6, True),
        Spatter(0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "saturate": (Saturate(0.3, 0), Saturate(0.1, 0), Saturate(2, 0), Saturate(5, 0.1), Saturate(30, 0.2)),
    "jpeg_compression": (65, 58, 50, 40, 25),
    "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
    "elastic_transform": (
        Elastic(0.0, 0.0, 5.12),
        Elastic(3.2, 19.2, 3.84),
        Elastic(6.4, 5.12, 3.84),
        Elastic(6.4, 1.92, 1.92),
        Elastic(10.24, 1.92, 1.28),
    ),
}

SEVERITIES: dict[str, dict[str, tuple[Any, ...]]] = {"imagenet": _IMAGENET, "cifar": _CIFAR, "tiny": _TINY}
