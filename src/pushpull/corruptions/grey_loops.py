"""Compiled loops of `corruptions.grey`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import BELOW, FORGIVEN
from pushpull.random.native import inlined, kernel

_FORGIVEN = np.float32(FORGIVEN)
_FORGIVEN64 = np.float64(FORGIVEN)
_TOP64 = np.float64(1.0 - BELOW)
_WHITE, _WHITE64 = np.float32(255.0), np.float64(255.0)
_ZERO = np.float32(0.0)


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
