"""Corrupted sets of numpy arrays, as CIFAR-10-C and CIFAR-100-C are published."""

from __future__ import annotations

import hashlib
import tokenize
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pushpull.data.images import ImageSplit
from pushpull.errors import InputError, MissingFileError, one_line

LABELS = "labels.npy"
SEVERITIES = (1, 2, 3, 4, 5)
_SAMPLED_ROWS = 64
# A name that begins with a dot is the shadow that macOS writes beside a file.
_ARRAYS = "[!.]*.npy"
# numpy's header parser and its memory map let all of these out for a damaged file.
_DAMAGED = (
    *(OSError, ValueError, TypeError, EOFError, OverflowError, MemoryError, RecursionError, SyntaxError),
    *(tokenize.TokenError, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class PublishedArrays:
    """A set with one array a corruption: (5 n, H, W, 3) uint8, all images at severity 1, then at 2, ...

    Args:
        root: the folder that was named.
        files: corruption -> file.
        labels: (5, n) int64.
    """

    root: Path
    files: Mapping[str, Path]
    labels: np.ndarray
    layout: str = "npy"
    numbered: bool = True

    @property
    def severities(self) -> Mapping[str, tuple[int, ...]]:
        """Corruption -> 1..5: an array always holds all."""
        return dict.fromkeys(self.files, SEVERITIES)

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

    def counts(self, name: str, severity: int) -> Mapping[str, int]:
        """Nothing: an array is there as a whole or not."""
        return {}

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
                "fetch both again, or take away the file if it is no corruption"
            )
        return array


def find_arrays(root: Path) -> Path | None:
    """Return `root`, or its only subfolder, if .npy files are in it; else None."""
    below = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for folder in (root, *(below if len(below) == 1 else ())):
        if next(folder.glob(_ARRAYS), None) is not None:
            return folder
    return None


def open_arrays(root: Path, folder: Path) -> PublishedArrays:
    """Return the set whose .npy files are in `folder`.

    Raises:
        MissingFileError: no labels.npy.
        InputError: no array beside it, or labels of another type, shape or range.
    """
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
    if images == 5 * len(labels):
        return PublishedArrays(root, files, np.stack([labels] * 5))
    if images != len(labels) or images % 5:
        raise InputError(
            f"{folder / LABELS} has {len(labels)} labels for {images} images; need one an image, "
            "5 severities of the same number"
        )
    return PublishedArrays(root, files, labels.reshape(5, -1))


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
