"""Corrupted sets as they are published: folders by corruption and severity, or an array per corruption."""

from __future__ import annotations

import hashlib
import os
import re
import tokenize
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import torch

from pushpull.data.folder import class_folders, folder_split, in_class_order, subfolders
from pushpull.data.images import ImageSplit
from pushpull.data.shards import find_shards, load_shards
from pushpull.data.subsets import read_class_list
from pushpull.data.tables import find_files, load_parquet
from pushpull.errors import InputError, MissingFileError, one_line
from pushpull.files import user_path

LAYOUTS = (
    "CORRUPTION/SEVERITY/CLASS/file as ImageNet-C, CORRUPTION/SEVERITY/test-*.parquet or .tar, or "
    "CORRUPTION.npy and labels.npy as CIFAR-10-C"
)
CLASS_LIST = "classes.txt"
_ENDINGS = {"parquet": "parquet", "webdataset": "tar"}
LABELS = "labels.npy"
SEVERITIES = (1, 2, 3, 4, 5)
_NUMBER = re.compile(r"\d+(\.\d+)?")
# root/archive/family/corruption: what unpacking ImageNet-C's archives side by side gives.
_DEPTH = 3
_HEAD_BYTES = 2**20
_SAMPLED_ROWS = 64
# A name that begins with a dot is the shadow that macOS writes beside a file.
_ARRAYS = "[!.]*.npy"
# numpy's header parser and its memory map let all of these out for a damaged file.
_DAMAGED = (
    *(OSError, ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError),
    *(tokenize.TokenError, zipfile.BadZipFile),
)


class PublishedSet(ABC):
    """Corrupted images on disk: for each corruption and severity there is a split.

    Attributes:
        root: the folder that was named.
        layout: "image folders", "parquet", "webdataset" or "npy".
        severities: corruption -> the severities of 1..5 that are there.
        numbered: whether labels are plain numbers, so that only the order of rows ties them to the clean
            data.
    """

    root: Path
    layout: str
    severities: Mapping[str, tuple[int, ...]]
    numbered: bool

    @abstractmethod
    def split(self, name: str, severity: int) -> ImageSplit:
        """Return the images of one condition; raises `InputError` where there are none."""

    @abstractmethod
    def digest(self, name: str) -> str:
        """Return what tells one corruption's files from those of another set."""

    def counts(self, name: str, severity: int) -> Mapping[str, int]:
        """Return class -> images of one condition; empty where it is there as a whole or not at all."""
        return {}


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
    root = user_path(path)
    if not str(path) or not root.is_dir():
        raise MissingFileError(f"corrupted={str(path)!r} is not a folder; give one with {LAYOUTS}")
    arrays = _array_folder(root)
    # A stray .npy file makes no array set of folders.
    places = {} if arrays is not None and (arrays / LABELS).is_file() else _corruption_folders(root)
    if arrays is not None and not places:
        return PublishedArrays(root, arrays)
    first = next((folder for by_severity in places.values() for folder in by_severity.values()), None)
    if first is None:
        number = _NUMBER.fullmatch(_name(root))
        hint = f"{root} may be one severity of a set, whose folder is two above; else " if number else ""
        raise InputError(f"{root} holds no corrupted set; {hint}give a folder with {LAYOUTS}")
    layout = (
        "parquet" if _holds(first, "parquet") else "webdataset" if find_shards(first) else "image folders"
    )
    return PublishedFolders(root, places, layout)


