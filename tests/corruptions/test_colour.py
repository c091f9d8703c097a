"""Contrast, brightness, saturation: against the textbook's HSV."""

import numpy as np
import pytest
import torch

from oracles import corruptions as oracles
from pushpull.corruptions import colour


def colours():
    """Every mixture of seven levels, the greys, black and white among them: (1, 3, 19, 19), 361 pixels."""
    levels = torch.linspace(0, 1, 7)
    grid = torch.cartesian_prod(levels, levels, levels)
    return torch.cat([grid, grid[:18]]).t().reshape(1, 3, 19, 19)


@pytest.mark.parametrize("added", [0.1, 0.3, 0.5])
def test_brightness_is_a_change_of_v(added):
    x = colours()
    expected = oracles.change_hsv(x[0].permute(1, 2, 0).double().numpy(), value=lambda v: v + added)
    ours = colour.brightness(x, added, None)[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("params", [(0.3, 0), (2, 0), (5, 0.1), (30, 0.2)])
def test_saturate_is_a_change_of_s(params):
    x = colours()
    expected = oracles.change_hsv(
        x[0].permute(1, 2, 0).double().numpy(), saturation=lambda s: s * params[0] + params[1]
    )
    ours = colour.saturate(x, params, None)[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_saturate_turns_grey_red():
    grey = torch.full((1, 3, 16, 16), 0.5)
    assert colour.saturate(grey, (5, 0.1), None)[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.45, 0.45])


def test_contrast_shrinks_about_each_channels_mean():
    x = torch.rand(1, 3, 17, 23, generator=torch.Generator().manual_seed(0))
    y = colour.contrast(x, 0.3, None)
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(y - y.mean((2, 3), keepdim=True), 0.3 * (x - x.mean((2, 3), keepdim=True)))
