"""How near to the published corruption programs: the golden images, the nine statistics, and the rules.

The rules, and how the golden files were made, stand in shared/golden/README.md.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from pushpull.corruptions import corrupt
from support import SHARED

SCALES = {32: "cifar", 224: "imagenet"}
STATISTICS = (
    *("mean", "std", "mae", "rmse", "laplacian_rms", "corr_clean"),
    *("frac_0", "frac_255", "channel_spread"),
)


@lru_cache
def golden(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of shared/golden/<name>.npz."""
    assert SHARED is not None
    with np.load(SHARED / "golden" / f"{name}.npz") as arrays:
        return dict(arrays)


@lru_cache
def images(size: int) -> Tensor:
    """Return the images of the golden statistics, uint8: 1000 of CIFAR-10 (32), 50 of ImageNet (224)."""
    assert SHARED is not None
    if size == 32:
        column = pq.read_table(SHARED / "data/cifar10/test.parquet", columns=["img"])["img"].slice(0, 1000)
    else:
        table = pq.read_table(SHARED / "data/imagenet_sample/validation.parquet", columns=["image"])
        column = table["image"].take(list(range(0, 1000, 20)))
    pictures = [Image.open(io.BytesIO(cell["bytes"])).convert("RGB") for cell in column.to_pylist()]
    crops = np.stack([_centre(np.asarray(picture), size) for picture in pictures])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


def _centre(picture: np.ndarray, size: int) -> np.ndarray:
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


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


def deviations(name: str, size: int, severity: int, count: int, seed: int = 0) -> dict[str, float]:
    """Corrupt the first `count` golden images; return, a statistic, |mean paired difference| / allowed.

    Allowed are 4 standard errors of the difference or 1 % of the statistic, whichever is larger; 1 passes.
    """
    clean = images(size)[:count]
    ours = corrupt(clean, name, severity, scale=SCALES[size], seed=seed, index=torch.arange(len(clean)))
    theirs = golden(f"per_image_{size}")[name][severity - 1, : len(clean)].astype(np.float64)
    # A constant image has no correlation (0 / 0) in either program.
    difference = statistics(clean, ours) - theirs
    error = np.nanstd(difference, axis=0, ddof=1) / np.sqrt(len(clean))
    allowed = np.maximum(4 * error, 0.01 * np.abs(np.nanmean(theirs, axis=0)))
    # Float32 storage of the golden statistics: nothing nearer than 1e-6 can be asked for.
    ratio = np.abs(np.nanmean(difference, axis=0)) / np.maximum(allowed, 1e-6)
    return dict(zip(STATISTICS, ratio.tolist(), strict=True))


def assert_same_distribution(name: str, size: int, severity: int, count: int, seed: int = 0) -> None:
    """Apply the rule for random corruptions to the first `count` golden images."""
    ratios = deviations(name, size, severity, count, seed)
    failed = {statistic: round(ratio, 2) for statistic, ratio in ratios.items() if not ratio <= 1}
    assert not failed, f"{name} at {size}, severity {severity}: difference / allowed is {failed}"


def assert_same_pixels(name: str, size: int, severity: int, levels: int = 1, share: float = 0.999) -> None:
    """Apply the rule for deterministic corruptions: within `levels` on at least `share` of the values."""
    exact = golden(f"exact_{size}")
    clean = torch.from_numpy(exact["clean"]).permute(0, 3, 1, 2)
    ours = corrupt(clean, name, severity, scale=SCALES[size], index=torch.arange(len(clean)))
    difference = np.abs(ours.permute(0, 2, 3, 1).numpy().astype(int) - exact[name][severity - 1])
    assert (difference <= levels).mean() >= share
