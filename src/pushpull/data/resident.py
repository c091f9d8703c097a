"""A whole split decoded to one uint8 tensor, by several threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from pushpull.data.cores import usable_cores
from pushpull.data.decode import UnreadableImageError
from pushpull.data.preprocessing import Framing
from pushpull.data.unreadable import SkipLimit

if TYPE_CHECKING:
    from pushpull.data.images import ImageSplit

_CHUNK = 64  # images a task: long enough that a thread's start does not count
_QUIET_SECONDS = 2.0  # a progress bar that flashes by helps nobody


@dataclass(frozen=True)
class ResidentImages:
    """Decoded images in memory, without the unreadable ones.

    Args:
        images: (n, 3, H, W) uint8.
        labels: (n,) int64.
        index: (n,) int64, row numbers in the source split.
        skipped: names of the images that could not be read.
    """

    images: UInt8[Tensor, "n 3 h w"]
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    skipped: list[str]


class _Failure(NamedTuple):
    position: int
    error: UnreadableImageError


def decode_resident(split: ImageSplit, framing: Framing) -> ResidentImages:
    """Decode and frame every image of `split`; see `ImageSplit.resident`."""
    count = len(split)
    size = split.framed_size(framing) if count else (0, 0)
    images = torch.empty(count, 3, *size, dtype=torch.uint8)

    def decode(start: int) -> list[_Failure]:
        failures = []
        for position in range(start, min(start + _CHUNK, count)):
            try:
                images[position] = split.framed(position, framing, size)
            except UnreadableImageError as error:
                failures.append(_Failure(position, error))
        return failures

    limit = SkipLimit(f"the {split.name} split", count, split.unreadable_limit)
    lost: list[int] = []
    with ThreadPoolExecutor(max_workers=decoding_threads()) as pool:
        tasks = [pool.submit(decode, start) for start in range(0, count, _CHUNK)]
        try:
            for task in _with_progress(tasks, f"reading {split.name}"):
                failures = task.result()
                limit.admit(failure.error for failure in failures)
                lost.extend(failure.position for failure in failures)
        finally:
            pool.shutdown(cancel_futures=True)
    kept = _close_gaps(images, lost)
    return ResidentImages(images[: len(kept)], split.labels[kept], split.index[kept], limit.names)


def decoding_threads() -> int:
    """Return how many threads decode: one a processor that this process may use, up to 16."""
    return min(16, usable_cores())


def _close_gaps(images: Tensor, lost: list[int]) -> Int64[Tensor, " kept"]:
    """Move images down over the lost ones, in place (a copy would double the memory); return who is left."""
    keep = torch.ones(len(images), dtype=torch.bool)
    keep[lost] = False
    kept = keep.nonzero()[:, 0]
    if lost:
        for new, old in enumerate(kept.tolist()):
            if new != old:
                images[new] = images[old]
    return kept


def _with_progress(tasks: list[Future[list[_Failure]]], title: str) -> Iterator[Future[list[_Failure]]]:
    """Yield the tasks in order as they finish, with a bar once it has taken two seconds."""
    start = time.monotonic()
    for done, task in enumerate(tasks):
        try:
            task.exception(timeout=max(0.0, start + _QUIET_SECONDS - time.monotonic()))
        except TimeoutError:
            yield from _bar(tasks, done, title)
            return
        yield task


def _bar(tasks: list[Future[list[_Failure]]], done: int, title: str) -> Iterable[Future[list[_Failure]]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=len(tasks), completed=done)
        for task in tasks[done:]:
            task.exception()
            progress.advance(bar)
            yield task
