"""Image folders: a folder a split, in it a folder a class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from pushpull.data.images import ImageSplit, RawData, TableSource
from pushpull.errors import InputError

# What files, folders and the hub call the splits; the pattern takes the first name that fits.
_ALIASES = {"train": "training|train", "validation": "validation|valid|val|dev", "test": "testing|test"}
SPLITS = tuple(_ALIASES)
_PREFIX = re.compile("|".join(f"(?P<{split}>{names})" for split, names in _ALIASES.items()), re.IGNORECASE)

_EXTENSIONS = frozenset(
    f".{name}"
    for name in "jpg jpeg jpe jp2 png bmp gif webp tif tiff ppm pgm pbm".split()  # noqa: SIM905
)
_IMAGES = "images"
LAYOUT = "train/, val/ and test/ with a folder of images for each class, or only folders of classes"


def split_called(name: str) -> str | None:
    """Return which split a folder or file of this name holds: "val-00000-of-00002" is "validation"."""
    match = _PREFIX.match(name)
    if match is None or name[match.end() : match.end() + 1].isalpha():
        return None
    return match.lastgroup


def load_folder(root: Path) -> RawData:
    """Return the splits of an image folder; `index` is the row of a listing sorted by class and path.

    Class folders sorted by name (by number where they are "0" to "n-1") are the labels; the list comes from
    train/ (without one, from all splits), so a class folder that another split lacks shifts nothing. Without
    split folders the whole is the test split.

    Raises:
        InputError: no images, images outside class folders, a class that train/ does not have.
    """
    folders, remarks = _split_folders(root)
    members = {split: _members(path) for split, path in folders.items()}
    # Tiny ImageNet's test images lie in test/images/.
    if "test" in members and set(members["test"]) <= {_IMAGES} and len(members) > 1:
        remarks.append(f"{folders['test'].name}/ has no class folders: unlabelled, not used")
        del members["test"]
    for split, found in members.items():
        if not any(found.values()):
            raise InputError(
                f"{folders[split]} has no images in class folders and no parquet files; give {LAYOUT}"
            )
    classes = in_class_order(members["train"] if "train" in members else set().union(*members.values()))
    splits = {}
    for split, found in members.items():
        unknown = sorted(set(found) - set(classes))
        if unknown:
            raise InputError(
                f"{folders[split] / unknown[0]} is a class that {folders['train']} does not have; "
                f"rename or remove it ({len(classes)} classes: {', '.join(classes[:4])} ...)"
            )
        splits[split] = folder_split(split, found, classes)
    return RawData(classes, splits, remarks)


def _members(folder: Path) -> dict[str, list[str]]:
    """Return class -> image paths of a split: by class folders, or by Tiny ImageNet's list.

    Raises:
        InputError: a line of the list that is not FILE<tab>CLASS and maybe more.
    """
    listed = folder / "val_annotations.txt"
    if not listed.is_file():
        return class_folders(folder)
    found: dict[str, list[str]] = {}
    for line in listed.read_text(encoding="utf-8").splitlines():
        file, *rest = line.split("\t")
        if not rest:
            raise InputError(f"{listed} has the line {line[:40]!r}, not FILE<tab>CLASS; fetch it again")
        found.setdefault(rest[0], []).append(str(folder / _IMAGES / file))
    return {label: sorted(files) for label, files in sorted(found.items())}


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    children = subfolders(root)
    splits = [(split, path) for path in children if (split := split_called(path.name))]
    # A class may be called "train": splits have folders in them, or nothing but splits beside them.
    nested = any(child.is_dir() for _, path in splits for child in path.iterdir())
    if not splits or not (nested or len(splits) == len(children)):
        return {"test": root}, []
    folders: dict[str, Path] = {}
    for split, path in splits:
        if split in folders:
            raise InputError(
                f"{root} has both {folders[split].name}/ and {path.name}/; keep one {split} folder"
            )
        folders[split] = path
    others = [path.name for path in children if path not in folders.values()]
    remarks = [f"not a split, not used: {', '.join(others)}"] if others else []
    return {split: folders[split] for split in SPLITS if split in folders}, remarks


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name; not those that begin with a dot."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def in_class_order(names: Iterable[str]) -> list[str]:
    """Return class names sorted: as text, but "0", "1", ..., "n-1" (as ImageNetV2 has them) as numbers."""
    ordered = sorted(names)
    by_number = [str(number) for number in range(len(ordered))]
    return by_number if sorted(by_number) == ordered else ordered


def class_folders(folder: Path) -> dict[str, list[str]]:
    """Return class -> image paths, sorted, in folders at any depth below the class's.

    Raises:
        InputError: a name that is not UTF-8.
    """
    found: dict[str, list[str]] = {}
    for child in subfolders(folder):
        found[child.name] = sorted(
            os.path.join(place, name)
            for place, _, names in os.walk(child, followlinks=True)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _EXTENSIONS
        )
        for path in (str(child), *found[child.name]):
            try:
                path.encode()
            except UnicodeEncodeError:  # Python could only read it with surrogates: no table can hold it
                raise InputError(
                    f"{path!a} is not UTF-8, as names of files and classes must be; rename it"
                ) from None
    return found


def folder_split(name: str, found: Mapping[str, list[str]], classes: list[str]) -> ImageSplit:
    """Return the images of class -> paths as a split; row i is the i-th image by class and path."""
    # Not `load_dataset("imagefolder")`, measured with 2,000 JPEG files: it sorts classes as text ("10" before
    # "2"), knows neither Tiny ImageNet's lists nor one class list for all splits, and writes a table of the
    # paths into its cache (1.5 s to open, ours 0.3 s); images are read at the same speed.
    from datasets import Dataset, Features, Image

    paths = [path for label in classes for path in found.get(label, ())]
    counts = torch.tensor([len(found.get(label, ())) for label in classes])
    table = Dataset.from_dict({"image": paths}, features=Features({"image": Image(decode=False)}))
    labels = torch.repeat_interleave(torch.arange(len(classes)), counts)
    return ImageSplit(name, classes, labels, torch.arange(len(paths)), TableSource(table, "image", name))
