"""The counter-based generator: what it promises, and that its numbers look random."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pushpull.corruptions.random import Draws

COUNT = 1 << 18


def draws(index=(0,), seed=0, name="fog", severity=1):
    return Draws(torch.tensor(index), seed=seed, name=name, severity=severity)


def assert_uncorrelated(a, b):
    """Correlation, of the values and of their squares' deviations, within 5 standard errors of 0."""
    a, b = a.double().flatten() - 0.5, b.double().flatten() - 0.5
    for x, y in ((a, b), (a.square() - 1 / 12, b.square() - 1 / 12)):
        correlation = (x * y).mean() / (x.square().mean() * y.square().mean()).sqrt()
        assert abs(correlation) < 5 / math.sqrt(len(a))


def test_literal_values_stay():
    """Results depend on these numbers: another generator would change every corrupted image."""
    drawn = draws([3, 2**40], seed=7, name="snow", severity=2)
    assert drawn.integers(0, 1 << 20, 2).tolist() == [[622322, 735899], [990510, 646526]]
    torch.testing.assert_close(
        drawn.normal(2), torch.tensor([[0.97668, -0.25209], [-0.57194, 0.096724]]), atol=1e-5, rtol=0
    )


def test_image_is_independent_of_its_batch():
    whole = draws(range(5))
    parts = draws([0, 1]), draws([2, 3, 4])
    for kind in ("uniform", "normal"):
        together = getattr(whole, kind)(3, 5)
        assert torch.equal(together, torch.cat([getattr(part, kind)(3, 5) for part in parts]))


def test_prefix_of_a_stream_is_the_shorter_stream():
    assert torch.equal(draws().uniform(100)[:, :10], draws().uniform(10))


def test_global_state_is_untouched():
    before = torch.get_rng_state()
    draws().normal(10)
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_fills_the_open_interval_evenly():
    values = draws().uniform(COUNT).numpy().ravel()
    assert 0 < values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    observed = np.histogram(values, bins=1024, range=(0, 1))[0]
    assert stats.chisquare(observed).pvalue > 1e-4
    assert stats.kstest(values, "uniform").pvalue > 1e-4


def test_low_bits_are_uniform_too():
    bits = (draws().uniform(COUNT).double() * 2**23).long().numpy().ravel() & 255
    assert stats.chisquare(np.bincount(bits, minlength=256)).pvalue > 1e-4


def test_uniform_takes_its_limits():
    values = draws().uniform(COUNT, low=-45.0, high=45.0)
    assert -45 <= values.min() < -44.9
    assert 44.9 < values.max() <= 45


@pytest.mark.parametrize("lag", [1, 2, 3, 32, 1024])
def test_no_serial_correlation(lag):
    values = draws().uniform(COUNT)
    assert_uncorrelated(values[:, lag:], values[:, :-lag])


def test_pairs_fill_the_square():
    values = draws().uniform(COUNT).view(-1, 2).numpy()
    observed = np.histogram2d(values[:, 0], values[:, 1], bins=32, range=((0, 1), (0, 1)))[0]
    assert stats.chisquare(observed.ravel()).pvalue > 1e-4


@pytest.mark.parametrize(
    "other",
    [
        *({"index": [i]} for i in (1, 2, 255, 256, 2**31, 2**32, 2**40, -1)),
        *({"seed": seed} for seed in (1, 2, -1, 2**32, 2**63, 2**64 - 1)),
        {"severity": 2},
        {"name": "snow"},
    ],
    ids=str,
)
def test_other_keys_give_independent_numbers(other):
    assert_uncorrelated(draws().uniform(COUNT), draws(**other).uniform(COUNT))


def test_index_and_seed_do_not_trade_places():
    """Image 1 of seed 0 is not image 0 of seed 1, nor are shifted seeds shifted images."""
    values = {(i, s): draws([i], seed=s).uniform(64) for i in range(8) for s in range(8)}
    assert len({tuple(value.ravel().tolist()) for value in values.values()}) == 64


def test_the_streams_of_an_image_are_independent():
    drawn = draws()
    assert_uncorrelated(drawn.uniform(COUNT), drawn.uniform(COUNT))


def test_numbers_across_images_are_uniform():
    """The first number of each of many neighbouring images: what one random angle an image is made of."""
    values = draws(range(1 << 16)).uniform(2)
    for column in values.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-4
    assert_uncorrelated(values[1:, 0], values[:-1, 0])
    assert_uncorrelated(values[:, 0], values[:, 1])


@pytest.mark.parametrize("count", [COUNT, COUNT + 1])
def test_normal_has_the_normal_moments(count):
    values = draws().normal(count).double().ravel()
    assert len(values) == count
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10395 - 225)):
        assert abs(values.pow(power).mean() - moment) < 5 * math.sqrt(spread / count)
    assert stats.kstest(values.numpy(), "norm").pvalue > 1e-4


def test_the_two_normals_of_a_pair_are_independent():
    first, second = torch.special.ndtr(draws().normal(COUNT).double()).view(2, -1)
    assert_uncorrelated(first, second)


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-4, 4), (0, 64), (5, 6), (0, 1000)])
def test_integers_are_uniform(low, high):
    values = draws().integers(low, high, COUNT)
    assert values.dtype == torch.int64
    counts = np.bincount((values - low).numpy().ravel(), minlength=high - low)
    assert len(counts) == high - low
    if high - low > 1:
        assert stats.chisquare(counts).pvalue > 1e-4
