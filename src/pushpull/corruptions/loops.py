"""Compiled loops of grey levels, filters, noise, colour and geometry."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import (
    ALIAS_BITS,
    BELOW,
    FIXED_POINT_BITS,
    FORGIVEN,
    KEEP_BITS,
    LEVEL_SLACK,
    MEAN_GRID,
    TAP_BITS,
    TAPS_PER_PASS,
    VALUE_GRID,
)
from pushpull.random.native import inlined, kernel

_FORGIVEN = np.float32(FORGIVEN)
_FORGIVEN64 = np.float64(FORGIVEN)
_TOP64 = np.float64(1.0 - BELOW)
_WHITE, _WHITE64 = np.float32(255.0), np.float64(255.0)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@kernel
def to_floats(start: int, stop: int, out: Any, levels: Any) -> None:
    """Write levels / 255."""
    for image in range(start, stop):
        row, source = out[image], levels[image]
        for i in range(row.size):
            row[i] = np.float32(source[i]) / _WHITE


@kernel
def truncate(start: int, stop: int, out: Any, x: Any) -> None:
    """Write whole levels: see `grey.truncate_to_bytes`."""
    for image in range(start, stop):
        row, source = out[image], x[image]
        for i in range(row.size):
            row[i] = np.uint8(min(max(source[i] * _WHITE + _FORGIVEN, _ZERO), _WHITE))


@inlined
def in_double(x: Any) -> Any:
    """Return a float32 value as `grey.in_double`."""
    scaled = np.float64(x) * _WHITE64
    whole = np.rint(scaled)
    return (whole if abs(scaled - whole) < _FORGIVEN64 else scaled) / _WHITE64


@inlined
def from_double(x: Any) -> Any:
    """Return a value in [0, 1] as `grey.from_double`."""
    scaled = x * _WHITE64
    whole = np.floor(scaled)
    return np.float32((min(scaled - whole, _TOP64) + whole) / _WHITE64)


_TAP_STEP = 2.0**-TAP_BITS
_RESULT_STEP = 2.0**-TAP_BITS / VALUE_GRID


@inlined
def _add_taps(line: Any, lines: Any, before: Any, up: int, after: Any, at: int, half: Any, k: int) -> None:
    """Add the products of taps k to k + 3 and the sums of two lines each, in one pass."""
    b0, b1, b2, b3 = lines[before[up]], lines[before[up + 1]], lines[before[up + 2]], lines[before[up + 3]]
    a0, a1, a2, a3 = lines[after[at]], lines[after[at + 1]], lines[after[at + 2]], lines[after[at + 3]]
    t0, t1, t2, t3 = half[k], half[k + 1], half[k + 2], half[k + 3]
    for i in range(line.size):
        line[i] += t0 * (b0[i] + a0[i]) + t1 * (b1[i] + a1[i]) + t2 * (b2[i] + a2[i]) + t3 * (b3[i] + a3[i])


@inlined
def _add_shifts(line: Any, longer: Any, middle: int, half: Any, k: int) -> None:
    """Add the same for one longer line, shifted to both sides; its part above `line` begins at `middle`."""
    t0, t1, t2, t3 = half[k], half[k + 1], half[k + 2], half[k + 3]
    b, a = longer[middle - k - 3 :], longer[middle + k :]
    for i in range(line.size):
        inner = t0 * (b[i + 3] + a[i]) + t1 * (b[i + 2] + a[i + 1])
        line[i] += inner + t2 * (b[i + 1] + a[i + 2]) + t3 * (b[i] + a[i + 3])


@kernel
def separable(start: int, stop: int, out: Any, x: Any, half: Any, rows: Any, columns: Any) -> None:
    """Filter planes by symmetric taps, of which `half` are the middle one and those after it.

    rows, columns: where the values of a line lie that is longer by the taps' reach on both sides.
    """
    height, width = x.shape[1:]
    reach = half.size - 1
    whole = np.empty((height, width), np.float64)
    line = np.empty(width, np.float64)
    longer = np.empty(columns.size, np.float64)
    upwards = rows[::-1].copy()
    for plane in range(start, stop):
        for r in range(height):
            for c in range(width):
                whole[r, c] = np.ceil(np.float64(x[plane, r, c]) * VALUE_GRID)
        for r in range(height):
            centre = whole[r]
            for c in range(width):
                line[c] = half[0] * centre[c]
            for k in range(1, reach + 1, TAPS_PER_PASS):
                up, down = height - 1 - r + reach + k, r + reach + k
                _add_taps(line, whole, upwards, up, rows, down, half, k)
            for c in range(width):
                longer[reach + c] = np.ceil(line[c] * _TAP_STEP)
            for c in range(reach):
                longer[c] = longer[reach + columns[c]]
                longer[reach + width + c] = longer[reach + columns[reach + width + c]]
            for c in range(width):
                line[c] = half[0] * longer[reach + c]
            for k in range(1, reach + 1, TAPS_PER_PASS):
                _add_shifts(line, longer, reach, half, k)
            for c in range(width):
                out[plane, r, c] = np.float32(line[c] * _RESULT_STEP)


_KEEP = np.float32(1 << KEEP_BITS)
_ALIAS_SHIFT, _ALIAS = np.int32(ALIAS_BITS), np.int32((1 << ALIAS_BITS) - 1)
_LEVEL_SLACK = np.float32(LEVEL_SLACK)


@kernel
def impulse(start: int, stop: int, out: Any, x: Any, uniform: Any, low: Any, high: Any) -> None:
    """Write 0 where the uniform number is under `low`, 1 where it is above `high`, else x."""
    for image in range(start, stop):
        row, source, u = out[image], x[image], uniform[image]
        for i in range(row.size):
            row[i] = _ZERO if u[i] < low else (_ONE if u[i] > high else source[i])


@kernel
def shot(
    start: int, stop: int, out: Any, x: Any, uniform: Any, first: Any, cells: Any, reach: Any, photons: Any
) -> None:
    """Write Poisson counts / photons by alias tables: see `noise.poisson_by_table`."""
    flat, width = cells.ravel(), np.float32(cells.shape[1])
    for image in range(start, stop):
        row, source, u = out[image], x[image], uniform[image]
        for i in range(row.size):
            level = np.floor(source[i] * _WHITE + _LEVEL_SLACK)
            scaled = u[i] * reach
            column = np.floor(scaled)
            cell = flat[np.uint64(np.int32(column + level * width))]
            part = np.int32((scaled - column) * _KEEP)
            count = column if part < cell >> _ALIAS_SHIFT else np.float32(np.int32(cell & _ALIAS))
            row[i] = (count + np.float32(first[np.uint64(np.int32(level))])) / photons


@kernel
def contrast(start: int, stop: int, out: Any, x: Any, factor: Any) -> None:
    """Write (x - mean) factor + mean, each row with its own mean."""
    for plane in range(start, stop):
        row, source = out[plane], x[plane]
        total = np.int64(0)
        for i in range(source.size):  # whole numbers, as `colour.contrast`: any order gives their sum
            total += np.int64(np.rint(np.float64(source[i]) * MEAN_GRID))
        mean = np.float32(np.float64(total) / (source.size * MEAN_GRID))
        for i in range(row.size):
            row[i] = (source[i] - mean) * factor + mean


@kernel
def brightness(start: int, stop: int, out: Any, x: Any, added: float) -> None:
    """Raise the largest channel by `added`, the others in proportion: see `colour.brightness`."""
    size = x.shape[1] // 3
    for image in range(start, stop):
        row, source = out[image], x[image]
        for i in range(size):
            red, green, blue = source[i], source[i + size], source[i + 2 * size]
            value = max(red, green, blue)
            raised = from_double(min(in_double(value) + added, 1.0))
            factor = raised / value
            row[i] = raised if red == value else red * factor
            row[i + size] = raised if green == value else green * factor
            row[i + 2 * size] = raised if blue == value else blue * factor


@inlined
def _turn(red: Any, green: Any, blue: Any, value: Any, spread: Any) -> Any:
    """Return the hue in turns, in [0, 1): see `colour._hue`."""
    if blue == value:
        hue = 4.0 + (red - green) / spread
    elif green == value:
        hue = 2.0 + (blue - red) / spread
    else:
        hue = (green - blue) / spread
    hue /= 6.0
    return hue + 1.0 if hue < 0.0 else hue


@kernel
def saturate(start: int, stop: int, out: Any, x: Any, gain: float, offset: float) -> None:
    """Change the saturation: see `colour.saturate`."""
    size = x.shape[1] // 3
    for image in range(start, stop):
        row, source = out[image], x[image]
        for i in range(size):
            red, green = in_double(source[i]), in_double(source[i + size])
            blue = in_double(source[i + 2 * size])
            value = max(red, green, blue)
            spread = value - min(red, green, blue)
            ratio, sixths = 0.0, 0.0
            if spread > 0:
                ratio, sixths = spread / value, _turn(red, green, blue, value, spread) * 6.0
            saturation = min(max(ratio * gain + offset, 0.0), 1.0)
            sixth = np.floor(sixths)
            fraction = sixths - sixth
            p = value * (1.0 - saturation)
            q = value * (1.0 - fraction * saturation)
            t = value * (1.0 - (1.0 - fraction) * saturation)
            which = np.int64(sixth) % 6
            red = value if which == 0 or which == 5 else (q if which == 1 else (t if which == 4 else p))
            green = value if which == 1 or which == 2 else (t if which == 0 else (q if which == 3 else p))
            blue = value if which == 3 or which == 4 else (t if which == 2 else (q if which == 5 else p))
            row[i] = from_double(red)
            row[i + size] = from_double(green)
            row[i + 2 * size] = from_double(blue)


_ROUNDING = 1 << (FIXED_POINT_BITS - 1)


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
