"""The golden rules (`oracles.rules`) applied to this package's corruptions, as assertions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from oracles import golden as files
from oracles import rules
from oracles.golden import SCALES
from pushpull.corruptions import corrupt
from support import SHARED


def golden(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of shared/golden/<name>.npz."""
    assert SHARED is not None
    return files.arrays(SHARED / "golden", name)


def images(size: int) -> Tensor:
    """Return the images of the golden statistics, uint8: 1000 of CIFAR-10 (32), 50 of ImageNet (224)."""
    assert SHARED is not None
    return files.images(SHARED / "data", size)


def deviations(name: str, size: int, severity: int, count: int, seed: int = 0) -> dict[str, float]:
    """Corrupt the first `count` golden images; return `rules.paired_deviations` from the published ones."""
    clean = images(size)[:count]
    ours = corrupt(clean, name, severity, scale=SCALES[size], seed=seed, index=torch.arange(len(clean)))
    theirs = golden(f"per_image_{size}")[name][severity - 1, : len(clean)]
    return rules.paired_deviations(rules.statistics(clean, ours), theirs)


def assert_same_distribution(name: str, size: int, severity: int, count: int, seed: int = 0) -> None:
    """Apply the rule for random corruptions to the first `count` golden images."""
    ratios = deviations(name, size, severity, count, seed)
    failed = {statistic: round(ratio, 2) for statistic, ratio in ratios.items() if not ratio <= 1}
    assert not failed, f"{name} at {size}, severity {severity}: difference / allowed is {failed}"


def assert_same_pixels(name: str, size: int, severity: int) -> None:
    """Apply the rule for deterministic corruptions to the golden images."""
    exact = golden(f"exact_{size}")
    clean = torch.from_numpy(exact["clean"]).permute(0, 3, 1, 2)
    ours = corrupt(clean, name, severity, scale=SCALES[size], index=torch.arange(len(clean)))
    levels, share = rules.same_pixels(name)
    near = rules.share_within(ours.permute(0, 2, 3, 1).numpy(), exact[name][severity - 1], levels)
    assert near >= share, f"{near:.5f} of the values are within {levels} levels"
