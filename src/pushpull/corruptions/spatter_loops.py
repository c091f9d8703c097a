"""Kernels of `pushpull.corruptions.spatter`.

Up to the drops all numbers are float32 that hold whole numbers, or multiples of 2^-16 under 2^8: their sums
are exact. A plane is an image with one or two pixels around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.random.native import kernel

_ZERO, _ONE, _TWO, _NINE = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(9.0)
_WHITE = np.float32(255.0)
_HORIZONTAL, _VERTICAL, _DOWN_RIGHT, _DOWN_LEFT = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)
_NOTHING, _WEAK, _STRONG = np.uint8(0), np.uint8(1), np.uint8(2)


@kernel
def mud(start: int, stop: int, out: Any, x: Any, mask: Any, colour: Any, floor: Any) -> None:
    """Cover an image where the mask (N, H, W) is not under `floor`."""
    height, width = x.shape[2:]
    for image in range(start, stop):
        for r in range(height):
            cover = mask[image, r]
            for channel in range(3):
                row, bare, tint = out[image, channel, r], x[image, channel, r], colour[channel]
                for c in range(width):
                    share = _ZERO if cover[c] < floor else cover[c]
                    row[c] = bare[c] * (_ONE - share) + tint * share


@kernel
def water(start: int, stop: int, out: Any, x: Any, liquid: Any, *numbers: Any) -> None:
    """Add drops. `canny` is (low, high, tan 22.5, tan 67.5), `steps` (diagonal, knight, reach)."""
    threshold, strength, colour, canny, steps, light = numbers
    height, width = x.shape[2:]
    shape = (height + 2, width + 2)
    levels, strengths = np.empty(shape, np.float32), np.zeros(shape, np.float32)
    marks = np.zeros(shape, np.uint8)
    directions, stack = np.empty((height, width), np.uint8), np.empty(height * width, np.uint32)
    distance = np.empty((height + 4, width + 4), np.float32)
    plane, lit, fallen = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(width, np.float32)
    for image in range(start, stop):
        _levels(levels, liquid[image], threshold)
        _gradients(strengths, directions, levels, canny)
        _thin(marks, strengths, directions, canny)
        _grow(marks, stack)
        _distance(distance, marks, steps)
        _equalise(plane, distance, np.int64(steps[2]) + 1)
        _light(lit, plane, light)
        brightest = _drops(levels, lit)
        brightest = brightest if brightest > _ZERO else _ONE
        for r in range(height):
            drops = levels[r + 1, 1 : width + 1]
            for c in range(width):
                fallen[c] = drops[c] / brightest * strength
            for channel in range(3):
                row, bare, tint = out[image, channel, r], x[image, channel, r], colour[channel]
                for c in range(width):
                    row[c] = bare[c] + tint * fallen[c]


@kernel
def _levels(levels: Any, liquid: Any, threshold: Any) -> None:
    """Write grey levels modulo 256, the edge pixels repeated around them."""
    height, width = liquid.shape
    for r in range(height):
        inner, row = levels[r + 1, 1 : width + 1], liquid[r]
        for c in range(width):
            level = _ZERO if row[c] < threshold else row[c] * _WHITE
            inner[c] = np.float32(np.int32(level) & np.int32(255))
        levels[r + 1, 0], levels[r + 1, width + 1] = inner[0], inner[width - 1]
    levels[0], levels[height + 1] = levels[1], levels[height]


@kernel
def _gradients(strengths: Any, directions: Any, levels: Any, canny: Any) -> None:
    """Write |gx| + |gy| by Sobel's filters, and across which neighbours each pixel is judged."""
    height, width = directions.shape
    _, _, tan_22, tan_67 = canny
    smooth, difference = np.empty(width + 2, np.float32), np.empty(width + 2, np.float32)
    for r in range(height):
        upper, middle, lower = levels[r], levels[r + 1], levels[r + 2]
        for c in range(width + 2):
            smooth[c] = upper[c] + _TWO * middle[c] + lower[c]
            difference[c] = lower[c] - upper[c]
        strength, direction = strengths[r + 1, 1 : width + 1], directions[r]
        for c in range(width):
            across = smooth[c + 2] - smooth[c]
            along = difference[c] + _TWO * difference[c + 1] + difference[c + 2]
            wide, tall = abs(across), abs(along)
            strength[c] = wide + tall
            slanted = _DOWN_LEFT if (across < _ZERO) != (along < _ZERO) else _DOWN_RIGHT
            upright = _VERTICAL if tall > tan_67 * wide else slanted
            direction[c] = _HORIZONTAL if tall < tan_22 * wide else upright


