"""Kernel of pixelate."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.pixelate import FIXED_POINT_BITS
from pushpull.random.compiled import kernel

_HALF = 1 << (FIXED_POINT_BITS - 1)


@kernel
def pixelate(
    start: int,
    stop: int,
    out: Any,
    levels: Any,
    row_sources: Any,
    row_weights: Any,
    column_sources: Any,
    column_weights: Any,
    rows: Any,
    columns: Any,
) -> None:
    """Shrink planes by BOX, along rows and then along columns, and enlarge them: see `corruptions.pixelate`.

    row_sources, row_weights: (taps, shrunk height), of the shrinking along columns; the others likewise.
    rows, columns: which pixel of the small plane each one is.
    """
    height, width = levels.shape[1:]
    small_width = column_sources.shape[1]
    narrow = np.empty((height, small_width), np.int32)
    total = np.empty(small_width, np.int32)
    line = np.empty(small_width, np.uint8)
    for plane in range(start, stop):
        for r in range(height):
            source = levels[plane, r]
            total[:] = _HALF
            for tap in range(column_sources.shape[0]):
                where, weight = column_sources[tap], column_weights[tap]
                for c in range(small_width):
                    total[c] += np.int32(source[np.uint64(where[c])]) * weight[c]
            for c in range(small_width):
                narrow[r, c] = total[c] >> FIXED_POINT_BITS
        r = 0
        while r < height:
            small = rows[r]
            total[:] = _HALF
            for tap in range(row_sources.shape[0]):
                source, weight = narrow[row_sources[tap, small]], row_weights[tap, small]
                for c in range(small_width):
                    total[c] += source[c] * weight
            for c in range(small_width):
                line[c] = np.uint8(total[c] >> FIXED_POINT_BITS)
            first = out[plane, r]
            for c in range(width):
                first[c] = line[np.uint64(columns[c])]
            r += 1
            while r < height and rows[r] == small:
                out[plane, r] = first
                r += 1
