"""Corrupted sets as they are published: a folder a corruption and severity, or an array a corruption."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from pushpull.data.folder import class_folders, folder_split, in_class_order
from pushpull.data.images import ImageSplit
from pushpull.data.published_arrays import LABELS, SEVERITIES, find_arrays, open_arrays
from pushpull.data.subsets import read_class_list
from pushpull.data.tables import find_parquet, load_parquet
from pushpull.errors import InputError, MissingFileError

LAYOUTS = (
    "CORRUPTION/SEVERITY/CLASS/file as ImageNet-C, CORRUPTION/SEVERITY/test-*.parquet, or CORRUPTION.npy and "
    "labels.npy as CIFAR-10-C"
)
CLASS_LIST = "classes.txt"
_NUMBER = re.compile(r"\d+(\.\d+)?")
# root/archive/family/corruption: what unpacking ImageNet-C's archives side by side gives.
_DEPTH = 3
_HEAD_BYTES = 2**20


class PublishedSet(Protocol):
    """Corrupted images on disk: for each corruption and severity there is a split."""

    @property
    def root(self) -> Path:
        """The folder that was named."""

    @property
    def layout(self) -> str:
        """ "image folders", "parquet" or "npy"."""

    @property
    def severities(self) -> Mapping[str, tuple[int, ...]]:
        """Corruption -> the severities of 1..5 that are there."""

    @property
    def numbered(self) -> bool:
        """Whether labels are plain numbers, so that only the order of rows ties them to the clean data."""

    def split(self, name: str, severity: int) -> ImageSplit:
        """Return the images of one condition; raises `InputError` where there are none."""

    def counts(self, name: str, severity: int) -> Mapping[str, int]:
        """Return class -> images of one condition; empty where it is there as a whole or not at all."""

    def digest(self, name: str) -> str:
        """Return what tells one corruption's files from those of another set."""


def open_published(path: Path | str) -> PublishedSet:
    """Find out how a corrupted set is laid out.

    Files and folders that belong to no corruption (manifest.json, those that begin with a dot) do not matter.

    Args:
        path: the set's folder, or one that holds it: family folders such as ImageNet-C's `blur` may stand
            between.

    Raises:
        MissingFileError: no such folder.
        InputError: nothing in it that is laid out as a corrupted set, or a corruption twice.
    """
    root = Path(path).expanduser()
    if not str(path) or not root.is_dir():
        raise MissingFileError(f"corrupted={str(path)!r} is not a folder; give one with {LAYOUTS}")
    arrays = find_arrays(root)
    # A stray .npy file makes no array set of folders.
    places = {} if arrays is not None and (arrays / LABELS).is_file() else _corruption_folders(root)
    if arrays is not None and not places:
        return open_arrays(root, arrays)
    first = next((folder for by_severity in places.values() for folder in by_severity.values()), None)
    if first is None:
        number = _NUMBER.fullmatch(_name(root))
        hint = f"{root} may be one severity of a set, whose folder is two above; else " if number else ""
        raise InputError(f"{root} holds no corrupted set; {hint}give a folder with {LAYOUTS}")
    return PublishedFolders(root, places, "parquet" if _holds_parquet(first) else "image folders")


