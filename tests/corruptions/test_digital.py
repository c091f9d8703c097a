"""Contrast, brightness, saturation, pixelation, JPEG: against Pillow and the textbook's HSV."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oracles import corruptions as oracles
from pushpull.corruptions import SEVERITIES, digital
from pushpull.corruptions.severities import Saturate


def colours():
    """Every mixture of seven levels, the greys, black and white among them: (1, 3, 19, 19), 361 pixels."""
    levels = torch.linspace(0, 1, 7)
    grid = torch.cartesian_prod(levels, levels, levels)
    return torch.cat([grid, grid[:18]]).t().reshape(1, 3, 19, 19)


def picture(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_batch(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def as_levels(batch):
    return (batch[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)


@pytest.mark.parametrize("added", [0.1, 0.3, 0.5])
def test_brightness_is_a_change_of_v(added):
    x = colours()
    expected = oracles.change_hsv(x[0].permute(1, 2, 0).double().numpy(), value=lambda v: v + added)
    ours = digital.brightness(x, added, None)[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("params", [Saturate(0.3, 0), Saturate(2, 0), Saturate(5, 0.1), Saturate(30, 0.2)])
def test_saturate_is_a_change_of_s(params):
    x = colours()
    expected = oracles.change_hsv(
        x[0].permute(1, 2, 0).double().numpy(), saturation=lambda s: s * params.gain + params.offset
    )
    ours = digital.saturate(x, params, None)[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_saturate_turns_grey_red():
    grey = torch.full((1, 3, 16, 16), 0.5)
    assert digital.saturate(grey, Saturate(5, 0.1), None)[0, :, 0, 0].tolist() == pytest.approx(
        [0.5, 0.45, 0.45]
    )


def test_contrast_shrinks_about_each_channels_mean():
    x = as_batch(picture(0, 17, 23))
    y = digital.contrast(x, 0.3, None)
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(y - y.mean((2, 3), keepdim=True), 0.3 * (x - x.mean((2, 3), keepdim=True)))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    factor=st.sampled_from([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.25]),
)
def test_pixelate_is_pillows_box_resize(seed, height, width, factor):
    height = min(height, 2 * width)  # taller images: Pillow 13 rounds between the passes in the other order
    image = picture(seed, height, width)
    small = Image.fromarray(image).resize((int(width * factor), int(height * factor)), Image.Resampling.BOX)
    expected = np.asarray(small.resize((width, height), Image.Resampling.BOX))
    np.testing.assert_array_equal(as_levels(digital.pixelate(as_batch(image), factor, None)), expected)


@pytest.mark.parametrize("scale", SEVERITIES)
@pytest.mark.parametrize("severity", range(5))
def test_jpeg_is_pillows_default(scale, severity):
    image = picture(severity, 25, 38)
    quality = SEVERITIES[scale]["jpeg_compression"][severity]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    ours = digital.jpeg_compression(as_batch(image), quality, None)
    np.testing.assert_array_equal(as_levels(ours), np.asarray(Image.open(file)))
