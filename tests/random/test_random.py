"""The counter-based generator: what it promises, and that its numbers look random.

Level of each statistical assertion: `randomness.LEVEL`, 1e-5, two-sided, shared by its p-values (Bonferroni).
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import randomness
from pushpull.corruptions import REGISTRY
from pushpull.random import Draws
from randomness import BITS, assert_plausible, words

COUNT = 1 << 17
IMAGES = 1 << 17
SEEDS = 1 << 9


def draws(index=(0,), seed=0, name="fog", severity=1):
    return Draws(torch.as_tensor(index), seed=seed, name=name, severity=severity)


def stream(number, count=COUNT, **key):
    """Words of stream `number` (1, 2, ...) of one image."""
    drawn = draws(**key)
    for _ in range(number - 1):
        drawn.uniform(1)
    return words(drawn.uniform(count)).ravel()


def along_images(index, position, number=1):
    """One position of one stream, image after image: what one random angle an image is made of."""
    drawn = draws(torch.as_tensor(index))
    for _ in range(number - 1):
        drawn.uniform(1)
    return words(drawn.uniform(position + 1)[:, position])


def along_seeds(seeds, positions=32):
    """The first positions, each seed after seed."""
    return torch.cat([words(draws(seed=seed).uniform(positions)) for seed in seeds]).T.reshape(-1)


# --- What it promises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])
def test_image_is_independent_of_its_batch(kind):
    def draw(index):
        drawn = draws(index, seed=3, name="snow", severity=4)
        shapes = ((), (7,), (3, 5))
        return [getattr(drawn, kind)(*((0, 9) if kind == "integers" else ()), *shape) for shape in shapes]

    index = [0, 1, 2**40, -1, 5, 1]
    whole = draw(index)
    order = [4, 0, 3, 5, 1, 2]
    for number, together in enumerate(whole):
        assert together.shape[0] == len(index)
        assert torch.equal(together[1], together[5])
        assert torch.equal(together[order], draw([index[i] for i in order])[number])
        assert torch.equal(together, torch.cat([draw([i])[number] for i in index]))


def test_prefix_of_a_stream_is_the_shorter_stream():
    assert torch.equal(draws().uniform(100)[:, :10], draws().uniform(10))


def test_global_state_is_untouched():
    before = torch.get_rng_state()
    drawn = draws()
    drawn.normal(10), drawn.uniform(10), drawn.integers(0, 5, 10)
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_lies_in_the_open_interval_on_its_grid():
    values = draws(range(8)).uniform(COUNT // 8)
    assert values.dtype == torch.float32
    assert 0 < values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    assert torch.equal(((words(values).double() + 0.5) / 2**BITS).float(), values)


def test_uniform_takes_its_limits():
    values = draws().uniform(COUNT, low=-45.0, high=45.0)
    assert -45 <= values.min() < -44.9
    assert 44.9 < values.max() <= 45


def test_index_and_seed_do_not_trade_places():
    """Image 1 of seed 0 is not image 0 of seed 1, nor are shifted seeds shifted images."""
    values = {(i, s): draws([i], seed=s).uniform(64) for i in range(-8, 8) for s in range(-8, 8)}
    assert len({tuple(value.ravel().tolist()) for value in values.values()}) == 256


# --- One sequence: uniform, without memory --------------------------------------------------------------

ONE_IMAGE = {
    "first stream": {"number": 1},
    "second stream": {"number": 2},
    "ninth stream": {"number": 9},
    "another image": {"number": 1, "index": [50_000]},
    "a random identity": {"number": 1, "index": [2_718_281_828_459_045_235]},
    "another seed": {"number": 1, "seed": 1},
    "another corruption": {"number": 2, "name": "gaussian_noise", "severity": 5, "index": [7]},
}


@pytest.mark.parametrize("key", ONE_IMAGE.values(), ids=ONE_IMAGE)
def test_numbers_of_an_image(key):
    assert_plausible(randomness.battery(stream(**key)))


@pytest.mark.parametrize("step", [32, 224, 256, 1024])
def test_numbers_of_an_image_down_a_column(step):
    """Every `step`-th number: a column of a noise field; a weak mix of the counter's high bits shows here."""
    assert_plausible(randomness.battery(stream(1, count=step << 12)[::step]))


