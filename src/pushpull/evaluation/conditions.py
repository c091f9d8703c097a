"""Where the images of a condition come from: clean ones corrupted in memory, or a set on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from pushpull.corruptions import corrupt
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Batch, ImageSplit, ResidentImages, eval_batches
from pushpull.data.decode import SkipLimit
from pushpull.data.images import AS_IS, TensorSource
from pushpull.data.published import PublishedSet
from pushpull.errors import InputError
from pushpull.evaluation.classes import matched_by_name, matched_by_row
from pushpull.evaluation.images import EvalImages, limited
from pushpull.evaluation.ranks import from_all_ranks, rank, world_size
from pushpull.evaluation.results import CorruptionInfo

# The rest of a GPU's free memory is for the network and for what a corruption needs on the way.
_SHARE_OF_DEVICE = 1 / 3

Pair = tuple[str | None, int | None]


@dataclass(frozen=True)
class Loading:
    """How images are brought to the network; no effect on numbers."""

    batch_size: int
    workers: int
    device: torch.device


class Conditions(Protocol):
    """The images of every condition; (None, None) is the clean one."""

    def info(self) -> CorruptionInfo:
        """What the results say of the corrupted images."""

    def count(self) -> int:
        """How many images this rank has, for the progress bar."""

    def batches(self, pair: Pair) -> Iterator[Batch]:
        """Yield this rank's images as they are before `corrupted`, uint8."""

    def corrupted(self, batch: Batch, pair: Pair) -> Tensor:
        """Return the batch's images as the condition wants them: (n, 3, H, W) uint8."""

    def part(self) -> ImageSplit:
        """This rank's images of the condition that was read last."""

    def skipped(self) -> list[str]:
        """Names of this rank's images that could not be read."""


@dataclass
class CleanImages:
    """This rank's part of the uncorrupted images, on an accelerator where they fit there."""

    images: EvalImages
    loading: Loading
    split: ImageSplit = field(init=False)
    _on_device: ResidentImages | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.split = shard(self.images.split)

    def batches(self) -> Iterator[Batch]:
        """Yield them in order."""
        framing, how = self.images.framing, self.loading
        if how.device.type == "cuda" and self.split.fits(framing):
            kept = self._on_device or self._moved(self.split.resident(framing), how.device)
            return _parts(kept, how.batch_size)
        return eval_batches(self.split, framing, how.batch_size, how.workers)

    def _moved(self, data: ResidentImages, device: torch.device) -> ResidentImages:
        """Return the decoded images on the device, for all conditions; as they are where it is too full."""
        free_bytes, _ = torch.cuda.mem_get_info(device.index)
        if data.images.nbytes > free_bytes * _SHARE_OF_DEVICE:
            return data
        images, labels, index = (tensor.to(device) for tensor in (data.images, data.labels, data.index))
        self._on_device = ResidentImages(images, labels, index, data.skipped)
        return self._on_device


@dataclass
class InMemory:
    """Clean images that are corrupted when they are needed.

    Args:
        clean: the images.
        scale, seed, jpeg_quality: as for `corrupt`.
        frost: whether frost is among the corruptions: else nothing is downloaded for it.
    """

    clean: CleanImages
    scale: str
    seed: int
    jpeg_quality: int | None = None
    frost: bool = True

    def info(self) -> CorruptionInfo:
        """Scale, seed, textures and quality."""
        return {
            "scale": self.scale,
            "seed": self.seed,
            "source": "in memory",
            "frost_textures": frost_texture_source(download=self.frost),
            "jpeg_quality": self.jpeg_quality,
        }

    def count(self) -> int:
        """This rank's images."""
        return len(self.clean.split)

    def batches(self, pair: Pair) -> Iterator[Batch]:
        """The clean images."""
        return self.clean.batches()

    def corrupted(self, batch: Batch, pair: Pair) -> Tensor:
        """Corrupt a batch; the same image whatever else is in it."""
        name, severity = pair
        if name is None or severity is None:
            return batch.images
        return corrupt(
            batch.images,
            name,
            severity,
            scale=self.scale,
            seed=self.seed,
            index=batch.index,
            jpeg_quality=self.jpeg_quality,
        )

    def part(self) -> ImageSplit:
        """The clean images."""
        return self.clean.split

    def skipped(self) -> list[str]:
        """Of the clean images."""
        return list(self.clean.split.skipped)


