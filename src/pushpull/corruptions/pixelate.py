"""pixelate: fewer pixels, by Pillow's BOX filter in its 8-bit arithmetic."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from pushpull.corruptions.types import Corruption
from pushpull.random import native

FIXED_POINT_BITS = 22  # Pillow's 32 - 8 - 2


def pixelate(levels: Tensor, factor: float, drawn: None) -> Tensor:
    """Shrink (N, 3, H, W) uint8 to int(size factor) and enlarge it again, both by the BOX filter."""
    height, width = levels.shape[-2:]
    size = (int(height * factor), int(width * factor))
    if native.applies(levels):
        planes = levels.flatten(0, 1)
        out = native.empty_like(planes)
        tables = [*_box_taps(height, size[0]), *_box_taps(width, size[1])]
        tables += [_nearest(size[0], height), _nearest(size[1], width)]
        native.run(native.kernel("pixelate", "pixelate"), len(planes), out, planes, *tables)
        return out.view_as(levels)
    levels = box_resize(levels, *size)
    for dim, wanted in ((-1, width), (-2, height)):
        levels = levels.index_select(dim, _nearest(levels.shape[dim], wanted).to(levels.device))
    return levels


def _nearest(before: int, after: int) -> Tensor:
    """Return which pixel each one is when BOX enlarges."""
    return _box_taps(before, after)[0][0]


def box_resize(levels: Tensor, height: int, width: int) -> Tensor:
    """Resize (..., H, W) uint8 as Pillow does with BOX: along rows, rounded, then along columns.

    Pillow 13 swaps the two where the height is over twice the width; there this may differ by a level.
    """
    levels = levels.int()
    for dim, size in ((-1, width), (-2, height)):
        if size != levels.shape[dim]:
            levels = _box_resize_axis(levels, size, dim)
    return levels.to(torch.uint8)


def _box_resize_axis(levels: Tensor, size: int, dim: int) -> Tensor:
    """Resize one axis; the sum of 8-bit levels times 22-bit weights fits into int32."""
    sources, weights = (table.to(levels.device) for table in _box_taps(levels.shape[dim], size))
    total: Tensor | int = 1 << (FIXED_POINT_BITS - 1)
    for source, weight in zip(sources, weights, strict=True):
        total = levels.index_select(dim, source) * (weight if dim == -1 else weight[:, None]) + total
    assert isinstance(total, Tensor)
    return total >> FIXED_POINT_BITS


@lru_cache(maxsize=64)
def _box_taps(before: int, after: int) -> tuple[Tensor, Tensor]:
    """Return (taps, after) source positions int64 and fixed-point weights int32 of Pillow's BOX filter."""
    scale = before / after
    width = max(scale, 1.0)
    shrink = 1.0 / width  # Pillow multiplies by it, which decides ties at the box's edge
    rows = []
    for place in range(after):
        centre = (place + 0.5) * scale
        first = max(int(centre - 0.5 * width + 0.5), 0)
        last = min(int(centre + 0.5 * width + 0.5), before)
        rows.append([s for s in range(first, last) if -0.5 < (s - centre + 0.5) * shrink <= 0.5])
    taps = max(map(len, rows))
    sources = torch.tensor([row + [0] * (taps - len(row)) for row in rows])
    weights = [
        [int(0.5 + (1 << FIXED_POINT_BITS) / len(row))] * len(row) + [0] * (taps - len(row)) for row in rows
    ]
    return sources.t().contiguous(), torch.tensor(weights, dtype=torch.int32).t().contiguous()


PIXELATE = Corruption("pixelate", "digital", pixelate, on_bytes=True)