NUMBERS = torch.arange(IMAGES)
INDICES = {
    "consecutive": NUMBERS,
    "negative": -1 - NUMBERS,
    "by 16": NUMBERS * 16,
    "by 1000": NUMBERS * 1000,
    "by 2^20": NUMBERS << 20,
    "by 2^32": NUMBERS << 32,
    "by 2^45": NUMBERS << 45,
    "bit-reversed": sum(((NUMBERS >> bit) & 1) << (62 - bit) for bit in range(17)),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_first_number_of_each_image(index):
    assert_plausible(randomness.battery(along_images(index, 0)))


@pytest.mark.parametrize(("position", "number"), [(1, 1), (63, 1), (0, 2), (5, 4)])
def test_any_number_of_each_image(position, number):
    assert_plausible(randomness.battery(along_images(NUMBERS, position, number)))


@pytest.mark.parametrize("step", [1, -1, 2**16, 2**32, 2**52])
def test_one_number_over_seeds(step):
    assert_plausible(randomness.battery(along_seeds(range(0, SEEDS * step, step))))


def test_image_after_image():
    """The numbers as they fill a batch of 32 x 32 fields: correlations across the border of images too."""
    assert_plausible(randomness.battery(words(draws(range(256)).uniform(1024)).ravel()))


# --- Two sequences: keys ----------------------------------------------------------------------------------


def assert_independent(first, second):
    """Bits against bits, values against values, in place and at every shift."""
    found = {"bits": randomness.bit_pairs(first, second), "xor": randomness.bit_balance(first ^ second)}
    found["any shift"] = randomness.every_shift(first, second)
    assert_plausible(found | randomness.correlations(first, second))


ONE_BIT = 1 << 13


def test_avalanche_of_the_index():
    """Indices that differ in one bit, each of the 63, around small, large and negative ones."""
    for base in (0, 12_345, 2**61 + 99, -7):
        index = [base] + [base ^ (1 << bit) for bit in range(63)]
        rows = words(draws(index).uniform(ONE_BIT))
        assert_plausible({str(bit): randomness.bit_balance(rows[0] ^ rows[bit + 1]) for bit in range(63)})
        assert_plausible({str(bit): randomness.every_shift(rows[0], rows[bit + 1]) for bit in range(63)})
        assert_plausible(randomness.every_pair(rows))


def test_avalanche_of_the_seed():
    for base in (0, 12_345):
        rows = [stream(1, ONE_BIT, seed=base)]
        rows += [stream(1, ONE_BIT, seed=base ^ (1 << bit)) for bit in range(64)]
        assert_plausible({str(bit): randomness.bit_balance(rows[0] ^ rows[bit + 1]) for bit in range(64)})
        assert_plausible({str(bit): randomness.every_shift(rows[0], rows[bit + 1]) for bit in range(64)})
        assert_plausible(randomness.every_pair(torch.stack(rows)))


def test_avalanche_of_single_numbers():
    """Over images i and i ^ 2^bit, the same position: each bit of it flips for half of the pairs."""
    images = NUMBERS[: IMAGES // 8]
    base = words(draws(images).uniform(8))
    found = {}
    for bit in range(63):
        other = words(draws(images ^ (1 << bit)).uniform(8))
        once = (images >> bit) & 1 == 0  # where both are among the images, the pair counts once
        for position in (0, 7):
            flips = (base ^ other)[once, position]
            found[f"bit {bit}, position {position}"] = randomness.bit_balance(flips)
    assert_plausible(found)


@pytest.mark.parametrize(
    "other",
    [
        *({"index": [i]} for i in (1, 2, 3, 255, 256, 2**31, 2**32, -1)),
        *({"seed": seed} for seed in (1, 2, -1, 2**32, 2**63, 2**64 - 1)),
        {"severity": 2},
        {"severity": 5},
        {"name": "snow"},
        {"index": [1], "seed": -1},
        {"seed": 1, "severity": 2},
    ],
    ids=str,
)
def test_other_keys_give_independent_numbers(other):
    assert_independent(stream(1), stream(1, **other))


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 3), (1, 3), (1, 5), (8, 9)])
def test_streams_of_an_image_are_independent(first, second):
    assert_independent(stream(first), stream(second))


@pytest.mark.parametrize("index", [NUMBERS, NUMBERS << 32], ids=["consecutive", "by 2^32"])
def test_streams_are_independent_image_by_image(index):
    assert_independent(along_images(index, 0, 1), along_images(index, 0, 2))


def test_every_pair_of_neighbouring_images():
    for start in (0, 10**6):
        assert_plausible(randomness.every_pair(words(draws(range(start, start + 512)).uniform(4096))))


def test_every_pair_of_positions_along_images():
    assert_plausible(randomness.every_pair(words(draws(range(1 << 14)).uniform(256)).T))
    assert_plausible(randomness.every_pair(words(draws(torch.arange(1 << 14) << 30).uniform(256)).T))


def test_every_pair_of_corruptions_and_severities():
    keys = [(name, severity) for name in REGISTRY for severity in range(1, 6)]
    rows = [stream(1, 4096, name=name, severity=severity) for name, severity in keys]
    assert_plausible(randomness.every_pair(torch.stack(rows)))


def test_every_pair_of_streams_and_seeds():
    rows = [stream(number, 4096, seed=seed) for number in range(1, 9) for seed in range(16)]
    assert_plausible(randomness.every_pair(torch.stack(rows)))


@pytest.mark.parametrize(
    ("index", "count"), [(range(1 << 13), 1 << 9), (range(26), 3 * 224 * 224), (range(1 << 17), 32)], ids=str
)
def test_no_two_images_share_a_run_of_numbers(index, count):
    """Streams may not be pieces of one another: three successive numbers (69 bits) are never met twice.

    Among 4 million runs a perfect generator repeats one with the chance 2^-26; one that walks through 2^32
    states, each image from its own start, repeats 2,000.
    """
    found = words(draws(index).uniform(count))
    runs = torch.stack([found[:, :-2], found[:, 1:-1], found[:, 2:]], dim=-1).view(-1, 3)
    mixed = (runs[:, 0] << 41) ^ (runs[:, 1] << 20) ^ runs[:, 2]  # 64 bits of the 69
    assert len(mixed.unique()) == len(mixed)


