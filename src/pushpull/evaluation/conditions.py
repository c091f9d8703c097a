"""Where the images of a condition come from: clean ones corrupted in memory, or a set on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor

from pushpull.corruptions import corrupt
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Batch, Framing, ImageSplit, ResidentImages, eval_batches
from pushpull.data.decode import SkipLimit
from pushpull.data.images import AS_IS, TensorSource
from pushpull.data.published import PublishedSet, open_published
from pushpull.errors import InputError
from pushpull.evaluation.classes import check_counts, matched_by_name, matched_by_row
from pushpull.evaluation.images import EvalData, EvalImages, eval_images, images_of_set, limited
from pushpull.evaluation.options import (
    EvaluationOptions,
    condition_list,
    published_scale,
    severity_scale,
)
from pushpull.evaluation.ranks import from_all_ranks, rank, world_size

# The rest of a GPU's free memory is for the network and for what a corruption needs on the way.
_SHARE_OF_DEVICE = 1 / 3

Pair = tuple[str | None, int | None]


class Conditions(Protocol):
    """The images of every condition; (None, None) is the clean one."""

    part: ImageSplit
    """This rank's images of the condition that was read last; it knows which could not be read."""

    def info(self) -> dict[str, Any]:
        """What the results say of the corrupted images."""

    def batches(self, pair: Pair) -> Iterator[Batch]:
        """Yield this rank's images as they are before `corrupted`, uint8."""

    def corrupted(self, batch: Batch, pair: Pair) -> Tensor:
        """Return the batch's images as the condition wants them: (n, 3, H, W) uint8."""


class InMemory:
    """Clean images that are corrupted when they are needed, on an accelerator where they fit there.

    Args:
        images: the clean ones.
        options: of the evaluation.
        device: of the network.
        scale: of the corruptions.
        frost: whether frost is among the corruptions: else nothing is downloaded for it.
    """

    def __init__(
        self,
        images: EvalImages,
        options: EvaluationOptions,
        device: torch.device,
        scale: str = "none",
        frost: bool = False,
    ) -> None:
        self.images, self.options, self.device = images, options, device
        self.scale, self.frost = scale, frost
        self.part = shard(images.split)
        self._on_device: ResidentImages | None = None

    def info(self) -> dict[str, Any]:
        """Return scale, seed, textures and quality."""
        return {
            "scale": self.scale,
            "seed": self.options.seed,
            "source": "in memory",
            "frost_textures": frost_texture_source(download=self.frost),
            "jpeg_quality": self.options.jpeg_quality,
        }

    def batches(self, pair: Pair) -> Iterator[Batch]:
        """Yield the clean images in order."""
        framing, size = self.images.framing, self.options.batch_size
        if self.device.type != "cuda" or not self.part.fits(framing):
            yield from eval_batches(self.part, framing, size, self.options.workers)
            return
        kept = self._on_device or self._moved(self.part.resident(framing))
        for start in range(0, len(kept.labels), size):
            part = slice(start, start + size)
            yield Batch(kept.images[part], kept.labels[part], kept.index[part])

    def _moved(self, data: ResidentImages) -> ResidentImages:
        """Return the decoded images on the device, for all conditions; as they are where it is too full."""
        free_bytes, _ = torch.cuda.mem_get_info(self.device.index)
        if data.images.nbytes > free_bytes * _SHARE_OF_DEVICE:
            return data
        images, labels, index = (tensor.to(self.device) for tensor in (data.images, data.labels, data.index))
        self._on_device = ResidentImages(images, labels, index, data.skipped)
        return self._on_device

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
            seed=self.options.seed,
            index=batch.index,
            jpeg_quality=self.options.jpeg_quality,
        )