class PublishedFolders(PublishedSet):
    """A set with folders by corruption and severity: class folders of images, parquet files or tar shards.

    Args:
        root: the folder that was named.
        places: corruption -> severity -> folder.
        layout: "image folders", "parquet" or "webdataset".
    """

    numbered = False

    def __init__(self, root: Path, places: Mapping[str, Mapping[int, Path]], layout: str) -> None:
        self.root, self.places, self.layout = root, places, layout
        self.severities = {name: tuple(sorted(by_severity)) for name, by_severity in places.items()}
        self._counts: dict[Path, dict[str, int]] = {}

    def split(self, name: str, severity: int) -> ImageSplit:
        """Return the images of one condition.

        Raises:
            InputError: no images, or images without a label.

        `pushpull corrupt` writes characters that a file system may refuse as %XX, and the order of the labels
        into classes.txt.
        """
        folder = self.places[name][severity]
        if self.layout in _ENDINGS:
            return _split_of_files(folder, self.layout)
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
        """Return class folder -> images; parquet files and shards say themselves how many they are."""
        if self.layout in _ENDINGS:
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
            if self.layout in _ENDINGS:
                files = sorted(map(str, folder.glob(f"[!.]*.{_ENDINGS[self.layout]}")))
            else:
                digest.update(repr(sorted(self.counts(name, severity).items())).encode())
                classes = in_class_order(path.name for path in subfolders(folder))
                sampled = sorted({0, len(classes) // 2, len(classes) - 1}) if classes else []
                files = [file for number in sampled for file in _files(folder / classes[number])]
            for file in files:
                # A link to nothing counts as unreadable when its turn comes.
                size = os.path.getsize(file) if os.path.exists(file) else -1
                digest.update(f"{severity} {os.path.relpath(file, folder)} {size}\n".encode())
            if files and os.path.isfile(files[0]):
                with open(files[0], "rb") as stream:
                    digest.update(stream.read(_HEAD_BYTES))
        return digest.hexdigest()[:32]


class PublishedArrays(PublishedSet):
    """A set with one array a corruption: (5 n, H, W, 3) uint8, all images at severity 1, then at 2, ...

    Args:
        root: the folder that was named.
        folder: the one with the .npy files.

    Raises:
        MissingFileError: no labels.npy.
        InputError: no array beside it, or labels of another type, shape or range.
    """

    layout, numbered = "npy", True

    def __init__(self, root: Path, folder: Path) -> None:
        if not (folder / LABELS).is_file():
            raise MissingFileError(f"{folder / LABELS} does not exist; fetch it beside the other .npy files")
        files = {path.stem: path for path in sorted(folder.glob(_ARRAYS)) if path.name != LABELS}
        if not files:
            raise InputError(f"{folder} has {LABELS} alone; fetch the arrays of the corruptions too")
        labels = _load(folder / LABELS)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
            raise InputError(
                f"{folder / LABELS} is {labels.shape} {labels.dtype}; give (n,) or (5 n,) integers from 0"
            )
        labels = labels.astype(np.int64)
        images = _images_an_array(files, len(labels))
        if images != 5 * len(labels) and (images != len(labels) or images % 5):
            raise InputError(
                f"{folder / LABELS} has {len(labels)} labels for {images} images; give one per image, "
                "5 severities of the same number"
            )
        if images == len(labels) and len({part.tobytes() for part in labels.reshape(5, -1)}) > 1:
            raise InputError(
                f"{folder / LABELS} has a label for each of {images} images, not the same ones five times "
                "over: this is one severity, or five of other images; give all five of the same images"
            )
        self.root, self.files = root, files
        self.severities = dict.fromkeys(files, SEVERITIES)  # an array always holds all
        self.labels = labels.reshape(5, -1) if images == len(labels) else np.stack([labels] * 5)

    def split(self, name: str, severity: int) -> ImageSplit:
        """Return the images of one condition; only these are read.

        Raises:
            InputError: an array of another type or shape, or not as many images as labels.
        """
        count = self.labels.shape[1]
        rows = slice((severity - 1) * count, severity * count)
        images = np.ascontiguousarray(self._mapped(name)[rows].transpose(0, 3, 1, 2))
        labels = torch.from_numpy(self.labels[severity - 1].copy())
        return ImageSplit.from_tensors(
            torch.from_numpy(images), labels, name=f"{self.files[name]} {severity}"
        )

    def digest(self, name: str) -> str:
        """Digest of the labels, the array's shape and some of its images, evenly spread."""
        array = self._mapped(name)
        step = max(1, len(array) // _SAMPLED_ROWS)
        digest = hashlib.sha256(f"{array.shape}".encode())
        digest.update(self.labels.tobytes())
        digest.update(np.ascontiguousarray(array[::step]).tobytes())
        return digest.hexdigest()[:32]

    def _mapped(self, name: str) -> np.ndarray:
        file = self.files[name]
        array = _load(file)
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
            raise InputError(
                f"{file} is {array.shape} {array.dtype}; give (5 n, height, width, 3) uint8 as CIFAR-10-C has"
            )
        if len(array) != self.labels.size:
            raise InputError(
                f"{file} has {len(array)} images, {LABELS} labels for 5 x {self.labels.shape[1]}; "
                "fetch both again, or remove the file if it is not a corruption"
            )
        return array


def _array_folder(root: Path) -> Path | None:
    """Return `root`, or its only subfolder, if .npy files are in it; else None."""
    below = subfolders(root)
    for folder in (root, *(below if len(below) == 1 else ())):
        if next(folder.glob(_ARRAYS), None) is not None:
            return folder
    return None


def _corruption_folders(root: Path) -> dict[str, dict[int, Path]]:
    """Return corruption -> severity -> folder; severities without anything in them are left out."""
    found: dict[str, dict[int, Path]] = {}
    places: dict[str, Path] = {}
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop(0)
        children = subfolders(folder)
        levels = _levels(folder, [child for child in children if _NUMBER.fullmatch(child.name)])
        if levels:
            name = _name(folder)
            if name in found:
                raise InputError(
                    f"{root} has {name} twice ({places[name]} and {folder}); give one set's folder"
                )
            places[name] = folder
            found[name] = {
                level: path
                for level, path in levels.items()
                if any(not child.name.startswith(".") for child in path.iterdir())
            }
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
            "so it is unclear which is which; fetch the missing ones, or rename them 1 to 5"
        )
    return dict(zip(SEVERITIES, sorted(numbered, key=lambda path: float(path.name)), strict=True))


def _name(folder: Path) -> str:
    """Return what a folder is called; a link keeps its own name."""
    return Path(os.path.abspath(folder)).name


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(names) if not name.startswith("."))


def _holds(folder: Path, ending: str) -> bool:
    return next(folder.glob(f"[!.]*.{ending}"), None) is not None


def _split_of_files(folder: Path, layout: str) -> ImageSplit:
    ending = _ENDINGS[layout]
    files = find_files(folder, ending) if _holds(folder, ending) else {}
    if not files:
        raise InputError(f"{folder} has no {layout} files as the other parts of the set have; fetch it again")
    load = load_parquet if layout == "parquet" else load_shards
    split = load({"test": files.get("test", next(iter(files.values())))}, folder).splits["test"]
    if int(split.labels.min()) < 0:
        raise InputError(f"{folder} has images without a label; give a labelled set")
    if layout == "webdataset":
        split.classes = list(map(unquote, split.classes))
    return split


def _images_an_array(files: Mapping[str, Path], labels: int) -> int:
    """Return how many images most arrays have that fit the labels: both n and 5 n labels are in use.

    Not of the first file alone: it may be damaged, or no corruption (clean.npy). A file that does not agree
    is refused when it is asked for.

    Raises:
        InputError: none can be read.
    """
    lengths: Counter[int] = Counter()
    broken: list[InputError] = []
    for file in files.values():
        try:
            lengths[len(_load(file))] += 1
        except InputError as error:
            broken.append(error)
    if not lengths:
        raise broken[0]
    fitting = Counter({length: lengths[length] for length in (labels, 5 * labels) if lengths[length]})
    return (fitting or lengths).most_common(1)[0][0]


def _load(file: Path) -> np.ndarray:
    """Map an array: only what is used of it is read."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        raise InputError(
            f"{file} is not a readable .npy array ({one_line(error)}); fetch it again"
        ) from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise InputError(f"{file} holds no array of several rows; fetch it again")
    return array
