"""Augmentations of training images in batches, one draw an image: see `augment_batch`.

`Augment` is loaded when first used: it needs torchvision.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pushpull.augment.entry import AUGMENTATIONS, augment_batch
from pushpull.augment.jsd import jsd_loss
from pushpull.augment.settings import SCALES

if TYPE_CHECKING:
    from pushpull.augment.transforms import Augment

__all__ = ["AUGMENTATIONS", "SCALES", "Augment", "augment_batch", "jsd_loss"]


def __getattr__(name: str) -> Any:
    if name == "Augment":
        return importlib.import_module("pushpull.augment.transforms").Augment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
