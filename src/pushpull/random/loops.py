"""Kernels of `pushpull.random`: the same words, turned into numbers in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.random.native import BITS, FIRST_SEGMENT, MAGNITUDE, ODD, PART_BITS, inlined, kernel

_ODD = np.int32(ODD)
_SHIFT = np.int32(16)
_DROPPED = np.int32(32 - BITS)
_MIDDLE = np.int64(1 << (BITS - 1))
_HALF = np.float32(0.5)
_FIRST = np.int32(FIRST_SEGMENT)
_PART_SHIFT, _PART = np.int32(PART_BITS), np.int32((1 << PART_BITS) - 1)


@inlined
def word(mixed: Any, low: Any, odd: Any) -> Any:
    """Return the word of one place, as `Draws._words`."""
    x = np.int32(np.int32(mixed ^ low) * odd)
    return np.int32(np.int32(x ^ (x >> _SHIFT)) * _ODD)


@kernel
def uniform(start: int, stop: int, out: Any, counter: Any, low: Any, odd: Any, first: Any, step: Any) -> None:
    """Write first + step k, k the upper 23 bits of the word."""
    for image in range(start, stop):
        mask, factor = low[image], odd[image]
        row = out[image]
        for i in range(row.size):
            row[i] = first + step * np.float32(word(counter[i], mask, factor) >> _DROPPED)


@kernel
def normal(start: int, stop: int, out: Any, counter: Any, low: Any, odd: Any, segments: Any) -> None:
    """Write standard normal numbers: see `Draws.normal`."""
    level, slope = segments
    for image in range(start, stop):
        mask, factor = low[image], odd[image]
        row = out[image]
        for i in range(row.size):
            w = word(counter[i], mask, factor)
            place = np.float32(np.float32(np.int32(w & MAGNITUDE)) + _HALF).view(np.int32)
            # Unsigned: never from the end.
            segment = np.uint64(np.uint32(np.int32(place >> _PART_SHIFT) - _FIRST))
            size = slope[segment] * np.float32(np.int32(place & _PART)) + level[segment]
            row[i] = -size if w < 0 else size


@kernel
def integers(
    start: int, stop: int, out: Any, counter: Any, low: Any, odd: Any, least: int, span: int
) -> None:
    """Write whole numbers of least .. least + span - 1."""
    for image in range(start, stop):
        mask, factor = low[image], odd[image]
        row = out[image]
        for i in range(row.size):
            k = np.int64(word(counter[i], mask, factor) >> _DROPPED) + _MIDDLE
            row[i] = np.int32(((k * span) >> np.int64(BITS)) + least)
