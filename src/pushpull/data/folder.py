"""Image folders: a folder a split, in it a folder a class."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pushpull.data.images import ImageSplit, TableSource
from pushpull.data.raw import SPLITS, RawData, split_called
from pushpull.errors import InputError

_EXTENSIONS = frozenset(
    f".{name}"
    for name in "jpg jpeg jpe jp2 png bmp gif webp tif tiff ppm pgm pbm".split()  # noqa: SIM905
)
LAYOUT = "train/, val/ and test/ with a folder of images for each class, or only folders of classes"


def load_folder(root: Path) -> RawData:
    """Return the splits of an image folder; `index` is the row of a listing sorted by class and path.

    Class folders sorted by name are the labels; the list comes from train/ (without one, from all splits),
    so a class folder that another split lacks shifts nothing. Without split folders the whole is the test
    split.

    Raises:
        InputError: no images, images outside class folders, a class that train/ does not have.
    """
    folders, remarks = _split_folders(root)
    members = {split: _classes_of(path) for split, path in folders.items()}
    if "test" in members and not members["test"] and len(members) > 1:
        remarks.append(f"{folders['test'].name}/ has no class folders: unlabelled, not used")
        del members["test"]
    for split, found in members.items():
        if not any(found.values()):
            raise InputError(
                f"{folders[split]} has no images in class folders and no parquet files; give {LAYOUT}"
            )
    classes = sorted(members["train"] if "train" in members else set().union(*members.values()))
    splits = {}
    for split, found in members.items():
        unknown = sorted(set(found) - set(classes))
        if unknown:
            raise InputError(
                f"{folders[split] / unknown[0]} is a class that {folders['train']} does not have; "
                f"rename or remove it ({len(classes)} classes: {', '.join(classes[:4])} ...)"
            )
        splits[split] = _split(split, found, classes)
    return RawData(classes, splits, remarks)


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    children = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
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


def _classes_of(folder: Path) -> dict[str, list[str]]:
    """Return class -> image paths, sorted, in folders at any depth below the class's."""
    children = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {child.name: _images_below(child) for child in children}


def _images_below(folder: Path) -> list[str]:
    found = []
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _EXTENSIONS:
                found.append(os.path.join(place, name))
    return sorted(found)


def _split(name: str, found: dict[str, list[str]], classes: list[str]) -> ImageSplit:
    from datasets import Dataset, Features, Image

    paths = [path for label in classes for path in found.get(label, ())]
    counts = torch.tensor([len(found.get(label, ())) for label in classes])
    table = Dataset.from_dict({"image": paths}, features=Features({"image": Image(decode=False)}))
    labels = torch.repeat_interleave(torch.arange(len(classes)), counts)
    return ImageSplit(name, classes, labels, torch.arange(len(paths)), TableSource(table, "image", name))
