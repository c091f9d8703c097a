"""What decides every byte of a corrupted copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from pushpull.copies.names import check_folders, class_folders, image_names
from pushpull.copies.store import Skipped, Task
from pushpull.corruptions import corrupt
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Framing, ImageSplit, UnreadableImageError
from pushpull.errors import InputError

_SHARD_PIXELS = 2**26 // 3  # 64 MiB decoded: 445 images of 224 px
_SHARD_IMAGES = 1000  # of small images: a kill shall cost seconds, not a condition


def default_shard(size: tuple[int, int]) -> int:
    """Return how many images of `size` (height, width) px a shard has."""
    return max(1, min(_SHARD_IMAGES, _SHARD_PIXELS // (size[0] * size[1])))


@dataclass(frozen=True)
class Decoded:
    """The readable images of a shard.

    Args:
        images: (m, 3, H, W) uint8.
        positions: (m,) int64, their places in the split.
        skipped: those that could not be read.
    """

    images: UInt8[Tensor, "m 3 h w"]
    positions: Tensor
    skipped: list[Skipped]


@dataclass(frozen=True)
class Job:
    """A corrupted copy to be made; nothing in it says how the work is divided.

    Args:
        form: "parquet", "folder" or "npy".
        split: the images.
        framing: resize and crop before corruption.
        size: (height, width) after it.
        role: what parquet files are called: "train", "validation" or "test".
        conditions: (corruption, severity).
        scale, seed, jpeg_quality: as for `corrupt`.
        frost: where frost's pictures come from; None where none are needed.
        shard: images in a shard.
    """

    form: str
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

    @classmethod
    def make(cls, **fields: Any) -> Job:
        """Return the job with the names of class folders and files that follow from its split.

        Raises:
            InputError: the form has class folders, and a class has too long a name for one.
        """
        split: ImageSplit = fields["split"]
        folders = class_folders(split.classes)
        if fields["form"] == "folder":
            check_folders(folders, split.classes)
        names = image_names(split, folders) if fields["form"] != "npy" else []
        return cls(**fields, folders=tuple(folders), names=tuple(names))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-len(self.split) // self.shard)

    def positions(self, shard: int) -> range:
        """Return a shard's places in the split."""
        return range(shard * self.shard, min((shard + 1) * self.shard, len(self.split)))

    def tasks(self, shard: int) -> list[Task]:
        """Return a shard's tasks in order."""
        return [Task(name, severity, shard) for name, severity in self.conditions]

    def decode(self, shard: int) -> Decoded:
        """Return a shard's images; raises `InputError` where one, framed, has another size."""
        images, kept, skipped = [], [], []
        for position in self.positions(shard):
            try:
                images.append(self.split.framed(position, self.framing, self.size))
                kept.append(position)
            except UnreadableImageError as error:
                skipped.append(Skipped(error.name, error.reason))
        stacked = torch.stack(images) if images else torch.empty(0, 3, *self.size, dtype=torch.uint8)
        return Decoded(stacked, torch.tensor(kept, dtype=torch.int64), skipped)

    def corrupted(self, task: Task, decoded: Decoded, batch_size: int) -> Iterator[UInt8[Tensor, "b 3 h w"]]:
        """Yield a shard's corrupted images in order, some at a time.

        Raises:
            InputError: frost's pictures come from elsewhere than the job says.
        """
        if task.corruption == "frost" and (found := frost_texture_source()) != self.frost:
            raise InputError(
                f"frost's pictures come from {found}, the others of this copy from {self.frost}; "
                "have one source for all processes"
            )
        rows = self.split.index[decoded.positions]
        # What becomes a JPEG file is encoded once, when it is written.
        quality = self.jpeg_quality if self.form == "npy" else None
        for start in range(0, len(decoded.images), batch_size):
            part = slice(start, start + batch_size)
            yield corrupt(
                decoded.images[part],
                task.corruption,
                task.severity,
                scale=self.scale,
                seed=self.seed,
                index=rows[part],
                jpeg_quality=quality,
            )