@dataclass
class OnDisk:
    """A published set.

    Args:
        published: the set.
        images: the clean images, or those of the set's first condition where there are none: what classes,
            order and number of images are held against.
        clean: the clean condition, or None.
        loading: how it is read.
        scale: whose constants the set was made with, or "none".
        limit: as for the clean images.
        names: the corruptions that are evaluated.
    """

    published: PublishedSet
    images: EvalImages
    clean: CleanImages | None
    loading: Loading
    scale: str
    limit: int | None
    names: tuple[str, ...]
    _skipped: list[str] = field(default_factory=list, init=False)
    _part: ImageSplit | None = field(default=None, init=False)

    def info(self) -> CorruptionInfo:
        """Where the set is, how it is laid out, and a digest of each corruption's files."""
        return {
            "scale": self.scale,
            "seed": None,
            "source": "on disk",
            "frost_textures": "as on disk",
            "name": self.published.root.resolve().name,
            "layout": self.published.layout,
            "files": {name: self.published.digest(name) for name in self.names},
        }

    def count(self) -> int:
        """This rank's images in a condition."""
        return len(self.images.split) // world_size()

    def batches(self, pair: Pair) -> Iterator[Batch]:
        """The images of one condition, read from disk; they are not kept."""
        name, severity = pair
        if name is None or severity is None:
            assert self.clean is not None
            self._part = self.clean.split
            yield from self.clean.batches()
            return
        whole = matched(self.published.split(name, severity), self.published, self.images, self.limit)
        whole.unreadable_limit = self.images.split.unreadable_limit
        self._part = split = shard(whole)
        how = self.loading
        # Each image is needed once: streamed, it is decoded while the network works on the one before.
        yield from eval_batches(split, AS_IS, how.batch_size, how.workers, memory_limit_gib=_limit_gib(split))
        self._skipped.extend(split.skipped)

    def corrupted(self, batch: Batch, pair: Pair) -> Tensor:
        """The images as they were read."""
        return batch.images

    def part(self) -> ImageSplit:
        """Of the set, or of the clean images."""
        assert self._part is not None
        return self._part

    def skipped(self) -> list[str]:
        """Of the clean images and of the conditions read so far."""
        return [*(self.clean.split.skipped if self.clean else ()), *self._skipped]


def matched(split: ImageSplit, published: PublishedSet, images: EvalImages, limit: int | None) -> ImageSplit:
    """Return a condition's images with the labels of the evaluation, after `limit`.

    Raises:
        InputError: other classes, or rows in another order, than those of `images`.
    """
    if not published.numbered:
        return limited(matched_by_name(split, images.split.classes), split.name, limit)
    if images.of_set:
        return limited(split, split.name, limit)
    if len(images.split) < len(images.whole) and len(split) != len(images.split):
        matched_by_row(split, images.whole)  # the few rows of a limit may agree by chance
    return matched_by_row(split, images.split)


def shard(split: ImageSplit) -> ImageSplit:
    """Return this rank's images; of several ranks none stops at unreadable ones, see `check_skipped`."""
    ranks = world_size()
    if ranks == 1:
        return split
    if len(split) < ranks:
        raise InputError(f"{len(split)} images for {ranks} processes; use fewer processes")
    part = split.subset(torch.arange(rank(), len(split), ranks))
    part.unreadable_limit = 1.0
    return part


def check_skipped(part: ImageSplit, share: float) -> None:
    """Raise on every rank if all together have skipped more images than `share` of all allows.

    Args:
        part: this rank's images, after they were read.
        share: of all ranks' images.

    Raises:
        InputError: too many.
    """
    if world_size() == 1:
        return
    counts, names = zip(*from_all_ranks((len(part), list(part.skipped))), strict=True)
    SkipLimit(f"the {part.name} split", sum(counts), share).check(list(chain.from_iterable(names)))


def _limit_gib(split: ImageSplit) -> float | None:
    """Return 0 for images that have to be decoded, None (the split's own) for arrays."""
    return None if isinstance(split.source, TensorSource) else 0.0


def _parts(data: ResidentImages, batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(data.labels), batch_size):
        part = slice(start, start + batch_size)
        yield Batch(data.images[part], data.labels[part], data.index[part])
