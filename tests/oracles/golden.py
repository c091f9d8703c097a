"""What the original programs gave (shared/golden), and the images that they were given (shared/data)."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

SCALES = {32: "cifar", 224: "imagenet"}


@lru_cache
def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of <folder>/<name>.npz."""
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


@lru_cache
def images(data: Path, size: int) -> Tensor:
    """Return the images of the golden statistics, uint8: 1000 of CIFAR-10 (32), 50 of ImageNet (224)."""
    if size == 32:
        return load(data / "cifar10/test.parquet", "img", range(1000), size)
    return load(data / "imagenet_sample/validation.parquet", "image", range(0, 1000, 20), size)


def load(file: Path, column: str, rows: range, size: int) -> Tensor:
    """Return (N, 3, size, size) uint8: the centres of pictures of a parquet file."""
    cells = pq.read_table(file, columns=[column])[column].take(list(rows))
    pictures = [Image.open(io.BytesIO(cell["bytes"])).convert("RGB") for cell in cells.to_pylist()]
    crops = np.stack([_centre(np.asarray(picture), size) for picture in pictures])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


def _centre(picture: np.ndarray, size: int) -> np.ndarray:
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]
