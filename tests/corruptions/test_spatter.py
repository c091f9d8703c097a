"""spatter against OpenCV, part by part and whole, and against the published statistics."""

import cv2
import numpy as np
import pytest
import torch

from corruptions import fidelity
from oracles import spatter as oracle
from pushpull.corruptions import SEVERITIES, corrupt, filters, spatter
from pushpull.random import Draws
from support import needs_shared

WATER = [(scale, severity) for scale in ("imagenet", "cifar") for severity in (1, 2, 3)]
MUD = [(scale, severity) for scale in ("imagenet", "cifar") for severity in (4, 5)]
HEIGHT, WIDTH = 57, 84


def draws(count, name="test"):
    return Draws(torch.arange(count), seed=0, name=name, severity=1)


def liquids(scale, severity, count):
    """Return whole grey levels (count, H, W) as spatter makes them."""
    loc, spread, sigma_px, threshold, *_ = SEVERITIES[scale]["spatter"][severity - 1]
    field = draws(count).normal(HEIGHT, WIDTH) * spread + loc
    smooth = filters.gaussian_blur(field, sigma_px)
    return torch.where(smooth < threshold, 0.0, smooth * 255).floor().clamp(max=255)


@pytest.mark.parametrize(("scale", "severity"), WATER)
def test_canny_is_opencv_s(scale, severity):
    liquid = liquids(scale, severity, 12)
    ours = spatter.canny_edges(liquid).numpy()
    theirs = np.stack([oracle.edges(layer.astype(np.uint8)) for layer in liquid.numpy()])
    assert 0.005 < theirs.mean() < 0.4
    assert (ours != theirs).mean() < 1e-4


def test_canny_follows_a_weak_edge_as_far_as_it_reaches():
    # One step that fades from strong to weak: the weak part counts because it touches the strong.
    step = torch.linspace(100, 16, 84).round()
    image = torch.zeros(1, 40, 84)
    image[:, 20:] = step
    edges = spatter.canny_edges(image)
    assert edges[0, 19:21].any(0)[1:-1].all()
    # Without its strong part the weak part is no edge.
    assert not spatter.canny_edges(image[:, :, 64:]).any()


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.2])
def test_distance_is_opencv_s_chamfer(share):
    edges = draws(6).uniform(HEIGHT, WIDTH) < share
    ours = spatter.chamfer_distance(edges)
    means = spatter.mean3(ours).floor().numpy()
    for i, edge_map in enumerate(edges.numpy()):
        theirs = oracle.distance(edge_map)
        # 20 px are at most 14 diagonal steps, each up to 2^-16 longer.
        np.testing.assert_allclose(ours[i], theirs, atol=14 * 2.0**-16, rtol=0)
        np.testing.assert_array_equal(means[i], np.floor(cv2.blur(theirs, (3, 3))))


def test_distance_without_edges_is_the_cut():
    assert spatter.chamfer_distance(torch.zeros(1, 16, 16, dtype=torch.bool)).eq(20).all()


@pytest.mark.parametrize(("count", "height", "width"), [(4, HEIGHT, WIDTH), (400, 16, 16)])
def test_equalisation_is_opencv_s(count, height, width):
    """Also where a level falls between two whole ones, as it often does at 256 pixels."""
    levels = (draws(count).uniform(height, width) ** 2 * 21).floor()
    levels[3] = 7
    ours = spatter.equalise_levels(levels, 21).numpy()
    for i, layer in enumerate(levels.numpy().astype(np.uint8)):
        np.testing.assert_array_equal(ours[i], cv2.equalizeHist(layer))


@pytest.mark.parametrize(("scale", "severity"), WATER)
def test_water_is_the_description(scale, severity):
    params = SEVERITIES[scale]["spatter"][severity - 1]
    loc, spread, sigma_px, threshold, strength, _ = params
    x, noise = draws(6, "images").uniform(3, HEIGHT, WIDTH), draws(6).normal(HEIGHT, WIDTH)
    ours = spatter.spatter(x, params, noise).permute(0, 2, 3, 1).numpy()
    near = 0
    for i, image in enumerate(x.permute(0, 2, 3, 1).numpy()):
        field = noise[i].double().numpy() * spread + loc
        layer = oracle.liquid(field, sigma_px, threshold)
        difference = np.abs(ours[i] - oracle.water(image, layer, strength))
        near += (difference > 2 / 255).mean() < 0.02
    # One pixel whose grey level falls to the other side can move an edge, the histogram and so all levels.
    assert near >= 5


@pytest.mark.parametrize(("scale", "severity"), MUD)
def test_mud_is_the_description(scale, severity):
    params = SEVERITIES[scale]["spatter"][severity - 1]
    loc, spread, sigma_px, threshold, strength, _ = params
    x, noise = draws(3, "images").uniform(3, HEIGHT, WIDTH), draws(3).normal(HEIGHT, WIDTH)
    ours = spatter.spatter(x, params, noise).permute(0, 2, 3, 1).numpy()
    for i, image in enumerate(x.permute(0, 2, 3, 1).numpy()):
        field = noise[i].double().numpy() * spread + loc
        layer = oracle.liquid(field, sigma_px, threshold)
        theirs = oracle.mud(image, layer, threshold, strength)
        assert (np.abs(ours[i] - theirs) > 1e-5).mean() < 1e-3


def test_without_liquid_the_image_stays():
    x = draws(1, "images").uniform(3, 32, 32)
    dry = spatter.spatter(x, SEVERITIES["cifar"]["spatter"][0], torch.full((1, 32, 32), -5.0))
    assert torch.equal(dry, x)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_an_image_alone_is_the_image_in_a_batch(scale, severity):
    x = draws(5, "images").uniform(3, 33, 46)
    batch = corrupt(x, "spatter", severity, scale=scale, index=torch.arange(5))
    for i in (0, 3, 4):
        assert torch.equal(corrupt(x[i : i + 1], "spatter", severity, scale=scale, index=[i])[0], batch[i])


@needs_shared
@pytest.mark.parametrize("severity", range(1, 6))
def test_the_published_statistics(severity):
    fidelity.assert_same_distribution("spatter", 32, severity, count=300)
    fidelity.assert_same_distribution("spatter", 224, severity, count=12)