@dataclass(frozen=True)
class PublishedFolders:
    """A set with a folder a corruption and severity: class folders of images, or parquet files.

    Args:
        root: the folder that was named.
        places: corruption -> severity -> folder.
        layout: "image folders" or "parquet".
    """

    root: Path
    places: Mapping[str, Mapping[int, Path]]
    layout: str
    numbered: bool = False
    _counts: dict[Path, dict[str, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def severities(self) -> Mapping[str, tuple[int, ...]]:
        """Corruption -> the severities that are there."""
        return {name: tuple(sorted(by_severity)) for name, by_severity in self.places.items()}

    def split(self, name: str, severity: int) -> ImageSplit:
        """Return the images of one condition.

        Raises:
            InputError: no images, or images without a label.

        `pushpull corrupt` writes characters that a file system may refuse as %XX, and the order of the labels
        into classes.txt.
        """
        folder = self.places[name][severity]
        if self.layout == "parquet":
            return _parquet_split(folder)
        found = class_folders(folder)
        if not any(found.values()):
            raise InputError(f"{folder} has no images in class folders; fetch that part of the set again")
        order = in_class_order(found)
        listed = self.root / CLASS_LIST
        if listed.is_file() and set(names := read_class_list(listed)) >= set(found):
            order = names
        split = folder_split(str(folder), found, order)
        split.classes = [unquote(name) for name in order]
        return split

    def counts(self, name: str, severity: int) -> Mapping[str, int]:
        """Return class folder -> images; parquet files say themselves how many they are."""
        if self.layout == "parquet":
            return {}
        folder = self.places[name][severity]
        if folder not in self._counts:
            found = class_folders(folder)
            self._counts[folder] = {unquote(label): len(files) for label, files in found.items()}
        return self._counts[folder]

    def digest(self, name: str) -> str:
        """Digest of names and sizes of the files, and of the first file's beginning.

        Of class folders all names and numbers of images count, but names and sizes of the files in the first,
        middle and last only: reading the sizes of ImageNet-C's 3.75 million files would take minutes.
        """
        digest = hashlib.sha256()
        for severity, folder in sorted(self.places[name].items()):
            if self.layout == "parquet":
                files = sorted(map(str, folder.glob("[!.]*.parquet")))
            else:
                digest.update(repr(sorted(self.counts(name, severity).items())).encode())
                classes = in_class_order(path.name for path in _subfolders(folder))
                files = [
                    file for number in _sampled(len(classes)) for file in _files(folder / classes[number])
                ]
            for file in files:
                digest.update(f"{severity} {os.path.relpath(file, folder)} {_bytes(file)}\n".encode())
            if files and os.path.isfile(files[0]):
                with open(files[0], "rb") as stream:
                    digest.update(stream.read(_HEAD_BYTES))
        return digest.hexdigest()[:32]


def _corruption_folders(root: Path) -> dict[str, dict[int, Path]]:
    """Return corruption -> severity -> folder; severities without anything in them are left out."""
    found: dict[str, dict[int, Path]] = {}
    places: dict[str, Path] = {}
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop(0)
        children = _subfolders(folder)
        levels = _levels(folder, [child for child in children if _NUMBER.fullmatch(child.name)])
        if levels:
            name = _name(folder)
            if name in found:
                raise InputError(
                    f"{root} has {name} twice ({places[name]} and {folder}); give one set's folder"
                )
            places[name] = folder
            found[name] = {level: path for level, path in levels.items() if _filled(path)}
        if depth < _DEPTH:
            pending += [(child, depth + 1) for child in children if child not in levels.values()]
    return dict(sorted(found.items()))


def _levels(folder: Path, numbered: Sequence[Path]) -> dict[int, Path]:
    """Return severity -> folder of a corruption's folders; {} where they are no severities.

    They are called 1 to 5, or, as ImageNet-C-bar's, by five amounts ("0.80" to "5.60"), the lowest first.
    """
    if all(path.name in map(str, SEVERITIES) for path in numbered):
        return {int(path.name): path for path in numbered}
    if not any("." in path.name for path in numbered):
        return {}
    if len(numbered) != len(SEVERITIES):
        raise InputError(
            f"{folder} has {len(numbered)} severities ({', '.join(path.name for path in numbered)}), not 5, "
            "so that it cannot be told which are which; fetch the missing ones, or rename them 1 to 5"
        )
    return dict(zip(SEVERITIES, sorted(numbered, key=lambda path: float(path.name)), strict=True))


def _name(folder: Path) -> str:
    """Return what a folder is called; a link keeps its own name."""
    return Path(os.path.abspath(folder)).name


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def _filled(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(names) if not name.startswith("."))


def _bytes(file: str) -> int:
    """Return a file's size, -1 for a link to nothing: that counts as unreadable when its turn comes."""
    return os.path.getsize(file) if os.path.exists(file) else -1


def _sampled(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1}) if count else []


def _holds_parquet(folder: Path) -> bool:
    return next(folder.glob("[!.]*.parquet"), None) is not None


def _parquet_split(folder: Path) -> ImageSplit:
    files = find_parquet(folder) if _holds_parquet(folder) else {}
    if not files:
        raise InputError(f"{folder} has no parquet files as the other parts of the set have; fetch it again")
    split = load_parquet({"test": files.get("test", next(iter(files.values())))}, str(folder)).splits["test"]
    if int(split.labels.min()) < 0:
        raise InputError(f"{folder} has images without a label; give a labelled set")
    return split
