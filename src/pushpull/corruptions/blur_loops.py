"""Kernels of the blurs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import FOLD_BITS, MOTION_BITS, MOTION_FORGIVEN, STEPS
from pushpull.corruptions.loops import from_double
from pushpull.random.native import inlined, kernel

_STEPS = 255.0 * STEPS
_MOTION_STEP = 2.0**-MOTION_BITS / STEPS
_FOLD_STEP = 2.0**-FOLD_BITS
_WHITE = np.float32(255.0)
_ONE, _TWO = np.float32(1.0), np.float32(2.0)


@inlined
def _steps(x: Any) -> Any:
    """Return a value as `grey.in_steps`."""
    return np.rint(np.float64(x) * _STEPS)


@kernel
def glass(start: int, stop: int, levels: Any, down: Any, right: Any) -> None:
    """Let pixels take their neighbours' places, in place: the published program's scan, as it is.

    levels (N, C, H, W); down, right (N, iterations, H - 2 delta, W - 2 delta).
    """
    channels, height = levels.shape[1:3]
    inner_rows, inner_columns = down.shape[2:]
    delta = (height - inner_rows) // 2
    for image in range(start, stop):
        for iteration in range(down.shape[1]):
            for i in range(inner_rows - 1, -1, -1):
                for j in range(inner_columns - 1, -1, -1):
                    row, column = i + delta + 1, j + delta + 1
                    from_row = row + down[image, iteration, i, j]
                    from_column = column + right[image, iteration, i, j]
                    for channel in range(channels):
                        levels[image, channel, row, column] = levels[image, channel, from_row, from_column]


@inlined
def _add_taps(line: Any, plane: Any, row: int, reach: int, dy: Any, dx: Any, taps: Any, i: int) -> None:
    """Add the products of taps i to i + 3 and the lines that they reach, in one pass."""
    last = plane.shape[0] - 1
    p0 = plane[min(max(row + dy[i], 0), last), reach + dx[i] :]
    p1 = plane[min(max(row + dy[i + 1], 0), last), reach + dx[i + 1] :]
    p2 = plane[min(max(row + dy[i + 2], 0), last), reach + dx[i + 2] :]
    p3 = plane[min(max(row + dy[i + 3], 0), last), reach + dx[i + 3] :]
    t0, t1, t2, t3 = taps[i], taps[i + 1], taps[i + 2], taps[i + 3]
    for c in range(line.size):
        line[c] += t0 * p0[c] + t1 * p1[c] + t2 * p2[c] + t3 * p3[c]


@kernel
def motion(start: int, stop: int, out: Any, x: Any, dy: Any, dx: Any, taps: Any) -> None:
    """Blur along a direction an image: see `blur.motion_blur_apply`."""
    channels, height, width = x.shape[1:]
    count = taps.size
    reach = count - 1
    whole = np.zeros(count + -count % 4)  # filled up with taps of 0 at no distance
    whole[:count] = taps
    plane = np.empty((height, width + 2 * reach))
    line = np.empty(width)
    for image in range(start, stop):
        down, right = np.zeros(whole.size, np.int64), np.zeros(whole.size, np.int64)
        down[:count], right[:count] = dy[image], dx[image]
        for channel in range(channels):
            for r in range(height):
                for c in range(width):
                    plane[r, reach + c] = _steps(x[image, channel, r, c])
                plane[r, :reach] = plane[r, reach]
                plane[r, reach + width :] = plane[r, reach + width - 1]
            for r in range(height):
                line[:] = 0.0
                for i in range(0, whole.size, 4):
                    _add_taps(line, plane, r, reach, down, right, whole, i)
                for c in range(width):
                    level = np.floor(line[c] * _MOTION_STEP + MOTION_FORGIVEN)
                    out[image, channel, r, c] = np.float32(level) / _WHITE


@kernel
def zoom(start: int, stop: int, out: Any, x: Any, rows: Any, down: Any, columns: Any, right: Any) -> None:
    """Average planes and their enlarged centres: see `blur.zoom_blur`."""
    factors, height = rows.shape
    width = columns.shape[1]
    line = np.empty(x.shape[2], np.float32)
    parts = np.float32(factors + 2)
    left = _ONE - right
    for plane in range(start, stop):
        for r in range(height):
            result = out[plane, r]
            for c in range(width):
                result[c] = x[plane, r, c] * _TWO
            for which in range(factors):
                upper, lower = x[plane, rows[which, r]], x[plane, rows[which, r] + 1]
                below = down[which, r]
                above = _ONE - below
                for c in range(line.size):
                    line[c] = upper[c] * above + lower[c] * below
                where, rest, weight = columns[which], left[which], right[which]
                for c in range(width):
                    place = np.uint64(where[c])
                    result[c] += line[place] * rest[c] + line[place + np.uint64(1)] * weight[c]
            for c in range(width):
                result[c] /= parts


@inlined
def _with_border(values: Any, running: Any, plane: Any, rows: Any, columns: Any, reach: int) -> None:
    """Write a plane with its border in steps, and the running sums of its columns."""
    width = plane.shape[1]
    for r in range(rows.size):
        source = plane[rows[r]]
        for c in range(width):
            values[r, reach + c] = _steps(source[c])
        for c in range(reach):
            values[r, c] = values[r, reach + columns[c]]
            values[r, reach + width + c] = values[r, reach + columns[reach + width + c]]
        for c in range(columns.size):
            running[r + 1, c] = running[r, c] + values[r, c]


@inlined
def _disk_sums(sums: Any, running: Any, heights: Any, row: int, middle_row: int, first: int) -> None:
    """Write one line of the sums over the disk about (middle_row, first), (middle_row, first + 1), ..."""
    line = sums[row]
    for k in range(heights.size):
        below = running[middle_row + heights[k] + 1]
        above = running[middle_row - heights[k]]
        if k == 0:
            for c in range(line.size):
                line[c] = below[first + c] - above[first + c]
        else:
            b, a = below[first - k :], above[first - k :]
            for c in range(line.size):
                line[c] += (b[c] - a[c]) + (b[c + 2 * k] - a[c + 2 * k])


@inlined
def _smooth(line: Any, lines: Any, row: int, alias: Any) -> None:
    """Write the smoothing of lines row .. row + 2 a at the middle one."""
    middle = alias.size - 1
    m, t = lines[row + middle], alias[0]
    for c in range(line.size):
        line[c] = m[c] * t
    for k in range(1, alias.size):
        before, after, t = lines[row + middle - k], lines[row + middle + k], alias[k]
        for c in range(line.size):
            line[c] += (before[c] + after[c]) * t


@kernel
def defocus(start: int, stop: int, out: Any, x: Any, rows: Any, columns: Any, *lens: Any) -> None:
    """Spread the values of planes over a disk: see `blur.defocus_blur`.

    rows, columns: where the lines and values of a plane with its border lie.
    """
    heights, alias, places, folds, scales = lens
    height, width = x.shape[1:]
    beyond = alias.size - 1
    reach = heights.size - 1 + beyond
    values = np.empty((rows.size, columns.size))
    running = np.zeros((rows.size + 1, columns.size))
    sums = np.empty((height + 2 * beyond, width + 2 * beyond))
    line, smooth, extra = np.empty(sums.shape[1]), np.empty(width), np.zeros(width)
    for plane in range(start, stop):
        _with_border(values, running, x[plane], rows, columns, reach)
        for r in range(sums.shape[0]):
            _disk_sums(sums, running, heights, r, r + heights.size - 1, heights.size - 1)
        for r in range(height):
            _smooth(line, sums, r, alias)
            for c in range(width):
                smooth[c] = line[c + beyond] * alias[0]
            for k in range(1, alias.size):
                before, after, t = line[beyond - k :], line[beyond + k :], alias[k]
                for c in range(width):
                    smooth[c] += (before[c] + after[c]) * t
            if folds.size:
                extra[:] = 0.0
                for i in range(folds.size):
                    source, t = values[r + places[i, 0], places[i, 1] :], folds[i]
                    for c in range(width):
                        extra[c] += source[c] * t
                for c in range(width):
                    smooth[c] += extra[c] * _FOLD_STEP
            for c in range(width):
                out[plane, r, c] = from_double(min(max(smooth[c] * scales[0], 0.0), 1.0))
