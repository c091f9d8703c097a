"""The policies against torchvision's tables, and against its operations with the same draws."""

import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from augment.made import pictures
from pushpull.augment import ImageDraws, operations
from pushpull.augment.augmix import AUGMIX_NINE, AUGMIX_SPACE, augmix, augmix9, nine_magnitudes
from pushpull.augment.batch import sample_mixture
from pushpull.augment.operations import (
    AUTOAUGMENT,
    AUTOAUGMENT_SPACE,
    OPS,
    RANDAUGMENT_SPACE,
    TRIVIAL_SPACE,
    apply_ops,
)


def _ours(title):
    """Torchvision's name of an operation, as ours."""
    words = "".join("_" + c.lower() if c.isupper() else c for c in title).lstrip("_")
    return {"auto_contrast": "autocontrast"}.get(words, words)


def _draws(count):
    return ImageDraws(torch.arange(count), "any", seed=3)


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_autoaugments_sub_policies_are_torchvisions(scale):
    policy = {"cifar": v2.AutoAugmentPolicy.CIFAR10, "imagenet": v2.AutoAugmentPolicy.IMAGENET}[scale]
    theirs = [
        tuple((_ours(name), probability, level or 0) for name, probability, level in pair)
        for pair in v2.AutoAugment(policy)._policies
    ]
    assert list(AUTOAUGMENT[scale]) == theirs


@pytest.mark.parametrize(
    ("space", "theirs", "bins"),
    [
        (AUTOAUGMENT_SPACE, v2.AutoAugment._AUGMENTATION_SPACE, 10),
        (RANDAUGMENT_SPACE, v2.RandAugment._AUGMENTATION_SPACE, 31),
        (TRIVIAL_SPACE, v2.TrivialAugmentWide._AUGMENTATION_SPACE, 31),
        (AUGMIX_SPACE, v2.AugMix._AUGMENTATION_SPACE, 10),
    ],
    ids=["autoaugment", "randaugment", "trivialaugment", "augmix"],
)
def test_magnitudes_are_torchvisions(space, theirs, bins):
    height, width = 32, 45
    op, values, signed_ones = operations.magnitude_tables(tuple(space.items()), bins, (height, width))
    assert {_ours(name) for name in theirs} == set(space)
    for title, (magnitudes, signed) in theirs.items():
        row = list(space).index(_ours(title))
        expected = magnitudes(bins, height, width)
        expected = torch.zeros(bins) if expected is None else expected.float()
        assert torch.equal(values[row], expected)
        assert signed_ones[row] == signed
        assert OPS[op[row]] == _ours(title)


def _recorded(monkeypatch):
    """Return a list that gets (op, magnitude) of every call of `apply_ops`."""
    calls = []

    def record(images, op, magnitude, **options):
        calls.append((op, magnitude))
        return apply_ops(images, op, magnitude, **options)

    monkeypatch.setattr(operations, "apply_ops", record)
    return calls


def test_autoaugment_draws_sub_policies_and_operations_as_the_table_says(monkeypatch):
    calls = _recorded(monkeypatch)
    count, policy = 20_000, AUTOAUGMENT["cifar"]
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8).expand(count, -1, -1, -1)
    operations.autoaugment(images, _draws(count), "cifar")
    for step, (op, magnitude) in enumerate(calls):
        expected = torch.zeros(len(OPS), dtype=torch.float64)
        for pair in policy:
            name, probability, _ = pair[step]
            expected[OPS.index(name)] += probability / len(policy)
            expected[0] += (1 - probability) / len(policy)
        found = torch.bincount(op, minlength=len(OPS))
        assert found[expected == 0].sum() == 0
        used = expected > 0
        assert stats.chisquare(found[used].numpy(), (expected[used] * count).numpy()).pvalue > 1e-4
        turned = magnitude[op == OPS.index("translate_y")]
        if len(turned):
            assert abs((turned < 0).double().mean() - 0.5) < 5 * 0.5 / len(turned) ** 0.5


