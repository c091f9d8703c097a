"""JPEG: libjpeg's bits, through libjpeg and in tensors."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pushpull.corruptions import SEVERITIES, jpeg


def picture(seed, height, width):
    """Smooth colours with noise of a random strength: coefficients of all sizes, and clipping."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))
    noise = rng.normal(0, rng.choice([0, 5, 60]), smooth.shape)
    return (smooth + noise).clip(0, 255).astype(np.uint8)


def through_pillow(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def as_levels(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize("scale", SEVERITIES)
@pytest.mark.parametrize("severity", range(5))
def test_jpeg_is_pillows_default(scale, severity):
    image = picture(severity, 25, 38)
    quality = SEVERITIES[scale]["jpeg_compression"][severity]
    ours = jpeg.jpeg_compression(as_levels(image), quality, None)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(ours, through_pillow(image, quality))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(16, 70),
    width=st.integers(16, 70),
    quality=st.integers(1, 100),
)
def test_tensors_give_libjpegs_bits(seed, height, width, quality):
    image = picture(seed, height, width)
    ours = jpeg.through_tensors(as_levels(image), quality)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(ours, through_pillow(image, quality))


def test_tensors_take_batches():
    images = [picture(seed, 40, 56) for seed in range(3)]
    ours = jpeg.through_tensors(torch.cat([as_levels(image) for image in images]), 15)
    for image, result in zip(images, ours, strict=True):
        np.testing.assert_array_equal(result.permute(1, 2, 0), through_pillow(image, 15))
