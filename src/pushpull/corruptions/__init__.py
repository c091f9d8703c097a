"""The common corruptions of images, batched and repeatable: see `corrupt`.

`Corrupt`, `RandomCorruption` and `CorruptedDataset` are loaded when first used: they need torchvision.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pushpull.corruptions.benchmark import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES, SEVERITIES
from pushpull.corruptions.engine import apply_corruption, corrupt, sample_corruption
from pushpull.corruptions.registry import REGISTRY, Corruption, register_corruption
from pushpull.corruptions.textures import fetch_frost

if TYPE_CHECKING:
    from pushpull.corruptions.transforms import Corrupt, CorruptedDataset, RandomCorruption

_TRANSFORMS = ("Corrupt", "CorruptedDataset", "RandomCorruption")

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "FAMILIES",
    "REGISTRY",
    "SEVERITIES",
    "Corrupt",
    "CorruptedDataset",
    "Corruption",
    "RandomCorruption",
    "apply_corruption",
    "corrupt",
    "fetch_frost",
    "register_corruption",
    "sample_corruption",
]


def __getattr__(name: str) -> Any:
    if name in _TRANSFORMS:
        return getattr(importlib.import_module("pushpull.corruptions.transforms"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
