"""Image folders: a folder for each split, in it a folder for each class."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
# What file servers and systems put beside people's files: thumbnails, trash, resource forks.
_OF_SERVERS = frozenset(("@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "__MACOSX", "lost+found"))
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
    left: Counter[str] = Counter()
    members = {split: _members(path, left) for split, path in folders.items()}
    # Tiny ImageNet's test images lie in test/images/.
    if "test" in members and set(members["test"]) <= {_IMAGES} and len(members) > 1:
        remarks.append(f"{folders['test'].name}/ has no class folders: unlabelled, not used")
        del members["test"]
    for split, found in members.items():
        if not any(found.values()):
            raise InputError(
                f"{folders[split]} has no images in class folders and no parquet files or tar shards; "
                f"give {LAYOUT}"
            )
    for found in members.values():
        empty = [label for label, files in found.items() if not files]
        left["empty class folder"] += len(empty)
        for label in empty:
            del found[label]
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
    counts = ", ".join(f"{count} x {kind}" for kind, count in sorted(left.items()) if count)
    return RawData(classes, splits, [*remarks, f"left out: {counts}"] if counts else remarks)


def _members(folder: Path, left: Counter[str]) -> dict[str, list[str]]:
    """Return class -> image paths of a split: by class folders, or by Tiny ImageNet's list.

    Raises:
        InputError: a line of the list that is not FILE<tab>CLASS and maybe more.
    """
    listed = folder / "val_annotations.txt"
    if not listed.is_file():
        return class_folders(folder, left)
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


def is_image_name(path: str) -> bool:
    """Whether a file of this name or path is taken for an image: by its ending; no hidden file is."""
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in _EXTENSIONS


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name; not those that begin with a dot, or that file servers make."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not _set_aside(entry.name) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def _set_aside(name: str) -> bool:
    """Whether a folder of this name is hidden, or a file server's."""
    return name.startswith(".") or name in _OF_SERVERS


def in_class_order(names: Iterable[str]) -> list[str]:
    """Return class names sorted: as text, but "0", "1", ..., "n-1" (as ImageNetV2 has them) as numbers."""
    ordered = sorted(names)
    by_number = [str(number) for number in range(len(ordered))]
    return by_number if sorted(by_number) == ordered else ordered


def class_folders(folder: Path, left: Counter[str] | None = None) -> dict[str, list[str]]:
    """Return class -> image paths, sorted, in folders at any depth below the class's.

    Only regular files, and links to such. A link to a folder is followed where that lies outside of `folder`
    and was not met before; hidden folders and those of file servers are not entered.

    Args:
        folder: with a folder for each class.
        left: what was left out is counted here, by kind.

    Raises:
        InputError: a name that is not UTF-8.
    """
    left = Counter() if left is None else left
    home = os.path.realpath(folder.parent if split_called(folder.name) else folder)
    met: set[str] = set()
    found: dict[str, list[str]] = {}
    for child in subfolders(folder):
        if child.is_symlink() and _leads_back(child, home, met):
            left["link to a folder that is there already"] += 1
            continue
        found[child.name] = sorted(_images(child, home, met, left))
        for path in (str(child), *found[child.name]):
            try:
                path.encode()
            except UnicodeEncodeError:  # Python could only read it with surrogates: no table can hold it
                raise InputError(
                    f"{path!a} is not UTF-8, as names of files and classes must be; rename it"
                ) from None
    return found


def _images(folder: Path | str, home: str, met: set[str], left: Counter[str]) -> Iterator[str]:
    """Yield the paths of the image files in a folder and below it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if _set_aside(entry.name):
                    left["hidden or thumbnail folder"] += 1
                elif entry.is_symlink() and _leads_back(entry.path, home, met):
                    left["link to a folder that is there already"] += 1
                else:
                    yield from _images(entry.path, home, met, left)
            elif is_image_name(entry.name):
                if entry.is_file():
                    yield entry.path
                else:
                    left["name of an image that is no file"] += 1


def _leads_back(link: Path | str, home: str, met: set[str]) -> bool:
    """Whether a link leads into the data's own folder, around it, or to where one has led before."""
    real = os.path.realpath(link)
    within = os.path.commonpath([real, home]) in (real, home)
    if within or real in met:
        return True
    met.add(real)
    return False


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
