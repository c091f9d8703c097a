"""Augmentations of training images in batches, with random numbers for each image: see `augment_batch`.

`Augment` is loaded when first used: it needs torchvision.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pushpull.augment import augmix as augmix  # for what they register, in this order
from pushpull.augment import prime as prime
from pushpull.augment.augmix import jsd_loss
from pushpull.augment.batch import AUGMENTATIONS, SCALES, ImageDraws, augment_batch, register_augmentation

if TYPE_CHECKING:
    from pushpull.augment.batch import Augment

__all__ = [
    "AUGMENTATIONS",
    "SCALES",
    "Augment",
    "ImageDraws",
    "augment_batch",
    "jsd_loss",
    "register_augmentation",
]


def __getattr__(name: str) -> Any:
    if name == "Augment":
        return importlib.import_module("pushpull.augment.batch").Augment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
