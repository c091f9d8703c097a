"""Kernels of what is done value by value or pixel by pixel: grey levels, noise, colour."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.colour import MEAN_GRID
from pushpull.corruptions.grey import BELOW, FORGIVEN
from pushpull.corruptions.noise import ALIAS_BITS, KEEP_BITS, LEVEL_SLACK
from pushpull.random.compiled import inlined, kernel

_FORGIVEN = np.float32(FORGIVEN)
_FORGIVEN64 = np.float64(FORGIVEN)
_TOP64 = np.float64(1.0 - BELOW)
_WHITE, _WHITE64 = np.float32(255.0), np.float64(255.0)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_KEEP = np.float32(1 << KEEP_BITS)
_ALIAS_SHIFT, _ALIAS = np.int32(ALIAS_BITS), np.int32((1 << ALIAS_BITS) - 1)
_LEVEL_SLACK = np.float32(LEVEL_SLACK)


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
            red, green, blue = (
                in_double(source[i]),
                in_double(source[i + size]),
                in_double(source[i + 2 * size]),
            )
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