def test_no_two_keys_share_their_numbers():
    """The first numbers of 131,072 images under 4 seeds, and of 4,096 under the other keys."""
    firsts = [words(draws(NUMBERS, seed=seed).uniform(3)) for seed in range(1, 5)]
    firsts += [
        words(draws(NUMBERS[:4096], name=name, severity=severity).uniform(3))
        for name in REGISTRY
        for severity in range(1, 6)
    ]
    runs = torch.cat(firsts)
    mixed = (runs[:, 0] << 41) ^ (runs[:, 1] << 20) ^ runs[:, 2]
    assert len(mixed.unique()) == len(mixed)


# --- Normal numbers and integers ----------------------------------------------------------------------------


NORMALS = {
    "an image": lambda: draws().normal(1 << 19).ravel(),
    "an odd count": lambda: draws([3]).normal(COUNT + 1).ravel(),
    "a batch": lambda: draws(range(64)).normal(3, 32, 32).ravel(),
    "first of each image": lambda: draws(NUMBERS).normal(1).ravel(),
    "second of each image": lambda: draws(NUMBERS).normal(2)[:, 1],
}


@pytest.mark.parametrize("draw", NORMALS.values(), ids=NORMALS)
def test_normal_has_the_normal_moments_and_tails(draw):
    values = draw().double()
    n = len(values)
    found = {"kolmogorov-smirnov": float(stats.kstest(values.numpy(), "norm").pvalue)}
    # Power, its moment, the variance of the power: the moment of twice the power less the moment's square.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        z = (values.pow(power).mean().item() - moment) / math.sqrt(variance / n)
        found[f"moment {power}"] = float(stats.norm.sf(z))
    for sigma in (2, 3, 4):
        share = 2 * stats.norm.sf(sigma)
        beyond = int((values.abs() > sigma).sum())
        # Half of the point's own weight on either side makes the discrete law's p-value two-sided.
        law = stats.binom(n, share)
        found[f"beyond {sigma} sigma"] = float(law.sf(beyond) + law.pmf(beyond) / 2)
    assert_plausible(found)


def test_normal_reaches_far_and_stays_finite():
    values = draws().normal(1 << 19)
    assert values.isfinite().all()
    assert 4.5 < values.abs().max() < 6.5


@pytest.mark.parametrize("draw", NORMALS.values(), ids=NORMALS)
def test_normal_has_no_memory(draw):
    """By way of the distribution function, a sequence of uniform numbers, at every test of those."""
    uniform = torch.special.ndtr(draw().double())
    # The lowest bits are those of rounding to float32, not of the generator: only the highest 12 are judged.
    coarse = (uniform * 2**12).long().clamp(0, 2**12 - 1)
    found = {"chi-square": randomness.evenness(coarse, 2**12)}
    spread = (coarse << (BITS - 12)) + 2 ** (BITS - 13)
    found |= randomness.serial(spread, (1, 2, 3, 16, 32, 224, 1024, len(coarse) // 2))
    for size, bits in ((2, 5), (3, 3)):
        found[f"{size}-tuples"] = randomness.tuples(spread, size, bits, BITS - bits)
    assert_plausible(found)


def test_radius_and_angle_of_the_plane_are_independent():
    """Whichever two normals one Box-Muller step makes: first and second half here, neighbours there."""
    values = draws().normal(COUNT).double().ravel()
    for x, y in (values.view(2, -1), values.view(-1, 2).T):
        radius = torch.exp(-(x.square() + y.square()) / 2)
        angle = torch.atan2(y, x) / (2 * math.pi) + 0.5
        cell = (radius * 32).long().clamp(0, 31) * 32 + (angle * 32).long().clamp(0, 31)
        assert_plausible({"cells": randomness.evenness(cell, 1024)})


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-4, 4), (0, 5), (0, 64), (0, 1000)])
def test_integers_are_uniform(low, high):
    found = {}
    for name, values in (
        ("an image", draws().integers(low, high, COUNT)),
        ("images", draws(NUMBERS).integers(low, high)),
        ("two of an image", draws(NUMBERS).integers(low, high, 2)[:, 1]),
    ):
        assert values.dtype == torch.int32
        counts = np.bincount((values - low).numpy().ravel(), minlength=high - low)
        assert len(counts) == high - low
        found[name] = float(stats.chisquare(counts).pvalue)
    assert_plausible(found)


def test_integers_of_one_value():
    assert (draws(range(9)).integers(5, 6, 100) == 5).all()


def test_integers_reach_both_ends_of_a_wide_range():
    values = draws().integers(-1_000_000, 1_000_000, COUNT)
    assert -1_000_000 <= values.min() < -999_900
    assert 999_900 < values.max() < 1_000_000
