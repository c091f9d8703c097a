"""Digital corruptions and those of colour: contrast, brightness, saturation, pixelation, JPEG.

x is always (N, 3, H, W) float32 in [0, 1].
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pushpull.corruptions.severities import Saturate
from pushpull.corruptions.types import Corruption


def contrast(x: Tensor, factor: float, drawn: None) -> Tensor:
    """(x - mean) factor + mean, the mean of each channel of each image."""
    # In double precision: a float32 mean may depend on how the sum was split.
    mean = x.double().mean(dim=(2, 3), keepdim=True).float()
    return (x - mean) * factor + mean


def brightness(x: Tensor, added: float, drawn: None) -> Tensor:
    """Raise V of HSV (the largest channel) to min(V + added, 1) at fixed hue and saturation.

    At fixed hue and saturation the three channels are proportional to V, so this is one factor a pixel.
    """
    value = x.amax(dim=1, keepdim=True)
    raised = (value + added).clamp_(max=1.0)
    return torch.where(value > 0, x * (raised / value), raised)


def saturate(x: Tensor, params: Saturate, drawn: None) -> Tensor:
    """Set S of HSV to clip(gain S + offset, 0, 1) at fixed hue and value.

    At fixed hue and value a channel's distance below V is proportional to S = (V - min) / V. Grey pixels have
    no hue; the published program's conversion gives them 0, red.
    """
    value, least = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)
    spread = value - least
    saturation = torch.where(value > 0, spread / value, 0.0)
    changed = (params.gain * saturation + params.offset).clamp_(0.0, 1.0)
    coloured = value - (value - x) * (changed / saturation)
    red = torch.cat([value, *[value * (1.0 - changed)] * 2], dim=1)
    return torch.where(spread > 0, coloured, red)


_FIXED_POINT_BITS = 22  # Pillow's 32 - 8 - 2


def pixelate(x: Tensor, factor: float, drawn: None) -> Tensor:
    """Shrink to int(size factor) and enlarge again, both by Pillow's BOX filter in its 8-bit arithmetic."""
    height, width = x.shape[-2:]
    levels = (x * 255.0).round_().to(torch.int32)
    small = box_resize(levels, int(height * factor), int(width * factor))
    return box_resize(small, height, width) / 255.0


def box_resize(levels: Tensor, height: int, width: int) -> Tensor:
    """Resize (..., H, W) int32 levels as Pillow does with BOX: along rows, rounded, then along columns.

    Pillow 13 swaps the two where the height is over twice the width; there ours may differ by a level.
    """
    for dim, size in ((-1, width), (-2, height)):
        if size != levels.shape[dim]:
            levels = _box_resize_axis(levels, size, dim)
    return levels


def _box_resize_axis(levels: Tensor, size: int, dim: int) -> Tensor:
    """Resize one axis; the sum of 8-bit levels times 22-bit weights fits into int32."""
    sources, weights = (table.to(levels.device) for table in _box_taps(levels.shape[dim], size))
    total: Tensor | int = 1 << (_FIXED_POINT_BITS - 1)
    for source, weight in zip(sources, weights, strict=True):
        total = levels.index_select(dim, source) * (weight if dim == -1 else weight[:, None]) + total
    assert isinstance(total, Tensor)
    return total >> _FIXED_POINT_BITS


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
        [int(0.5 + (1 << _FIXED_POINT_BITS) / len(row))] * len(row) + [0] * (taps - len(row)) for row in rows
    ]
    return sources.t().contiguous(), torch.tensor(weights, dtype=torch.int32).t().contiguous()


def jpeg_compression(x: Tensor, quality: int, drawn: None) -> Tensor:
    """Encode as JPEG of `quality` with 4:2:0 chroma, and decode, by libjpeg (through Pillow).

    libjpeg takes one image at a time, on the CPU: the one loop over images among the corruptions.
    """
    levels = (x * 255.0).round_().to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    decoded = np.stack([_through_jpeg(image, quality) for image in levels])
    return torch.from_numpy(decoded).to(x.device).permute(0, 3, 1, 2).float() / 255.0


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode and decode one (H, W, 3) uint8 image."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


CONTRAST = Corruption("contrast", "digital", contrast)
BRIGHTNESS = Corruption("brightness", "weather", brightness)
SATURATE = Corruption("saturate", "digital", saturate)
PIXELATE = Corruption("pixelate", "digital", pixelate)
JPEG_COMPRESSION = Corruption("jpeg_compression", "digital", jpeg_compression)
