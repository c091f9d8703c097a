"""Kernels of `pushpull.corruptions.weather`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.random.native import kernel

_ONE, _QUARTER, _HALF, _LEVELS = np.float32(1.0), np.float32(0.25), np.float32(0.5), np.float32(255.0)
_STEEP = np.float32(1.5)


@kernel
def flakes(start: int, stop: int, out: Any, field: Any, *enlarged: Any) -> None:
    """Write the layer of snow before it is blurred; `enlarged`: see `weather._enlarged`."""
    row_place, row_weight, column_place, column_weight, scale, loc, threshold = enlarged
    last_row, last_column = field.shape[1] - 1, field.shape[2] - 1
    mixed = np.empty(last_column + 2, np.float32)  # the last twice
    for image in range(start, stop):
        for r in range(out.shape[1]):
            near, weight = row_place[r], row_weight[r]
            upper, lower, row = field[image, near], field[image, min(near + 1, last_row)], out[image, r]
            for c in range(last_column + 1):
                mixed[c] = (upper[c] * scale + loc) * (_ONE - weight) + (lower[c] * scale + loc) * weight
            mixed[last_column + 1] = mixed[last_column]
            for c in range(row.size):
                place, weight = np.uint64(column_place[c]), column_weight[c]
                value = mixed[place] * (_ONE - weight) + mixed[place + np.uint64(1)] * weight
                value = np.float32(0.0) if value < threshold else min(max(value, np.float32(0.0)), _ONE)
                row[c] = np.float32(np.int32(value * _LEVELS)) / _LEVELS


@kernel
def snow(start: int, stop: int, out: Any, x: Any, layer: Any, gray: Any, mix: Any, rest: Any) -> None:
    """Whiten an image and add the layer of flakes and that layer rotated by 180 degrees."""
    height, width = x.shape[2:]
    last = np.uint64(width - 1)
    white, fallen = np.empty(width, np.float32), np.empty(width, np.float32)
    for image in range(start, stop):
        for r in range(height):
            red, green, blue = x[image, 0, r], x[image, 1, r], x[image, 2, r]
            for c in range(width):
                level = gray[0] * red[c] + gray[1] * green[c] + gray[2] * blue[c]
                white[c] = level * _STEEP + _HALF
            upper, lower = layer[image, r], layer[image, height - 1 - r]
            for c in range(width):
                fallen[c] = upper[c] + lower[last - np.uint64(c)]
            for channel in range(3):
                row, bare = out[image, channel, r], x[image, channel, r]
                for c in range(width):
                    row[c] = mix * bare[c] + rest * max(bare[c], white[c]) + fallen[c]


@kernel
def frost(
    start: int, stop: int, out: Any, x: Any, pixels: Any, photograph: Any, corner: Any, keep: Any, lay: Any
) -> None:
    """Add the crop of a photograph."""
    height, width = x.shape[2:]
    for image in range(start, stop):
        top, left = corner[image, 0], corner[image, 1]
        for channel in range(3):
            picture = pixels[channel, photograph[image]]
            for r in range(height):
                row, bare = out[image, channel, r], x[image, channel, r]
                crop = picture[top + r, left : left + width]
                for c in range(width):
                    row[c] = keep * bare[c] + lay * np.float32(crop[c])


@kernel
def frost_enlarged(
    start: int, stop: int, out: Any, x: Any, pixels: Any, photograph: Any, *edges: Any
) -> None:
    """Add the crop of an enlarged photograph; `edges`: see `weather._between`, and the two weights."""
    row_near, row_far, row_weight, column_near, column_far, column_weight, keep, lay = edges
    height, width = x.shape[2:]
    upper, lower = np.empty(width, np.float32), np.empty(width, np.float32)
    part = np.empty(pixels.shape[3], np.float32)
    for image in range(start, stop):
        columns = column_near[image], column_far[image], column_weight[image], part
        for channel in range(3):
            picture = pixels[channel, photograph[image]]
            in_upper = in_lower = -1  # the photograph's rows that they hold: each is made once
            for r in range(height):
                near, far, weight = row_near[image, r], row_far[image, r], row_weight[image, r]
                if near == in_lower:
                    upper, lower, in_upper, in_lower = lower, upper, in_lower, in_upper
                if near != in_upper:
                    _stretched(upper, picture[near], *columns)
                if far != in_lower:
                    _stretched(lower, picture[far], *columns)
                in_upper, in_lower = near, far
                _laid(out[image, channel, r], x[image, channel, r], upper, lower, weight, keep, lay)


@kernel
def _laid(out: Any, x: Any, upper: Any, lower: Any, weight: Any, keep: Any, lay: Any) -> None:
    """Write a row of an image with what is between two rows of a photograph."""
    for c in range(out.size):
        crop = np.rint(upper[c] * (_ONE - weight) + lower[c] * weight)
        out[c] = keep * x[c] + lay * crop


@kernel
def _stretched(out: Any, row: Any, near: Any, far: Any, weight: Any, part: Any) -> None:
    """Write a row enlarged; `part` is a buffer as long as the row."""
    first, last = near[0], far[out.size - 1]
    source = row[first : last + 1]
    for c in range(source.size):
        part[c] = np.float32(source[c])
    for c in range(out.size):
        left, right = part[np.uint64(near[c] - first)], part[np.uint64(far[c] - first)]
        out[c] = left * (_ONE - weight[c]) + right * weight[c]


@kernel
def fog(start: int, stop: int, out: Any, x: Any, noise: Any, wibbles: Any, strength: Any) -> None:
    """Veil an image with a diamond-square map."""
    height, width = x.shape[2:]
    side = 1 << wibbles.size
    # Each has the first row and column once more at the end (the centres: the last before the first).
    grid, finer = np.empty((side + 1, side + 1), np.float32), np.empty((side + 1, side + 1), np.float32)
    centre = np.empty((side // 2 + 1, side // 2 + 1), np.float32)
    for image in range(start, stop):
        grid[:2, :2] = 0.0
        used = 0
        for octave in range(wibbles.size):
            n = 1 << octave
            _octave(grid, finer, centre, n, noise[image, used : used + 3 * n * n], wibbles[octave])
            grid, finer = finer, grid
            used += 3 * n * n
        low, high = _extremes(grid[:side, :side])
        brightest = _extremes(x[image].reshape(3 * height, width))[1]
        gain = brightest / (brightest + strength)
        span = high - low
        for r in range(height):
            veil = finer[r]
            for c in range(width):
                veil[c] = strength * ((grid[r, c] - low) / span)
            for channel in range(3):
                row, bare = out[image, channel, r], x[image, channel, r]
                for c in range(width):
                    row[c] = (bare[c] + veil[c]) * gain


@kernel
def _octave(grid: Any, finer: Any, centre: Any, n: int, noise: Any, wibble: Any) -> None:
    """Write the (2n + 1)^2 points of `finer` from the (n + 1)^2 of `grid`."""
    kicks = noise.reshape(3, n, n)
    for i in range(n):
        upper, lower, middle, kick = grid[i], grid[i + 1], centre[i + 1], kicks[0, i]
        for j in range(n):
            total = (upper[j] + lower[j]) + (upper[j + 1] + lower[j + 1])
            middle[j + 1] = total * _QUARTER + kick[j] * wibble
        middle[0] = middle[n]
    centre[0, : n + 1] = centre[n, : n + 1]
    for i in range(n):
        upper, lower, above, middle = grid[i], grid[i + 1], centre[i], centre[i + 1]
        even, odd, row_kick, column_kick = finer[2 * i], finer[2 * i + 1], kicks[1, i], kicks[2, i]
        for j in range(n):
            along_row = middle[j + 1] + above[j + 1] + upper[j] + upper[j + 1]
            even[2 * j] = upper[j]
            even[2 * j + 1] = along_row * _QUARTER + row_kick[j] * wibble
        even[2 * n] = even[0]
        for j in range(n):
            along_column = middle[j + 1] + middle[j] + (upper[j] + lower[j])
            odd[2 * j] = along_column * _QUARTER + column_kick[j] * wibble
            odd[2 * j + 1] = middle[j + 1]
        odd[2 * n] = odd[0]
    finer[2 * n, : 2 * n + 1] = finer[0, : 2 * n + 1]


@kernel
def _extremes(values: Any) -> Any:
    """Return the least and the largest value of a matrix: of each column first, which runs in vectors."""
    least, largest = values[0].copy(), values[0].copy()
    for r in range(1, values.shape[0]):
        row = values[r]
        for c in range(row.size):
            least[c] = min(least[c], row[c])
            largest[c] = max(largest[c], row[c])
    return least.min(), largest.max()
