"""What every kind of data set is brought to first, and the sources that are known by a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from pushpull.data.images import ImageSplit
from pushpull.data.subsets import stratified
from pushpull.errors import InputError, choice
from pushpull.files.registry import Registry

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


SOURCES: Registry[Callable[[], Any]] = Registry("data set")
Source = TypeVar("Source", bound=Callable[[], Any])


def register_data(name: str) -> Callable[[Source], Source]:
    """Make a function a data source of the name: in `load_data`, recipes, tables and on the command line.

    The function takes nothing and returns a mapping of "train", "validation" and "test", those that there
    are, to (images, labels): (n, 3, H, W) uint8 and (n,) integers, or to an `ImageSplit`. "classes" may have
    the names of the labels, "note" a warning that belongs to every figure on the data. Without a validation
    split one is held out of the training images, as of other data.

    Raises:
        InputError: a name that is no word, or is taken.

    >>> @register_data("noise_images")
    ... def noise_images():
    ...     return {"test": (torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8) % 2)}
    """

    def decorate(source: Source) -> Source:
        SOURCES.register(name, source)
        return source

    return decorate


def registered(name: str) -> RawData:
    """Return what the registered source of that name gives.

    Raises:
        InputError: it returns something else than `register_data` says.
    """
    found = SOURCES[name]()
    if isinstance(found, RawData):
        return found
    if not isinstance(found, Mapping):
        raise InputError(f"data set {name!r} returns a {type(found).__name__}; return a mapping of splits")
    for key in found:
        choice(f"split of data set {name!r}", key, (*SPLITS, "classes", "note"))
    parts = {split: found[split] for split in SPLITS if found.get(split) is not None}
    classes = found.get("classes") or _numbered(parts.values())
    splits = {split: _as_split(part, split, classes, name) for split, part in parts.items()}
    if not splits:
        raise InputError(f"data set {name!r} has no split; return one of {', '.join(SPLITS)}")
    classes = next(iter(splits.values())).classes
    if any(split.classes != classes for split in splits.values()):
        raise InputError(f"the splits of data set {name!r} have different classes; give one list for all")
    return RawData(list(classes), splits, [], found.get("note"))


def _numbered(parts: Iterable[Any]) -> list[str]:
    """Return "0", "1", ... up to the highest label of any split, for sources without names of classes."""
    pairs = [part for part in parts if isinstance(part, tuple | list) and len(part) == 2]
    highest = (int(torch.as_tensor(labels).max()) for _, labels in pairs if len(labels))
    return [str(number) for number in range(max(highest, default=-1) + 1)]


def _as_split(part: Any, split: str, classes: Sequence[str], name: str) -> ImageSplit:
    if isinstance(part, ImageSplit):
        return part
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise InputError(f"the {split} split of data set {name!r} is no (images, labels); return such a pair")
    try:
        return ImageSplit.from_tensors(torch.as_tensor(part[0]), part[1], classes, name=split)
    except InputError as error:
        raise InputError(f"the {split} split of data set {name!r}: {error}") from error


NOTE = "demonstration, not evidence"
SIDE_PX = 32
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: the test images are the same whatever the configuration


@register_data("digits")
def load_digits() -> RawData:
    """Return 1797 digits of the UCI optical recognition set (8x8, 17 grey levels), enlarged (bicubic).

    `index` is scikit-learn's row. The test split is a fixed fifth, stratified.
    """
    from sklearn.datasets import load_digits as sklearn_digits

    grey, numbers = sklearn_digits(return_X_y=True)
    levels = (grey.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    large = [Image.fromarray(one).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC) for one in levels]
    images = torch.from_numpy(np.stack([np.asarray(one) for one in large]))[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(numbers).to(torch.int64)
    everything = ImageSplit.from_tensors(
        images.contiguous(), labels, [str(digit) for digit in range(10)], name="digits"
    )
    rest, test = stratified(everything, TEST_FRACTION, seed=TEST_SEED, purpose="digits test")
    test.name, rest.name = "test", "train"
    return RawData(everything.classes, {"train": rest, "test": test}, [], NOTE)
