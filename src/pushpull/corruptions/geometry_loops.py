"""Compiled loops of `corruptions.geometry`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import FIXED_POINT_BITS
from pushpull.random.native import inlined, kernel

_ROUNDING = 1 << (FIXED_POINT_BITS - 1)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@kernel
def affine(start: int, stop: int, out: Any, x: Any, from_row: Any, from_column: Any) -> None:
    """Write images mapped affinely: pixel (r, c) is read at (x, y) = from_row[r] + from_column[c]."""
    height, width = x.shape[2:]
    right, down = np.empty(width, np.float32), np.empty(width, np.float32)
    place = np.empty(width, np.uint32)
    for image in range(start, stop):
        for r in range(height):
            row_x, row_y = from_row[image, 0, r], from_row[image, 1, r]
            column_x, column_y = from_column[image, 0], from_column[image, 1]
            for c in range(width):
                right[c], down[c] = row_x + column_x[c], row_y + column_y[c]
            _locate(place, right, down, height, width, _ZERO)
            _read(out[image, :, r], x[image], place, right, down)


@kernel
def displace(start: int, stop: int, out: Any, x: Any, shift: Any, gain: Any) -> None:
    """Write images of which pixel p is read at p + gain shift(p)."""
    height, width = x.shape[2:]
    right, down = np.empty(width, np.float32), np.empty(width, np.float32)
    place = np.empty(width, np.uint32)
    for image in range(start, stop):
        for r in range(height):
            shift_x, shift_y, own_y = shift[image, 0, r], shift[image, 1, r], np.float32(r)
            for c in range(width):
                right[c], down[c] = shift_x[c] * gain + np.float32(c), shift_y[c] * gain + own_y
            _locate(place, right, down, height, width, _HALF)
            _read(out[image, :, r], x[image], place, right, down)


@kernel
def _locate(place: Any, right: Any, down: Any, height: int, width: int, margin: Any) -> None:
    """Turn places (x, y) into which pixel is the upper left of four, and the weights of the others."""
    for c in range(place.size):
        x, y = _folded(right[c], width, margin), _folded(down[c], height, margin)
        left, top = np.int32(min(x, np.float32(width - 2))), np.int32(min(y, np.float32(height - 2)))
        right[c], down[c] = x - np.float32(left), y - np.float32(top)
        place[c] = np.uint32(top * width + left)


@inlined
def _folded(position: Any, size: Any, margin: Any) -> Any:
    """Mirror a position back inside: `_folded` of the tensors."""
    last = np.float32(size - 1)
    period = np.float32(2.0) * (last + np.float32(2.0) * margin)
    x = abs(position + margin)
    x = x - np.floor(x * (_ONE / period)) * period
    x = min(x, period - x) - margin
    return min(x, last) if x > _ZERO else _ZERO


@kernel
def _read(out: Any, x: Any, place: Any, right: Any, down: Any) -> None:
    """Write one row of every channel, out (C, W), from x (C, H, W)."""
    width = x.shape[2]
    for channel in range(x.shape[0]):
        pixels, row = x[channel].reshape(-1), out[channel]
        below = pixels[width:]
        for c in range(width):
            i, w, v = np.uint64(place[c]), right[c], down[c]
            upper = pixels[i] * (_ONE - w) + pixels[i + np.uint64(1)] * w
            lower = below[i] * (_ONE - w) + below[i + np.uint64(1)] * w
            row[c] = upper * (_ONE - v) + lower * v


@kernel
def pixelate(start: int, stop: int, out: Any, levels: Any, *tables: Any) -> None:
    """Shrink planes by BOX, along rows and then along columns, and enlarge them: see `geometry.pixelate`.

    tables: sources and weights of the shrinking along columns, (taps, shrunk height) each, the same along
    rows, and which row and which column of the small plane each one is.
    """
    row_sources, row_weights, column_sources, column_weights, rows, columns = tables
    height, width = levels.shape[1:]
    small_width = column_sources.shape[1]
    narrow = np.empty((height, small_width), np.int32)
    total = np.empty(small_width, np.int32)
    line = np.empty(small_width, np.uint8)
    for plane in range(start, stop):
        for r in range(height):
            _narrowed(narrow[r], total, levels[plane, r], column_sources, column_weights)
        r = 0
        while r < height:
            small = rows[r]
            total[:] = _ROUNDING
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


@inlined
def _narrowed(out: Any, total: Any, row: Any, sources: Any, weights: Any) -> None:
    """Write a row shrunk; `total` is a buffer."""
    total[:] = _ROUNDING
    for tap in range(sources.shape[0]):
        where, weight = sources[tap], weights[tap]
        for c in range(out.size):
            total[c] += np.int32(row[np.uint64(where[c])]) * weight[c]
    for c in range(out.size):
        out[c] = total[c] >> FIXED_POINT_BITS
