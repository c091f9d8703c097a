"""jpeg_compression, and JPEG after any other corruption."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pushpull.corruptions import jpeg_tensors
from pushpull.corruptions.registry import nothing_random, register_corruption


@register_corruption(
    "jpeg_compression",
    family="digital",
    severities={
        "imagenet": (25, 18, 15, 10, 7),
        "cifar": (80, 65, 58, 50, 40),
        "tiny": (65, 58, 50, 40, 25),
    },
    sample=nothing_random,
    on_bytes=True,
)
def jpeg_compression(levels: Tensor, quality: int, drawn: None = None) -> Tensor:
    """Encode (N, 3, H, W) uint8 as JPEG of `quality` with 4:2:0 chroma, and decode it."""
    if levels.device.type != "cpu":
        return jpeg_tensors.jpeg(levels, quality)
    # libjpeg takes one image at a time; on a CPU it is many times as fast as tensors, with the same bits.
    decoded = torch.empty_like(levels)
    for image, result in zip(levels.numpy(), decoded.numpy(), strict=True):
        _through_libjpeg(image, quality, result)
    return decoded


def _through_libjpeg(image: np.ndarray, quality: int, result: np.ndarray) -> None:
    """Encode one (3, H, W) uint8 image and decode it into `result`."""
    file = io.BytesIO()
    # Pillow puts planes together, and apart, in a third of the time of a transposition in numpy.
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in image])
    picture.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    for plane, decoded in zip(result, Image.open(file).split(), strict=True):
        plane[...] = decoded