@kernel
def _thin(marks: Any, strengths: Any, directions: Any, canny: Any) -> None:
    """Mark where the strength is the greatest across an edge: weak or strong."""
    height, width = directions.shape
    low, high, _, _ = canny
    for r in range(height):
        above, middle, below = strengths[r], strengths[r + 1], strengths[r + 2]
        direction, mark = directions[r], marks[r + 1, 1 : width + 1]
        for c in range(width):
            s = middle[c + 1]
            horizontal = (s > middle[c]) & (s >= middle[c + 2])
            vertical = (s > above[c + 1]) & (s >= below[c + 1])
            down_right = (s > above[c]) & (s > below[c + 2])
            down_left = (s > above[c + 2]) & (s > below[c])
            d = direction[c]
            thin = (
                (horizontal & (d == _HORIZONTAL))
                | (vertical & (d == _VERTICAL))
                | (down_right & (d == _DOWN_RIGHT))
                | (down_left & (d == _DOWN_LEFT))
            )
            mark[c] = np.uint8(thin & (s > low)) + np.uint8(thin & (s > high))


@kernel
def _grow(marks: Any, stack: Any) -> None:
    """Make the weak ones strong that are connected to a strong one."""
    flat, row = marks.reshape(-1), marks.shape[1]
    neighbours = np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])
    used = 0
    for place in range(flat.size):
        if flat[place] == _STRONG:
            stack[used] = place
            used += 1
    while used:
        used -= 1
        centre = np.int64(stack[used])
        for step in neighbours:
            neighbour = np.uint64(centre + step)
            if flat[neighbour] == _WEAK:
                flat[neighbour] = _STRONG
                stack[used] = neighbour
                used += 1


@kernel
def _distance(distance: Any, marks: Any, steps: Any) -> None:
    """Write the distance to the nearest strong mark along the steps (1, 0), (1, 1), (2, 1), cut at the reach.

    A shortest path can take its steps along the row first, so each row is done by itself, and what then comes
    from above and from below needs no neighbours in the row.
    """
    height, width = distance.shape[0] - 4, distance.shape[1] - 4
    diagonal, knight, farthest = steps
    distance[:] = farthest
    last = np.uint64(width - 1)
    for r in range(height):
        row, mark = distance[r + 2, 2 : width + 2], marks[r + 1, 1 : width + 1]
        run = reach = np.int32(farthest)
        for c in range(width):
            run = np.int32(0) if mark[c] == _STRONG else min(np.int32(run + 1), reach)
            row[c] = np.float32(run)
        run = reach
        for back in range(width):
            i = last - np.uint64(back)
            run = np.int32(0) if mark[i] == _STRONG else min(np.int32(run + 1), reach)
            row[i] = min(row[i], np.float32(run))
    for r in range(2, height + 2):
        _from_rows(distance[r], distance[r - 1], distance[r - 2], diagonal, knight)
    for r in range(height + 1, 1, -1):
        _from_rows(distance[r], distance[r + 1], distance[r + 2], diagonal, knight)


@kernel
def _from_rows(row: Any, near: Any, far: Any, diagonal: Any, knight: Any) -> None:
    """Shorten the distances of a row by paths from the next row and the one after that."""
    inner = row[2:-2]
    # Slices, because a loop over c - 2, c - 1, ... does not run in vectors.
    left, middle, right, near_right = near[1:], near[2:], near[3:], near[4:]
    far_left, far_right = far[1:], far[3:]
    for c in range(inner.size):
        straight = min(inner[c], middle[c] + _ONE)
        slanted = min(left[c], right[c]) + diagonal
        leap = min(near[c], near_right[c], far_left[c], far_right[c]) + knight
        inner[c] = min(straight, slanted, leap)


