"""Batches for evaluation, and what streamed training is built from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64, Shaped, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pushpull.data.decode import SkipLimit, UnreadableImageError
from pushpull.data.images import ImageSplit, decoding_threads
from pushpull.data.preprocessing import Framing
from pushpull.errors import InputError
from pushpull.files.registry import Plugins


class Batch(NamedTuple):
    """Images of a split: (b, 3, H, W) uint8, (b,) int64 labels, (b,) int64 rows in the source split."""

    images: UInt8[Tensor, "b 3 h w"]
    labels: Int64[Tensor, " b"]
    index: Int64[Tensor, " b"]  # type: ignore[assignment]  # hides tuple.index, which is not needed

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class Sample(NamedTuple):
    """One transformed image, its label, its row number in the source split."""

    image: Tensor
    label: int
    index: int  # type: ignore[assignment]


@dataclass(frozen=True)
class StreamBatch:
    """A batch of `Sample`s; `errors` holds those of images that could not be read, for `SkipLimit.admit`.

    If no image of the batch could be read, `images` has the shape (0,): skip the batch.
    """

    images: Shaped[Tensor, "b ..."]
    labels: Int64[Tensor, " b"]
    index: Int64[Tensor, " b"]
    errors: list[InputError]

    @property
    def unreadable(self) -> list[str]:
        """The names of the unreadable images."""
        return [error.name for error in self.errors if isinstance(error, UnreadableImageError)]


class StreamDataset(Dataset[Any]):
    """A split as a map-style data set for a `DataLoader` with `collate_fn=collate_readable`.

    Item i is a `Sample`, or the error of an image that cannot be read (`UnreadableImageError`) or
    transformed: an exception would leave a worker as a page of text.

    Args:
        split: the images.
        transform: from an RGB PIL image and its number in the source split to a tensor, so that what is
            random in it can depend on the image alone; it must be picklable for workers that are spawned.
    """

    def __init__(self, split: ImageSplit, transform: Callable[[Image.Image, int], Tensor]) -> None:
        self.plugins = Plugins()  # first: the others may be of classes that one defines
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, position: int) -> Sample | InputError:
        try:
            index = int(self.split.index[position])
            image = self.transform(self.split.image(position), index)
        except InputError as error:
            return error
        return Sample(image, int(self.split.labels[position]), index)


def collate_readable(samples: Sequence[Sample | InputError]) -> StreamBatch:
    """Return the readable samples as one batch, in their order, and the errors of the others.

    Args:
        samples: items of a `StreamDataset`.
    """
    errors = [sample for sample in samples if isinstance(sample, InputError)]
    good = [sample for sample in samples if not isinstance(sample, InputError)]
    return StreamBatch(
        torch.stack([sample.image for sample in good]) if good else torch.empty(0),
        torch.tensor([sample.label for sample in good], dtype=torch.int64),
        torch.tensor([sample.index for sample in good], dtype=torch.int64),
        errors,
    )


def eval_batches(
    split: ImageSplit,
    framing: Framing,
    batch_size: int,
    workers: int = 0,
    device: torch.device | str = "cpu",
    *,
    memory_limit_gib: float | None = None,
) -> Iterator[Batch]:
    """Yield every readable image of `split` once, by position, as uint8.

    A split that fits in memory is decoded once and kept; a larger one is streamed, where a batch that has
    lost an unreadable image is smaller. The names of skipped images are added to `split.skipped`.

    Args:
        split: the images.
        framing: resize and crop.
        batch_size: images per batch, >= 1.
        workers: processes that decode where the split is streamed; 0: threads of this one.
        device: where the batches go.
        memory_limit_gib: the largest decoded size to keep; None takes the split's own.

    Raises:
        InputError: a batch size or number of workers out of range, more unreadable images than the split
            allows, or sizes that differ once framed.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size={batch_size}, workers={workers}: give batch_size >= 1 and workers >= 0")
    if split.fits(framing, memory_limit_gib):
        batches = _resident_batches(split, framing, batch_size)
    else:
        batches = _streamed(split, framing, batch_size, workers)
    return (batch.to(device) for batch in batches)


def _resident_batches(split: ImageSplit, framing: Framing, batch_size: int) -> Iterator[Batch]:
    data = split.resident(framing)
    for start in range(0, len(data.labels), batch_size):
        part = slice(start, start + batch_size)
        yield Batch(data.images[part], data.labels[part], data.index[part])


def _streamed(split: ImageSplit, framing: Framing, batch_size: int, workers: int) -> Iterator[Batch]:
    limit = SkipLimit(f"the {split.name} split", len(split), split.unreadable_limit)
    data = StreamDataset(split, partial(split.frame, framing=framing, size=split.framed_size(framing)))
    batches: Iterable[StreamBatch] = _by_threads(data, batch_size)
    if workers:
        # Without its own generator a loader draws its workers' seed from the global one.
        own = torch.Generator()
        batches = DataLoader(
            data, batch_size, num_workers=workers, collate_fn=collate_readable, generator=own
        )
    for batch in batches:
        limit.admit(batch.errors)
        split.note_skipped(batch.unreadable)
        if len(batch.labels):
            yield Batch(batch.images, batch.labels, batch.index)


def _by_threads(data: StreamDataset, batch_size: int) -> Iterator[StreamBatch]:
    """Decode in threads, a batch ahead of the one that is used: decoders let other threads run."""
    with ThreadPoolExecutor(max_workers=decoding_threads()) as pool:
        ahead: deque[list[Future[Sample | InputError]]] = deque()
        try:
            for start in range(0, len(data), batch_size):
                positions = range(start, min(start + batch_size, len(data)))
                ahead.append([pool.submit(data.__getitem__, position) for position in positions])
                if len(ahead) > 1:
                    yield collate_readable([task.result() for task in ahead.popleft()])
            for tasks in ahead:
                yield collate_readable([task.result() for task in tasks])
        finally:
            pool.shutdown(cancel_futures=True)
