"""Blurs against slow oracles, on non-square images."""

import cv2
import numpy as np
import pytest
import torch

from oracles import corruptions as oracles
from pushpull.corruptions import SEVERITIES, blur, corrupt
from pushpull.corruptions.registry import Canvas
from pushpull.random import Draws

SIZES = [(16, 16), (37, 50)]
ALL = [(scale, severity) for scale in SEVERITIES for severity in range(5)]


def batch(height, width, count=2):
    noise = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))
    # Neighbours resemble each other, as in photographs, with some steps of full contrast (not to white: a
    # blur of all ones is 1 or just under it, a level apart after truncation).
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).sub(0.5).mul(4).add(0.5).clamp(0, 0.99)


def planes_last(x):
    return x.permute(0, 2, 3, 1).numpy().astype(np.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scale", "severity"), ALL)
def test_gaussian_blur(scale, severity, size):
    sigma = SEVERITIES[scale]["gaussian_blur"][severity]
    x = batch(*size)
    expected = np.stack([oracles.gaussian_blur(image, sigma) for image in planes_last(x)])
    np.testing.assert_allclose(planes_last(blur.gaussian_blur(x, sigma, None)), expected, atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scale", "severity"), ALL)
def test_defocus_blur(scale, severity, size):
    params = SEVERITIES[scale]["defocus_blur"][severity]
    x = batch(*size)
    expected = np.stack([oracles.defocus_blur(image, *params) for image in planes_last(x)])
    np.testing.assert_allclose(planes_last(blur.defocus_blur(x, params, None)), expected, atol=3e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scale", "severity"), ALL)
def test_glass_blur(scale, severity, size):
    params = SEVERITIES[scale]["glass_blur"][severity]
    x = batch(*size).mul(255).round().div(255)
    drawn = blur.sample_glass_blur(draws(2, "glass_blur"), params, Canvas(*x.shape[2:]))
    sigma_px, delta, _ = params
    result = planes_last(blur.glass_blur(x, params, drawn))
    offsets_of_all = torch.stack(drawn, dim=-1).numpy()
    for image, offsets, ours in zip(planes_last(x), offsets_of_all, result, strict=True):
        assert offsets.min() == -delta
        assert offsets.max() == delta - 1
        offsets = np.pad(offsets, ((0, 0), (delta + 1, delta - 1), (delta + 1, delta - 1), (0, 0)))
        expected = oracles.glass_blur(image, sigma_px, delta, offsets)
        # Truncation to 8 bits in between may differ by a level where float32 and float64 straddle one; the
        # second blur spreads such a pixel over a few hundred values.
        assert np.abs(ours - expected).max() < 1.1 / 255
        assert (np.abs(ours - expected) < 1e-5).mean() > 0.95


@pytest.mark.parametrize("delta", [1, 2, 4])
def test_glass_scan_follows_the_published_order(delta):
    """With chains of many forward steps, made on purpose: in eight columns every pixel takes the next."""
    height, width = 24, 20
    generator = torch.Generator().manual_seed(1)
    inner = (3, height - 2 * delta, width - 2 * delta)
    down, right = torch.randint(-delta, delta, (2, *inner), generator=generator)
    if delta > 1:
        down[:, :, 2:10], right[:, :, 2:10] = 0, 1
    numbers = np.arange(height * width).reshape(height, width)
    sources = blur.scan_sources(down * width + right, delta, height, width).view(3, height, width)
    for offsets, source in zip(torch.stack([down, right], -1).numpy(), sources.numpy(), strict=True):
        offsets = np.pad(offsets, ((delta + 1, delta - 1), (delta + 1, delta - 1), (0, 0)))
        np.testing.assert_array_equal(
            oracles.glass_scan(numbers[..., None] + [0], offsets, delta)[..., 0], source
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scale", "severity"), ALL)
def test_motion_blur(scale, severity, size):
    params = SEVERITIES[scale]["motion_blur"][severity]
    angles = torch.tensor([-45.0, -31.7, 0.0, 12.3, 45.0, -100.0, 170.0])
    x = batch(*size, count=len(angles))
    ours = planes_last(blur.motion_blur(x, params, angles))
    for image, angle, mine in zip(planes_last(x), angles.tolist(), ours, strict=True):
        expected = oracles.motion_blur(image, *params, angle)
        # A sum within 1e-3 of a level may fall to either side.
        assert np.abs(mine - expected).max() < 1.01 / 255
        assert (np.abs(mine - expected) < 1e-6).mean() > 0.995


def test_motion_blur_goes_to_one_side():
    """At 0 degrees a point is smeared to the left of where it was: y(c) reads x(c + i)."""
    x = torch.zeros(1, 3, 32, 32)
    x[..., 16, 20] = 1.0
    line = blur.motion_blur_apply(x, 4, 2.0, torch.tensor([0.0]))[0, 0, 16]
    assert line[21:].max() == 0
    kernel = torch.tensor(blur.motion_kernel(4, 2.0)).mul(255).floor()
    torch.testing.assert_close(line[12:21].flip(0) * 255, kernel)


@pytest.mark.parametrize("size", [(37, 50), (224, 224)])
@pytest.mark.parametrize("name", ["gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"])
def test_flat_images_keep_their_level(name, size):
    """After truncation to bytes too: no error, of the FFT or of a sum of weights, may lose a level."""
    levels = torch.tensor([0, 1, 2, 77, 128, 200, 254, 255], dtype=torch.uint8)[:, None, None, None]
    x = levels.expand(-1, 3, *size)
    for severity in (1, 3, 5):
        assert torch.equal(corrupt(x, name, severity, index=range(8)), x)


@pytest.mark.parametrize(("severity", "level"), [(1, 199), (2, 199), (3, 199), (4, 202), (5, 202)])
def test_defocus_of_flat_images_is_the_published_kernels_sum(severity, level):
    """A hair under 1 up to severity 3; over it, 1.013 and 1.011, where the disk meets its grid's border."""
    x = torch.full((1, 3, 40, 40), 200, dtype=torch.uint8)
    assert corrupt(x, "defocus_blur", severity, index=[0]).unique().tolist() == [level]


@pytest.mark.parametrize("size", [(32, 32), (37, 50), (64, 64)])
@pytest.mark.parametrize(("scale", "severity"), ALL)
def test_zoom_blur(scale, severity, size):
    params = SEVERITIES[scale]["zoom_blur"][severity]
    x = batch(*size)
    expected = np.stack([oracles.zoom_blur(image, *params) for image in planes_last(x)])
    np.testing.assert_allclose(planes_last(blur.zoom_blur(x, params, None)), expected, atol=2e-5)


def test_disk_kernel_is_opencvs():
    rows, columns = np.mgrid[-10:11, -10:11]
    disk = (rows**2 + columns**2 <= 100).astype(np.float32)
    expected = cv2.GaussianBlur(disk / disk.sum(), (5, 5), 0.5)
    np.testing.assert_allclose(blur.disk_kernel(10, 0.5), expected, atol=1e-8)


def draws(count, name):
    return Draws(torch.arange(count), seed=0, name=name, severity=1)


def test_nearly_white_is_not_white():
    """sigma .4 reaches 2 pixels, the corner with a weight of 1e-11, and the published program tells it."""
    images = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    images[..., 8, 8] = 250
    result = corrupt(images, "gaussian_blur", 1, scale="cifar", index=[0])
    assert (result[..., 6:11, 6:11] < 255).all()
    assert (result < 255).sum() == 3 * 25


@pytest.mark.parametrize("scale", ["cifar", "tiny"])
@pytest.mark.parametrize("severity", range(1, 5))
def test_small_disks_keep_flat_areas(scale, severity):
    levels = torch.tensor([1, 77, 254, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 20, 20)
    assert torch.equal(corrupt(levels, "defocus_blur", severity, scale=scale, index=range(4)), levels)
