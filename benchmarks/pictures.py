"""Pictures to measure on: photographs where there are some, else drawn ones; the table says which."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Pictures(NamedTuple):
    """A batch of pictures (N, 3, H, W) uint8 and what they are."""

    images: Tensor
    source: str


def pictures(data: Path, size: int, count: int) -> Pictures:
    """Return `count` pictures of size x size: the squares in the middle of the ImageNet sample, resized.

    Args:
        data: folder with `imagenet_sample/validation.parquet` (or that parquet file itself); without it the
            pictures are drawn.
        size: px. 224 is cut out of the stored pictures (256 px at the shorter side), other sizes are resized.
        count: wanted; the pictures are repeated where there are fewer.
    """
    file = data if data.suffix == ".parquet" else data / "imagenet_sample/validation.parquet"
    if not file.is_file():
        return Pictures(drawn(size, count), f"drawn pictures (no photographs under {data.name}/)")
    import pyarrow.parquet as pq

    # Each row group in turn would favour the first classes; every k-th row does not.
    column = pq.read_table(file, columns=["image"])["image"]
    step = max(1, len(column) // count)
    cells = column.take(list(range(0, len(column), step))[:count]).to_pylist()
    squares = [_square(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"), size) for cell in cells]
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    repeats = -(-count // len(images))
    how = "cut to" if size == 224 else "resized to"
    return Pictures(
        images.repeat(repeats, 1, 1, 1)[:count].contiguous(), f"ImageNet sample, {how} {size} x {size}"
    )


def _square(picture: Image.Image, size: int) -> np.ndarray:
    side = 224 if size == 224 else min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def drawn(size: int, count: int) -> Tensor:
    """Draw pictures with the spectrum of photographs: amplitude 1 / frequency, some contrast, edges."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.fft.rfft2(torch.randn(count, 3, size, size, generator=generator))
    rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    spectrum = spectrum / (rows.square() + columns.square()).sqrt().clamp(min=1 / size)
    field = torch.fft.irfft2(spectrum, s=(size, size))
    # Half of what a channel shows is common to all three: grey is commoner than colour.
    field = field + field.mean(1, keepdim=True)
    field = field / field.std(dim=(1, 2, 3), keepdim=True)
    return ((field * 0.22 + 0.45).clamp(0, 1) * 255).to(torch.uint8)
