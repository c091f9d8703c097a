"""Noise: distributions against scipy's, and the exactness of the Poisson tables."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pushpull.corruptions import SEVERITIES, corrupt
from pushpull.corruptions.noise import alias_tables, impulse_noise, shot_noise

PHOTONS = sorted({photons for scale in SEVERITIES.values() for photons in scale["shot_noise"]})


def grey(level, count=64, size=64):
    return torch.full((count, 3, size, size), level, dtype=torch.uint8)


def corrupt_float(images, name, severity=3):
    index = range(len(images))
    return corrupt(images.double().div(255).float(), name, severity, index=index, quantize=False)


@pytest.mark.parametrize("photons", PHOTONS)
def test_alias_tables_hold_the_poisson_law(photons):
    first, cells = alias_tables(photons)
    keep, alias = (cells >> 12) / 65536.0, (cells & 4095).long()
    width = cells.shape[1]
    mass = keep.double().scatter_add(1, alias, 1.0 - keep.double()) / width
    counts = first[:, None] + torch.arange(width)
    exact = stats.poisson.pmf(counts.numpy(), np.arange(256)[:, None] * photons / 255)
    # 16 bits a column, shared among the columns, and each count may be the alias of several.
    np.testing.assert_allclose(mass.numpy(), exact, atol=width * 2.0**-17 / width)


@pytest.mark.parametrize("level", [0, 1, 60, 127.5, 200.25, 255])
@pytest.mark.parametrize("photons", [3.0, 60.0, 500.0])
def test_shot_noise_is_poisson(photons, level):
    uniform = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x = torch.full((2, 3, 64, 64), level / 255)
    counts = (shot_noise(x, photons, tuple_of(uniform)) * photons).round().long().flatten().numpy()
    mean = photons * level / 255
    exact = stats.poisson.pmf(np.arange(counts.max() + 2), mean)
    kept = exact * len(counts) > 5
    if kept.sum() < 2:
        assert set(counts) == {0}
        return
    observed = np.bincount(counts, minlength=len(exact))
    rest = len(counts) - observed[kept].sum()
    expected_rest = max(len(counts) * (1 - exact[kept].sum()), 1e-9)
    observed, expected = np.append(observed[kept], rest), np.append(exact[kept] * len(counts), expected_rest)
    if expected_rest < 1:
        assert rest <= 20
        observed, expected = observed[:-1], expected[:-1] * observed[:-1].sum() / expected[:-1].sum()
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


def tuple_of(uniform):
    from pushpull.corruptions.noise import ShotDraws

    return ShotDraws(uniform[0], uniform[1])


def test_shot_noise_treats_bytes_and_equal_floats_alike():
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    ours = corrupt_float(images, "shot_noise")
    assert torch.equal(corrupt(images, "shot_noise", 3, index=[0]), (ours * 255 + 2**-11).to(torch.uint8))


@pytest.mark.parametrize(
    ("name", "level", "spread"), [("gaussian_noise", 128, 0.18), ("speckle_noise", 51, 0.07)]
)
def test_noise_has_the_stated_spread(name, level, spread):
    """Severity 3 at 224: .18, and .35 times a fifth; grey levels at which hardly a value is clipped."""
    noise = corrupt_float(grey(level), name).double() - level / 255
    count = noise.numel()
    assert abs(noise.mean()) < 5 * spread / math.sqrt(count) + 1e-3
    assert abs(noise.std() / spread - 1) < 0.01
    flat = noise[:, 0].flatten() - noise.mean()
    assert abs((flat * (noise[:, 1].flatten() - noise.mean())).mean() / spread**2) < 5 / math.sqrt(len(flat))


def test_impulse_noise_hits_values_and_halves_them():
    result = corrupt(grey(100), "impulse_noise", 3, index=range(64))
    count, share = result.numel(), 0.09
    for level in (0, 255):
        hits = (result == level).double()
        assert abs(hits.mean() - share / 2) < 5 * math.sqrt(share / 2 / count)
    hit = result != 100
    assert abs((hit[:, 0] & hit[:, 1]).double().mean() - share**2) < 0.002
    assert ((result == 0) | (result == 255) | (result == 100)).all()


def test_impulse_noise_by_hand():
    x = torch.full((1, 3, 1, 1), 0.5)
    uniform = torch.tensor([0.04, 0.5, 0.96]).view(1, 3, 1, 1)
    assert impulse_noise(x, 0.1, uniform).flatten().tolist() == [0.0, 0.5, 1.0]
