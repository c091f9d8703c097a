"""What every kind of data set is brought to first: up to three splits of one class list, as stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pushpull.data.images import ImageSplit

# What files, folders and the hub call the splits; the pattern takes the first name that fits.
_ALIASES = {"train": "training|train", "validation": "validation|valid|val|dev", "test": "testing|test"}
SPLITS = tuple(_ALIASES)
_PREFIX = re.compile("|".join(f"(?P<{split}>{names})" for split, names in _ALIASES.items()), re.IGNORECASE)

UNLABELLED = -1


@dataclass
class RawData:
    """A data set before any choice is made: labels may be `UNLABELLED` (-1).

    Args:
        classes: names of the labels.
        splits: "train", "validation", "test", those that there are.
        remarks: what was decided on the way, one sentence each.
        note: a warning that belongs to every figure on this data.
    """

    classes: list[str]
    splits: dict[str, ImageSplit]
    remarks: list[str] = field(default_factory=list)
    note: str | None = None


def split_called(name: str) -> str | None:
    """Return which split a folder or file of this name holds: "val-00000-of-00002" is "validation"."""
    match = _PREFIX.match(name)
    if match is None or name[match.end() : match.end() + 1].isalpha():
        return None
    return match.lastgroup
