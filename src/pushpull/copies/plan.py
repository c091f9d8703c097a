"""What decides every byte of a corrupted copy, and the names of its files: safe everywhere, and unique."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote

import torch
from jaxtyping import UInt8
from torch import Tensor

from pushpull.corruptions import corrupt
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Framing, ImageSplit, UnreadableImageError
from pushpull.errors import InputError

# The readable images of a shard, (m, 3, H, W) uint8, their places in the split, the others' errors.
Decoded = tuple[UInt8[Tensor, "m 3 h w"], list[int], list[UnreadableImageError]]


@dataclass(frozen=True)
class CopyPlan:
    """A corrupted copy to be made; nothing in it says how the work is divided among processes.

    Args:
        layout: "parquet", "folder", "npy" or "webdataset".
        split: the images.
        framing: resize and crop before corruption.
        size: (height, width) after it.
        role: what files are called: "train", "validation" or "test".
        conditions: (corruption, severity).
        scale, seed, jpeg_quality: as for `corrupt`.
        frost: where frost's pictures come from; None where none are needed.
        shard: images in a shard, the part of the split that is decoded at a time.
        folders: of the classes.
        names: folder/stem of each image's file; empty for arrays and shards.
    """

    layout: str
    split: ImageSplit
    framing: Framing
    size: tuple[int, int]
    role: str
    conditions: tuple[tuple[str, int], ...]
    scale: str
    seed: int
    jpeg_quality: int | None
    frost: str | None
    shard: int
    folders: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """The ending of the images' files."""
        return ".png" if self.jpeg_quality is None else ".jpg"

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-len(self.split) // self.shard)

    def positions(self, shard: int) -> range:
        """Return a shard's places in the split."""
        return range(shard * self.shard, min((shard + 1) * self.shard, len(self.split)))

    def decode(self, shard: int) -> Decoded:
        """Return a shard's images; raises `InputError` where one, framed, has another size."""
        images, kept, skipped = [], [], []
        for position in self.positions(shard):
            try:
                images.append(self.split.framed(position, self.framing, self.size))
                kept.append(position)
            except UnreadableImageError as error:
                skipped.append(error)
        stacked = torch.stack(images) if images else torch.empty(0, 3, *self.size, dtype=torch.uint8)
        return stacked, kept, skipped

    def corrupted(
        self,
        corruption: str,
        severity: int,
        images: UInt8[Tensor, "m 3 h w"],
        positions: list[int],
        batch_size: int,
    ) -> Iterator[UInt8[Tensor, "b 3 h w"]]:
        """Yield the images at these places of the split corrupted, in order, some at a time.

        Raises:
            InputError: frost's pictures come from elsewhere than the plan says.
        """
        if corruption == "frost" and (found := frost_texture_source()) != self.frost:
            raise InputError(
                f"frost's pictures come from {found} here, from {self.frost} in the rest of this copy; "
                "use one source for all processes"
            )
        rows = self.split.index[positions]
        # What becomes a JPEG file is encoded once, when it is written.
        quality = self.jpeg_quality if self.layout == "npy" else None
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            yield corrupt(
                images[part],
                corruption,
                severity,
                scale=self.scale,
                seed=self.seed,
                index=rows[part],
                jpeg_quality=quality,
            )


# Separators, what Windows forbids, control characters, whatever ends a line of a list (U+0085, U+2028, U+2029
# among them), % itself, and #, a comment's beginning in class lists.
_UNSAFE = re.compile(r'[/\\:*?"<>|%#\x00-\x1f\x7f-\x9f\u2028\u2029]|^[.\s]|[.\s]$')
_LONGEST_BYTES = 255 - len(".jpg")  # file systems take 255
_HASH_DIGITS = 16


def safe_name(name: str) -> str:
    """Return `name` with each character that a file system may refuse written as %XX.

    "cat" stays "cat", "n/a" becomes "n%2Fa"; `original_name` turns it back.
    """
    if not name:
        return "%"
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def original_name(name: str) -> str:
    """Return what `safe_name` was given."""
    return "" if name == "%" else unquote(name)


def class_folders(classes: list[str]) -> list[str]:
    """Return a folder name for each class; where two classes share a name, all have their number in front."""
    names = [safe_name(name) for name in classes]
    if _distinct(names):
        return names
    digits = len(str(len(names) - 1))
    return [f"{number:0{digits}} {name}" for number, name in enumerate(names)]


def check_folders(folders: list[str], classes: list[str]) -> None:
    """Raise `InputError` where a class folder's name is longer than a file system takes."""
    for folder, name in zip(folders, classes, strict=True):
        if (count := len(folder.encode())) > _LONGEST_BYTES:
            raise InputError(
                f"the class {name[:20]!r}... would be a folder with a name of {count} bytes, more than "
                f"{_LONGEST_BYTES}; --format parquet takes any name"
            )


def safe_stem(stem: str) -> str:
    """Return `safe_name(stem)`; where that is too long for a file, its beginning and a hash of the whole."""
    name = safe_name(stem)
    if len(name.encode()) <= _LONGEST_BYTES:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    head = name.encode()[: _LONGEST_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{head}~{digits}"


def image_names(split: ImageSplit, folders: list[str]) -> list[str]:
    """Return folder/stem of each image's file: the stem of the source's file where each has its own.

    Where an image comes from no file, or two of a class would meet, all are called by their row number.
    """
    labels, rows = split.labels.tolist(), split.index.tolist()
    file_name = getattr(split.source, "file_name", lambda row: None)
    stems = [PurePath(file_name(row) or "").stem for row in rows]
    if all(stems):
        names = [f"{folders[label]}/{safe_stem(stem)}" for label, stem in zip(labels, stems, strict=True)]
        if _distinct(names):
            return names
    digits = len(str(max(rows)))
    return [f"{folders[label]}/{row:0{digits}}" for label, row in zip(labels, rows, strict=True)]


def _distinct(names: list[str]) -> bool:
    """Return whether no two are the same where a file system does not tell "A" from "a"."""
    return len({name.casefold() for name in names}) == len(names)