@kernel
def _mirror(plane: Any) -> None:
    """Fill the pixels around an image by mirroring about its edge pixels."""
    for r in range(1, plane.shape[0] - 1):
        plane[r, 0], plane[r, -1] = plane[r, 2], plane[r, -3]
    plane[0], plane[-1] = plane[2], plane[-3]


@kernel
def _nine(out: Any, columns: Any, plane: Any, r: int) -> None:
    """Write the sums of 3 x 3 pixels of row r; `columns` is a buffer."""
    upper, middle, lower = plane[r], plane[r + 1], plane[r + 2]
    for c in range(columns.size):
        columns[c] = upper[c] + middle[c] + lower[c]
    for c in range(out.size):
        out[c] = columns[c] + columns[c + 1] + columns[c + 2]


@kernel
def _equalise(plane: Any, distance: Any, count: int) -> None:
    """Write the equalised whole parts of the mean distance."""
    height, width = plane.shape[0] - 2, plane.shape[1] - 2
    for r in range(1, height + 1):
        plane[r, 1 : width + 1] = distance[r + 1, 2 : width + 2]
    _mirror(plane)
    histogram, table = np.zeros((4, count), np.int64), np.empty(count, np.float32)
    columns, sums = np.empty(width + 2, np.float32), np.empty(width, np.float32)
    kept = np.empty((height, width), np.uint8)
    for r in range(height):
        _nine(sums, columns, plane, r)
        row = kept[r]
        for c in range(width):
            row[c] = np.uint8(np.int32(sums[c] / _NINE))
        for c in range(width):
            histogram[c & 3, row[c]] += 1  # four of them: one would wait for its own last sum
    _table(table, histogram[0] + histogram[1] + histogram[2] + histogram[3])
    for r in range(height):
        row, inner = kept[r], plane[r + 1, 1 : width + 1]
        for c in range(width):
            inner[c] = table[row[c]]
    _mirror(plane)


@kernel
def _table(table: Any, histogram: Any) -> None:
    """Write the level that each level becomes: `equalise_levels` of the tensors."""
    total, level = histogram.sum(), 0
    while histogram[level] == 0:
        level += 1
    first = histogram[level]
    scale = _WHITE / np.float32(max(total - first, 1))
    cumulative = 0
    for k in range(table.size):
        cumulative += histogram[k]
        table[k] = (
            np.float32(k) if total == first else np.rint(np.float32(max(cumulative - first, 0)) * scale)
        )


@kernel
def _light(lit: Any, plane: Any, light: Any) -> None:
    """Write the relief lit from one side, 0..255."""
    (a, b, c0), (d, e, f), (g, h, i) = light
    height, width = plane.shape[0] - 2, plane.shape[1] - 2
    for r in range(height):
        upper, middle, lower, inner = plane[r], plane[r + 1], plane[r + 2], lit[r + 1, 1 : width + 1]
        for c in range(width):
            total = a * upper[c] + b * upper[c + 1] + c0 * upper[c + 2]
            total += d * middle[c] + e * middle[c + 1] + f * middle[c + 2]
            total += g * lower[c] + h * lower[c + 1] + i * lower[c + 2]
            inner[c] = min(max(total, _ZERO), _WHITE)
    _mirror(lit)


@kernel
def _drops(levels: Any, lit: Any) -> Any:
    """Multiply the liquid's levels by the smoothed relief; return the largest product."""
    height, width = lit.shape[0] - 2, lit.shape[1] - 2
    columns, sums = np.empty(width + 2, np.float32), np.empty(width, np.float32)
    largest = np.zeros(width, np.float32)
    for r in range(height):
        _nine(sums, columns, lit, r)
        inner = levels[r + 1, 1 : width + 1]
        for c in range(width):
            inner[c] *= np.rint(sums[c] / _NINE)
            largest[c] = max(largest[c], inner[c])
    return largest.max()
