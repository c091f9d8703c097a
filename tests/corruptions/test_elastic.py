"""elastic_transform against OpenCV and scipy on the same random numbers; and the published statistics."""

import numpy as np
import pytest
import torch

from corruptions import fidelity
from oracles import elastic as oracle
from pushpull.corruptions import SEVERITIES, corrupt
from pushpull.corruptions.geometry import (
    ElasticDraws,
    elastic_transform,
    inverse_affine,
    sample_elastic,
)
from pushpull.corruptions.registry import Canvas
from pushpull.random import Draws
from support import needs_shared


def draws(count=2, name="test"):
    return Draws(torch.arange(count), seed=0, name=name, severity=1)


def smooth_images(count, height, width):
    rows, columns = torch.arange(height)[:, None] / 5, torch.arange(width) / 7
    phase = draws(count, "images").uniform(3, 1, 1, high=6.0)
    return 0.5 + 0.4 * torch.sin(rows + phase) * torch.cos(columns - phase)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 75), (80, 40)])
@pytest.mark.parametrize("affine_px", [2.0, 6.0])
def test_the_affine_part_is_opencv_s(height, width, affine_px):
    x = smooth_images(3, height, width)
    params = (0.0, 0.0, affine_px)
    drawn = sample_elastic(draws(3), params, Canvas(*x.shape[2:]))
    assert drawn.noise is None
    ours = elastic_transform(x, params, drawn).permute(0, 2, 3, 1).numpy()
    for i, image in enumerate(x.permute(0, 2, 3, 1).numpy()):
        theirs = oracle.affine(image, drawn.corners_px[i].numpy())
        # OpenCV may round positions to 1/32 pixel.
        np.testing.assert_allclose(ours[i], theirs, atol=0.012)
        assert np.abs(ours[i] - theirs).mean() < 2e-3


@pytest.mark.parametrize("params", [(488, 170.8, 0), (30, 2.44, 0), (3.2, 0.96, 0)])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 61)])
def test_the_displacement_is_scipy_s_also_beyond_the_edges(params, height, width):
    x = smooth_images(2, height, width)
    drawn = ElasticDraws(torch.zeros(2, 3, 2), draws().uniform(2, height, width, low=-1.0))
    ours = elastic_transform(x, params, drawn).permute(0, 2, 3, 1).numpy()
    for i, image in enumerate(x.permute(0, 2, 3, 1).double().numpy()):
        theirs = oracle.displace(image, drawn.noise[i].double().numpy(), *params[:2])
        np.testing.assert_allclose(ours[i], theirs, atol=1e-4)


def test_nothing_moves_without_moves():
    x = smooth_images(2, 20, 30)
    still = elastic_transform(x, (0.0, 0.0, 1.0), ElasticDraws(torch.zeros(2, 3, 2), None))
    torch.testing.assert_close(still, x)


def test_a_common_move_of_the_three_points_shifts_the_image():
    x = smooth_images(1, 24, 36)
    moves = torch.tensor([3.0, -2.0]).expand(1, 3, 2)
    moved = elastic_transform(x, (0.0, 0.0, 5.0), ElasticDraws(moves, None))
    torch.testing.assert_close(moved[:, :, :-2, 3:], x[:, :, 2:, :-3])


def test_inverse_affine_takes_the_moved_points_back():
    moves = draws(5).uniform(3, 2, low=-8.0, high=8.0)
    points = torch.tensor([[20 + 10, 16 + 10], [20 + 10, 16 - 10], [20 - 10, 16 - 10]], dtype=torch.float64)
    moved = torch.cat([points + moves, torch.ones(5, 3, 1)], dim=2)
    torch.testing.assert_close((inverse_affine(moves, 32, 40) @ moved.mT).mT, points.expand(5, 3, 2))


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("scale", SEVERITIES)
def test_an_image_alone_is_the_image_in_a_batch(scale, severity):
    x = smooth_images(5, 33, 46)
    batch = corrupt(x, "elastic_transform", severity, scale=scale, index=torch.arange(5))
    for i in (0, 3, 4):
        alone = corrupt(x[i : i + 1], "elastic_transform", severity, scale=scale, index=[i])
        assert torch.equal(alone[0], batch[i])


@needs_shared
@pytest.mark.parametrize("severity", range(1, 6))
def test_the_published_statistics(severity):
    fidelity.assert_same_distribution("elastic_transform", 32, severity, count=300)
    fidelity.assert_same_distribution("elastic_transform", 224, severity, count=12)
