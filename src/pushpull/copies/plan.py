"""What decides every byte of a corrupted copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
                f"frost's pictures come from {found}, the others of this copy from {self.frost}; "
                "have one source for all processes"
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
