"""Kernels of `corruptions.filters`: exact sums, a line at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import TAP_BITS, TAPS_PER_PASS, VALUE_GRID
from pushpull.random.native import inlined, kernel

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
