"""Some images of a batch: found by what they do, taken out, put back."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def rows_by_value(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each value >= 0 of a vector on the CPU, with the rows that have it."""
    order = torch.argsort(values, stable=True)
    found, counts = torch.unique_consecutive(values[order], return_counts=True)
    for value, rows in zip(found.tolist(), order.split(counts.tolist()), strict=True):
        if value >= 0:
            yield value, rows


def take(images: Tensor, rows: Tensor) -> Tensor:
    """Return some images."""
    return _words(images).index_select(0, rows).view(images.dtype).view(-1, *images.shape[1:])


def put(images: Tensor, rows: Tensor, values: Tensor) -> None:
    """Replace some images of a contiguous batch."""
    _words(images).index_copy_(0, rows, _words(values.contiguous()))


def to_levels(x: Tensor) -> Tensor:
    """Return x in 0..255 as uint8, fraction dropped; by way of int32, at half of the time on a CPU."""
    return x.int().to(torch.uint8)


def _words(images: Tensor) -> Tensor:
    """Return (N, words) of 8 bytes where they fit: a byte at a time takes seven times as long on a CPU."""
    flat = images.view(len(images), -1)
    return flat.view(torch.int64) if flat.shape[1] * flat.element_size() % 8 == 0 else flat
