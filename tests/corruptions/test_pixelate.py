"""Pixelation, against Pillow, on the CPU and as it is on an accelerator."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pushpull.corruptions import geometry as pixelate


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    factor=st.sampled_from([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.25]),
)
def test_pixelate_is_pillows_box_resize(seed, height, width, factor):
    height = min(height, 2 * width)  # taller images: Pillow 13 rounds between the passes in the other order
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = Image.fromarray(image).resize((int(width * factor), int(height * factor)), Image.Resampling.BOX)
    expected = np.asarray(small.resize((width, height), Image.Resampling.BOX))
    levels = torch.from_numpy(image).permute(2, 0, 1)[None]
    ours = pixelate.pixelate(levels, factor, None)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(ours, expected)
    in_tensors = pixelate.box_resize(levels, small.height, small.width)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(in_tensors, np.asarray(small))


@pytest.mark.parametrize("size", [(16, 16), (33, 20), (224, 224)])
def test_levels_keep_their_type(size):
    levels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    ours = pixelate.pixelate(levels, 0.25, None)
    assert (ours.dtype, ours.shape) == (torch.uint8, levels.shape)
