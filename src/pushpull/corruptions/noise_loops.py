"""Compiled loops of `corruptions.noise`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import ALIAS_BITS, KEEP_BITS, LEVEL_SLACK
from pushpull.random.native import kernel

_WHITE = np.float32(255.0)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
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
