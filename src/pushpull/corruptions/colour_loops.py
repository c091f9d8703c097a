"""Compiled loops of `corruptions.colour`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushpull.corruptions.constants import MEAN_GRID
from pushpull.corruptions.grey_loops import from_double, in_double
from pushpull.random.native import inlined, kernel


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