def test_randaugment_and_trivialaugment_draw_uniformly(monkeypatch):
    calls = _recorded(monkeypatch)
    count = 20_000
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8).expand(count, -1, -1, -1)
    operations.randaugment(images, _draws(count))
    operations.trivialaugment(images, _draws(count))
    assert len(calls) == 3
    for op, _ in calls:
        found = torch.bincount(op)
        assert stats.chisquare(found[found > 0].numpy()).pvalue > 1e-4
        assert (found > 0).sum() == len(RANDAUGMENT_SPACE) == len(TRIVIAL_SPACE)
    solarize = calls[0][1][calls[0][0] == OPS.index("solarize")]
    assert torch.equal(solarize, torch.full_like(solarize, float(torch.linspace(1.0, 0.0, 31)[9])))
    trivial = calls[2][1][calls[2][0] == OPS.index("solarize")]
    assert len(trivial.unique()) == 31


def _mixed(images, mixture, op, magnitude):
    """The mixture a chain at a time."""
    result, (shares, chosen) = [], mixture
    for n, image in enumerate(images):
        total = shares[n, 0] * image
        for c in range(op.shape[1]):
            chain = image[None]
            for d in range(op.shape[2]):
                if chosen[n, c, d] >= 0:
                    chain = apply_ops(chain, op[n, c, d][None], magnitude[n, c, d][None], bilinear=True)
            total = total + shares[n, 1 + c] * chain[0]
        result.append(total)
    return torch.stack(result)


def test_augmix_is_a_mixture_of_chains_of_torchvisions_operations():
    images, draws = pictures(20, 24, 24), _draws(20)
    ours = augmix(images, draws)
    mixture = sample_mixture(draws, "augmix", 3, 3, len(AUGMIX_SPACE))
    which, coin = draws.named("augmix magnitudes").uniform(2, 3, 3).unbind(1)
    level = (3 * which).long()
    number = mixture[1].clamp(min=0).long()
    op, magnitude = operations.chosen_magnitudes(AUGMIX_SPACE, 10, images, number, level, coin)
    assert (ours - _mixed(images, mixture, op, magnitude)).abs().max() < 1e-3
    assert set(mixture[1].unique().tolist()) == set(range(-1, len(AUGMIX_SPACE)))


def test_augmix9_is_a_mixture_of_chains_of_the_nine():
    images, draws = pictures(20, 24, 24), _draws(20)
    ours = augmix9(images, draws, "cifar")
    mixture = sample_mixture(draws, "augmix9", 3, 3, 9)
    uniform, coin = draws.named("augmix9 magnitudes").uniform(2, 3, 3).unbind(1)
    level, negative = 0.1 + 2.9 * uniform, coin > 0.5
    number = mixture[1].clamp(min=0).long()
    magnitude = nine_magnitudes(level, negative, (24, 24)).gather(-1, number[..., None])[..., 0]
    op = torch.tensor([OPS.index(name) for name in AUGMIX_NINE])[number]
    assert (ours - _mixed(images, mixture, op, magnitude)).abs().max() < 1e-3


def test_the_nine_magnitudes_by_hand():
    level, negative = torch.tensor([0.1, 3.0, 10.0]), torch.tensor([False, True, False])
    found = dict(zip(AUGMIX_NINE, nine_magnitudes(level, negative, (32, 60)).T.tolist(), strict=True))
    assert found["rotate"] == [0, -9, 30]
    assert found["posterize"] == [4, 3, 0]
    assert found["translate_x"] == [0, -6, 20]
    assert found["translate_y"] == [0, -3, 10]
    assert found["shear_x"] == pytest.approx([0.003, -0.09, 0.3])
    assert [round(255 * value) for value in found["solarize"]] == [254, 180, 0]
    assert found["equalize"] == found["autocontrast"] == [0, 0, 0]
