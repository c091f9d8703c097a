"""PRIME's primitives against slow versions, and their distributions against the formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from augment.made import pictures
from oracles import prime as oracle
from pushpull.augment import ImageDraws, prime
from pushpull.augment.batch import sample_mixture
from pushpull.augment.prime import PRIME, PRIMITIVES, primitive
from pushpull.random import Draws
from support import assert_near


def _draws(count, name="test", seed=0):
    return Draws(torch.arange(count), seed=seed, name=name, severity=0)


def _image_draws(count):
    return ImageDraws(torch.arange(count), "any")


def _floats(count, height=32, width=32, seed=0):
    return pictures(count, height, width, seed) / 255


# --- spectral


def test_the_filter_is_the_oracles():
    x = _floats(4, 13, 17)
    kernels = prime.sample_spectral(_draws(4))
    ours = prime.spectral_filter(x, kernels)
    theirs = [
        oracle.spectral(image, k)
        for image, k in zip(x.double().numpy(), kernels.double().numpy(), strict=True)
    ]
    assert_near(ours, torch.from_numpy(np.stack(theirs)), torch.float32)


def test_a_delta_alone_changes_nothing():
    x = _floats(2)
    kernel = torch.zeros(2, 3, 3)
    kernel[:, 1, 1] = 1
    assert torch.equal(prime.spectral_filter(x, kernel), x)


def test_the_filters_spectrum_is_flat_around_the_identity():
    """|K(f)|^2 has the mean 1 + 9 E[sigma^2] = 1 + 9 * 16 / 3 = 49 at every frequency."""
    count = 40_000
    kernels = prime.sample_spectral(_draws(count))
    power = torch.fft.fft2(kernels.double(), s=(8, 8)).abs().square()
    mean, error = power.mean(0), power.std(0) / math.sqrt(count)
    assert ((mean - 49).abs() < 5 * error).all()
    # sigma^2 of an image, from its taps less the delta, has the mean of U(0, 4)^2, and sigma is at most 4
    taps = kernels.clone()
    taps[:, 1, 1] -= 1
    assert abs(taps.square().mean() - 16 / 3) < 0.15
    # E[tap^4] = 3 E[sigma^4] = 3 * 4^4 / 5: were sigma one for all images, it would be 3 sigma^4
    assert abs(taps.pow(4).mean() / (3 * 256 / 5) - 1) < 0.05


# --- diffeomorphism


def test_the_displacement_is_the_oracles_where_all_modes_show():
    height, width, cut, temperature = 24, 30, 7, 1e-3
    coefficients = np.random.default_rng(0).standard_normal((2, cut, cut))
    modes = torch.zeros(1, 2, 8, 8)
    modes[0, :, :cut, :cut] = torch.from_numpy(coefficients)
    drawn = (torch.tensor([cut]), torch.tensor([temperature]), modes)
    ours = prime.displacement_px((height, width), 100, *drawn)
    theirs = np.stack([oracle.displacement(c, cut, temperature, height, width) for c in coefficients])
    assert_near(ours[0], torch.from_numpy(theirs), torch.float32)


@pytest.mark.parametrize(("cut", "size"), [(5, (20, 26)), (30, (12, 12)), (100, (16, 12)), (37, (32, 32))])
def test_the_displacements_variance_is_the_formulas_also_beyond_what_pixels_show(cut, size):
    """Exactly: the variance of a sum of independent modes is the sum of their squared waves."""
    counts = tuple(min(prime.mode_counts(torch.tensor([cut]), size).item(), side - 2) for side in size)
    temperature = 2e-3
    modes = torch.zeros(1, 2, *counts)
    variance = torch.zeros(size, dtype=torch.float64)
    for p in range(counts[0]):
        for q in range(counts[1]):
            modes.zero_()[0, 0, p, q] = 1
            drawn = (torch.tensor([cut]), torch.tensor([temperature]), modes)
            variance += prime.displacement_px(size, 100, *drawn)[0, 0].square()
    assert_near(
        variance.sqrt(), torch.from_numpy(oracle.displacement_rms(cut, temperature, *size)), torch.float32
    )


def test_drawn_displacements_have_the_formulas_root_mean_square():
    """And two pixels correlate as in fields made a mode at a time."""
    count, cut, size, temperature = 3000, 60, (32, 32), 1e-3
    modes = _draws(count).normal(2, 30, 30)
    drawn = (torch.full((count,), cut), torch.full((count,), temperature), modes)
    fields = prime.displacement_px(size, 100, *drawn)
    rms = torch.from_numpy(oracle.displacement_rms(cut, temperature, *size))
    inner = (slice(1, -1), slice(1, -1))
    ratio = (fields.square().mean((0, 1)).sqrt() / rms)[inner]
    assert (ratio - 1).abs().max() < 5 / math.sqrt(2 * 2 * count)
    assert abs(ratio.mean() - 1) < 0.01
    literal = np.stack(
        [
            oracle.displacement(c, 12, temperature, 16, 16)
            for c in np.random.default_rng(1).standard_normal((400, 12, 12))
        ]
    )
    modes = _draws(2000).normal(2, 14, 14)
    drawn = (torch.full((2000,), 12), torch.full((2000,), temperature), modes)
    ours = prime.displacement_px((16, 16), 100, *drawn)[:, 0].numpy()
    pairs = [((5, 5), (5, 6)), ((5, 5), (7, 5)), ((8, 8), (10, 10)), ((4, 9), (9, 4))]
    for first, second in pairs:
        theirs = np.corrcoef(literal[(slice(None), *first)], literal[(slice(None), *second)])[0, 1]
        mine = np.corrcoef(ours[(slice(None), *first)], ours[(slice(None), *second)])[0, 1]
        assert abs(np.arctanh(theirs) - np.arctanh(mine)) < 5 / math.sqrt(400)


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_cut_and_temperature_are_distributed_as_described(scale):
    count, size = 20_000, (32, 32) if scale == "cifar" else (224, 224)
    cut_max = PRIME[scale].warp_cut
    cut, temperature = prime.sample_strength(_draws(count), cut_max, size)
    generator = np.random.default_rng(0)
    highest = generator.integers(3, cut_max + 1, count)
    theirs = np.floor(2 + generator.beta(0.5, 0.5, count) * (highest - 1))
    assert cut.min() == 2
    assert cut.max() in (cut_max, cut_max - 1)
    # two discrete samples: the statistic's bound for continuous ones is conservative
    assert stats.ks_2samp(cut.numpy(), np.minimum(theirs, highest)).pvalue > 1e-4
    ranges = np.array([oracle.temperature_range(c, size[0]) for c in cut.tolist()])
    free = ranges[:, 1] > ranges[:, 0]
    place = (temperature.double().numpy() - ranges[:, 0])[free] / (ranges[:, 1] - ranges[:, 0])[free]
    assert stats.kstest(place, stats.beta(0.5, 0.5).cdf).pvalue > 1e-4
    np.testing.assert_allclose(temperature.numpy()[~free], ranges[~free, 0], rtol=1e-6)


def test_the_least_temperature_moves_a_pixel_by_about_half_a_pixel():
    """As Petrini et al. 2021 say of it, in the middle of the image, for many modes."""
    for cut in (10, 30):
        rms = oracle.displacement_rms(cut, oracle.temperature_range(cut, 64)[0], 64, 64)
        assert 0.3 < rms[32, 32] < 0.7


def test_warping_is_the_oracles():
    x = _floats(5, 20, 28)
    cut = torch.tensor([2, 3, 6, 8, 8])
    temperature = torch.tensor([0.02, 0.01, 0.002, 0.001, 0.05])  # the last leaves the image often
    drawn = (cut, temperature, _draws(5).normal(2, 8, 8))
    ours = prime.diffeomorphism(x, 15, *drawn)
    moved = prime.displacement_px((20, 28), 15, *drawn).numpy()
    theirs = [oracle.warp(image, *d) for image, d in zip(x.double().numpy(), moved, strict=True)]
    # A place in float32 is known to 2e-6 px, and neighbours differ by up to 1.
    assert (ours.double() - torch.from_numpy(np.stack(theirs))).abs().max() < 1e-5


# --- colour


def _drawn_colour(count, setting, name="colour"):
    return prime.sample_colour(_draws(count, name), setting)


def _their_colour(x, first, amplitude):
    rows = zip(x.numpy(), first.tolist(), amplitude.double().numpy(), strict=True)
    return torch.from_numpy(np.stack([oracle.colour(*row) for row in rows]))


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_the_colour_map_of_eight_bit_images_is_the_formulas(scale):
    x, setting = _floats(6, 16, 16), PRIME[scale]
    first, amplitude = _drawn_colour(6, setting)
    ours = prime.colour_map(x, setting, first, amplitude)
    theirs = _their_colour((x.double() * 255).round() / 255, first, amplitude)
    # x in float32 is known to 3e-8, times a slope of up to sum |a_k| pi k: a few hundred.
    assert (ours.double() - theirs).abs().max() < 3e-5


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_between_grey_levels_the_table_is_within_its_bound(scale):
    x = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    setting = PRIME[scale]
    first, amplitude = _drawn_colour(40, setting)
    ours = prime.colour_map(x, setting, first, amplitude)
    theirs = _their_colour(x.double(), first, amplitude)
    error = (ours.double() - theirs).abs().amax((2, 3))
    k = first[:, None, None] + torch.arange(amplitude.shape[2])
    bound = (amplitude.abs() * (math.pi * k) ** 2).sum(2) / (8 * (255 * setting.steps_per_level) ** 2)
    assert (error <= bound + 3e-5).all()
    # docs/augment.md says 0.13 and 0.04 grey levels, of more draws.
    assert (ours.double() - theirs).square().mean().sqrt() * 255 < 0.2


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_the_colour_maps_amplitude_is_the_temperatures(scale):
    """Over k = 1..cut uniform and T uniform, E[(f(x) - x)^2] = E[T] E[sum_k sin^2(pi k x)], at every x."""
    count, setting = 20_000, PRIME[scale]
    first, amplitude = _drawn_colour(count, setting)
    power = amplitude.double().square().sum(2)
    cuts = np.arange(1, setting.colour_cut + 1)
    if setting.band is None:
        number = cuts.mean()
    else:  # min(band, cut - first + 1), first uniform in 1..cut
        number = np.mean([np.minimum(setting.band, cut - np.arange(1, cut + 1) + 1).mean() for cut in cuts])
    expected = setting.temperature / 2 * number
    assert abs(power.mean() / expected - 1) < 0.04
    assert first.min() == 1
    assert (first.max() == 1) == (setting.band is None)
    values = prime.colour_table(setting._replace(steps_per_level=1), first, amplitude)[:2000]
    spread = (values.double() - torch.linspace(0, 1, 256, dtype=torch.float64))[:, :, 100]
    assert abs(spread.square().mean() / (power.mean() / 2) - 1) < 0.12  # sin^2 is 1/2 on average over k


# --- chains


def _literal(x, setting):
    """PRIME a chain at a time, from the same draws."""
    shares, steps = sample_mixture(_image_draws(len(x)), "prime", 3, 3, 3)
    result = []
    for n in range(len(x)):
        total = torch.zeros_like(x[n])
        for c in range(3):
            image = x[n : n + 1]
            for d in range(3):
                chosen = int(steps[n, c, d])
                if chosen < 0:
                    break
                own = ImageDraws(torch.tensor([(n * 3 + c) * 3 + d]), "any")
                image = primitive(image, PRIMITIVES[chosen], setting, own)
            total += shares[n, 1 + c] * image[0]
        result.append(shares[n, 0] * x[n] + total)
    return torch.stack(result), steps


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_prime_is_a_mixture_of_chains_of_its_primitives(scale):
    x = _floats(12, 20, 16)
    ours = prime.prime(x, _image_draws(12), scale)
    theirs, chosen = _literal(x, PRIME[scale])
    assert (ours - theirs).abs().max() < 1e-5
    assert ours.min() >= 0
    assert ours.max() <= 1
    assert {-1, 0, 1, 2} == set(chosen.unique().tolist())
    assert (chosen[..., 0] >= 0).all()
    assert ((chosen[..., 1] >= 0) | (chosen[..., 2] < 0)).all()


def test_the_mixtures_weights_are_beta_and_dirichlet():
    shares, chosen = sample_mixture(_image_draws(20_000), "any", 3, 3, 5)
    assert stats.kstest(shares[:, 0].numpy(), "uniform").pvalue > 1e-4
    assert torch.allclose(shares.sum(1), torch.ones(()))
    weights = shares[:, 1:] / shares[:, 1:].sum(1, keepdim=True)
    for chain in range(3):  # a part of Dirichlet(1, 1, 1) is Beta(1, 2)
        assert stats.kstest(weights[:, chain].numpy(), stats.beta(1, 2).cdf).pvalue > 1e-4
    depths = (chosen >= 0).sum(2).ravel()
    assert stats.chisquare(torch.bincount(depths)[1:].numpy()).pvalue > 1e-4
    steps = chosen[chosen >= 0]
    assert stats.chisquare(torch.bincount(steps).numpy()).pvalue > 1e-4


def test_an_images_chains_and_steps_draw_anew():
    same = _floats(1).expand(9, -1, -1, -1)
    steps = ImageDraws(7 * 9 + torch.arange(9), "any")
    for name in PRIMITIVES:
        results = primitive(same.contiguous(), name, PRIME["cifar"], steps)
        assert len({image.numpy().tobytes() for image in results}) == 9
