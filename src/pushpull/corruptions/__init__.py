"""The common corruptions of images, batched and repeatable: see `corrupt`."""

from pushpull.corruptions.entry import corrupt
from pushpull.corruptions.registry import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES, REGISTRY
from pushpull.corruptions.severities import SEVERITIES
from pushpull.corruptions.types import Corruption

__all__ = ["CORRUPTIONS", "EXTRA_CORRUPTIONS", "FAMILIES", "REGISTRY", "SEVERITIES", "Corruption", "corrupt"]