class OnDisk:
    """A published set.

    Args:
        published: the set.
        images: the clean images, or those of the set's first condition where there are none: what classes,
            order and number of images are held against.
        clean: the clean condition, or None.
        options: of the evaluation.
        scale: whose constants the set was made with, or "none".
        names: the corruptions that are evaluated.
    """

    def __init__(
        self,
        published: PublishedSet,
        images: EvalImages,
        clean: InMemory | None,
        options: EvaluationOptions,
        scale: str,
        names: tuple[str, ...],
    ) -> None:
        self.published, self.images, self.clean, self.options = published, images, clean, options
        self.scale, self.names = scale, names
        self.part = images.split

    def info(self) -> dict[str, Any]:
        """Return where the set is, how it is laid out, and a digest of each corruption's files."""
        return {
            "scale": self.scale,
            "seed": None,
            "source": "on disk",
            "frost_textures": "as on disk",
            "name": self.published.root.resolve().name,
            "layout": self.published.layout,
            "files": {name: self.published.digest(name) for name in self.names},
        }

    def batches(self, pair: Pair) -> Iterator[Batch]:
        """Yield the images of one condition, read from disk; they are not kept."""
        name, severity = pair
        if name is None or severity is None:
            assert self.clean is not None
            self.part = self.clean.part
            yield from self.clean.batches(pair)
            return
        whole = self._matched(self.published.split(name, severity))
        whole.unreadable_limit = self.images.split.unreadable_limit
        self.part = split = shard(whole)
        # Each image is needed once: streamed, it is decoded while the network works on the one before.
        # Arrays, which are not decoded, take the split's own limit.
        limit_gib = None if isinstance(split.source, TensorSource) else 0.0
        size, workers = self.options.batch_size, self.options.workers
        batches = eval_batches(split, AS_IS, size, workers, memory_limit_gib=limit_gib)
        yield from self._as_rows_of_clean(batches, whole)

    def _as_rows_of_clean(self, batches: Iterator[Batch], whole: ImageSplit) -> Iterator[Batch]:
        """Yield the batches with the clean images' rows, where a condition has one image for each of them."""
        clean = self.images.split
        if torch.equal(whole.index, clean.index) or not torch.equal(whole.labels, clean.labels):
            yield from batches
            return
        rows, order = whole.index.sort()
        for batch in batches:
            at = order[torch.searchsorted(rows, batch.index)]
            yield batch._replace(index=clean.index[at])

    def _matched(self, split: ImageSplit) -> ImageSplit:
        """Return a condition's images with the labels of the evaluation, after the limit.

        Raises:
            InputError: other classes, or rows in another order, than those of `images`.
        """
        images, limit = self.images, self.options.limit
        if not self.published.numbered:
            return limited(matched_by_name(split, images.split.classes), split.name, limit)
        if images.of_set:
            return limited(split, split.name, limit)
        if len(images.split) < len(images.whole) and len(split) != len(images.split):
            matched_by_row(split, images.whole)  # the few rows of a limit may agree by chance
        return matched_by_row(split, images.split)

    def corrupted(self, batch: Batch, pair: Pair) -> Tensor:
        """Return the images as they were read."""
        return batch.images


def open_conditions(
    options: EvaluationOptions, data: EvalData | None, framing: Framing | None, device: torch.device
) -> tuple[list[Pair], EvalImages, Conditions]:
    """Return the conditions in order, the images that all are held against, and where theirs come from.

    Raises:
        InputError: data that cannot be evaluated, or conditions that it does not have.
    """
    if options.corrupted is not None:
        return _on_disk(options, open_published(options.corrupted), data, framing, device)
    if data is None:
        raise InputError("data is missing; give a data set, or a corrupted set on disk (corrupted)")
    wanted = condition_list(options.corruptions, options.severities)
    images = eval_images(data, limit=options.limit, framing=framing)
    scale = severity_scale(options.scale, images.size, corrupted=len(wanted) > 1)
    frost = any(name == "frost" for name, _ in wanted)
    return wanted, images, InMemory(images, options, device, scale, frost)


def _on_disk(
    options: EvaluationOptions,
    published: PublishedSet,
    data: EvalData | None,
    framing: Framing | None,
    device: torch.device,
) -> tuple[list[Pair], EvalImages, Conditions]:
    asked, there = (options.corruptions, options.severities), published.severities
    wanted = condition_list(*asked, there, clean=data is not None)
    pairs = [(name, severity) for name, severity in wanted if name is not None and severity is not None]
    if not pairs and data is None:
        raise InputError(
            f"no corruption of {published.root} was asked for, and no clean data given; name corruptions, or "
            "give data"
        )
    if data is not None:
        images = eval_images(data, limit=options.limit, framing=framing)
        clean = InMemory(images, options, device)
    else:
        images, clean = images_of_set(published, *pairs[0], limit=options.limit), None
    for name, severity in pairs:
        counts = published.counts(name, severity)
        check_counts(f"{name} {severity} of {published.root}", counts, images)
    size = images.size
    if pairs and not images.of_set:
        size = published.split(*pairs[0]).framed_size(Framing())
    if size != images.size:
        (height, width), (clean_height, clean_width) = size, images.size
        warnings.warn(
            f"the images on disk are {height}x{width}, the clean ones {clean_height}x{clean_width}",
            stacklevel=4,
        )
    names = tuple(dict.fromkeys(name for name, _ in pairs))
    scale = published_scale(options.scale, size)
    return wanted, images, OnDisk(published, images, clean, options, scale, names)


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
    counts, names = zip(*from_all_ranks((len(part), list(part.skipped))), strict=True)
    SkipLimit(f"the {part.name} split", sum(counts), share).check(list(chain.from_iterable(names)))
