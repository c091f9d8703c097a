"""How near is near: nine statistics an image, and the two rules of shared/golden/README.md."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STATISTICS = (
    *("mean", "std", "mae", "rmse", "laplacian_rms", "corr_clean"),
    *("frac_0", "frac_255", "channel_spread"),
)
DETERMINISTIC = (
    *("defocus_blur", "zoom_blur", "gaussian_blur", "brightness"),
    *("contrast", "saturate", "pixelate", "jpeg_compression"),
)


def statistics(clean: Tensor, corrupted: Tensor) -> np.ndarray:
    """Return (image, 9): `STATISTICS` of (N, 3, H, W) uint8 batches, on the scale where white is 1.

    Grey is the plain mean of the channels; the Laplacian has the taps 1, 1, -4, 1, 1 and is taken inside the
    border; the spread is the standard deviation between a pixel's channels, averaged.
    """
    x, y = clean.double() / 255, corrupted.double() / 255
    grey = y.mean(1)
    inside = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * inside
    spread = y.std(1, correction=0).flatten(1).mean(1)
    x, y, laplacian = x.flatten(1), y.flatten(1), laplacian.flatten(1)
    change = y - x
    dx, dy = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    correlation = (dx * dy).mean(1) / (dx.square().mean(1) * dy.square().mean(1)).sqrt()
    columns = (
        y.mean(1),
        y.std(1, correction=0),
        change.abs().mean(1),
        change.square().mean(1).sqrt(),
        laplacian.square().mean(1).sqrt(),
        correlation,
        (y == 0).double().mean(1),
        (y == 1).double().mean(1),
        spread,
    )
    return torch.stack(columns, 1).numpy()


def paired_deviations(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Return, a statistic, |mean paired difference| / allowed, of (image, 9) of the same images; 1 passes.

    Allowed are 4 standard errors of the difference or 1 % of the statistic, whichever is larger.
    """
    theirs = theirs.astype(np.float64)
    # A constant image has no correlation (0 / 0) in either program.
    difference = ours - theirs
    error = np.nanstd(difference, axis=0, ddof=1) / np.sqrt(len(difference))
    allowed = np.maximum(4 * error, 0.01 * np.abs(np.nanmean(theirs, axis=0)))
    # Float32 storage of the golden statistics: nothing nearer than 1e-6 can be asked for.
    ratio = np.abs(np.nanmean(difference, axis=0)) / np.maximum(allowed, 1e-6)
    return dict(zip(STATISTICS, ratio.tolist(), strict=True))


def share_within(ours: np.ndarray, theirs: np.ndarray, levels: int) -> float:
    """Return the share of values that differ by at most so many grey levels."""
    return float((np.abs(ours.astype(np.int16) - theirs) <= levels).mean())


def same_pixels(name: str) -> tuple[int, float]:
    """Return the rule of a deterministic corruption: within how many levels, on what share of the values."""
    return (0, 1.0) if name == "jpeg_compression" else (1, 0.999)
