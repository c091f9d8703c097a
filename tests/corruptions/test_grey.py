"""Whole grey levels and what lies beside them."""

import numpy as np
import torch

from pushpull.corruptions import grey


def test_every_level_survives_the_way_through_floats():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(grey.truncate_to_bytes(levels.float() / 255), levels)


def test_bytes_are_truncated_and_clipped():
    x = torch.tensor([-0.1, 0.99 / 255, 1.5 / 255, 254.99 / 255, 1.2])
    assert grey.truncate_to_bytes(x).tolist() == [0, 0, 1, 254, 255]


def test_levels_in_double_are_numpys():
    levels = torch.arange(256, dtype=torch.uint8)
    ours = grey.in_double(grey.to_floats(levels))
    np.testing.assert_array_equal(ours, np.arange(256) / 255.0)
    between = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grey.in_double(between), between.double(), atol=1e-9, rtol=0)


def test_double_precision_decides_whole_levels():
    """k / 255 + 0.2 is 51 levels more, but for rounding: some of these sums fall short."""
    exact = np.minimum(np.arange(256) / 255.0 + 0.2, 1.0)
    expected = (exact * 255).astype(np.uint8)
    assert 10 < (expected != np.minimum(np.arange(256) + 51, 255)).sum() < 200
    ours = grey.truncate_to_bytes(grey.from_double(torch.from_numpy(exact)))
    np.testing.assert_array_equal(ours, expected)
