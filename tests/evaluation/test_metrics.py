"""The metrics against literal values, the published table, and slow obvious versions."""

import math

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES
from pushpull.errors import InputError
from pushpull.evaluation import metrics
from pushpull.evaluation.metrics import ALEXNET


def table(value=0.5, **changed):
    """All fifteen at `value`, five severities; `changed` replaces some corruptions."""
    return {name: [value] * 5 for name in CORRUPTIONS} | changed


def test_mean_corruption_error_is_the_plain_mean_of_75_errors():
    errors = {name: [0.01 * (5 * i + s) for s in range(5)] for i, name in enumerate(CORRUPTIONS)}
    assert metrics.mean_corruption_error(errors) == pytest.approx(0.37)  # mean of 0 .. 0.74


def test_the_extra_corruptions_enter_no_mean():
    errors = table(0.2) | {name: [0.9] * 5 for name in EXTRA_CORRUPTIONS}
    assert metrics.mean_corruption_error(errors) == pytest.approx(0.2)
    assert metrics.mce(errors, table(0.4)) == pytest.approx(0.5)
    assert metrics.family_errors(errors) == pytest.approx(dict.fromkeys(FAMILIES, 0.2))
    assert metrics.mean_corruption_error(errors, EXTRA_CORRUPTIONS) == pytest.approx(0.9)


def test_mce_of_alexnet_is_one_and_halving_its_errors_halves_it():
    alexnet = {name: [error] * 5 for name, error in ALEXNET.mean_errors.items()}
    half = {name: [error / 2] * 5 for name, error in ALEXNET.mean_errors.items()}
    assert metrics.mce(alexnet) == pytest.approx(1.0)
    assert metrics.mce(half) == pytest.approx(0.5)
    assert metrics.relative_mce(alexnet, ALEXNET.clean_error) == pytest.approx(1.0)


def test_mce_takes_the_ratio_of_sums_before_the_mean():
    errors = table(0.3, fog=[0.1, 0.2, 0.3, 0.4, 0.5])
    baseline = table(0.6, fog=[0.5, 0.5, 0.5, 0.5, 1.0])
    assert metrics.mce(errors, baseline) == pytest.approx((14 * 0.5 + 1.5 / 3.0) / 15)
    assert metrics.mce(errors, {**baseline, "fog": 0.3}) == pytest.approx((14 * 0.5 + 1.0) / 15)


def test_relative_mce_by_hand():
    errors = table(0.4, snow=[0.2, 0.3, 0.4, 0.5, 0.6])
    baseline = table(0.7, snow=0.3)
    # 14 times (0.4 - 0.1) / (0.7 - 0.2); snow (0.4 - 0.1) / (0.3 - 0.2).
    expected = (14 * 0.6 + 3.0) / 15
    assert metrics.relative_mce(errors, 0.1, baseline, 0.2) == pytest.approx(expected)


# Bennabhaktula et al., ICPR 2024: E, mCE (unnormalised), R_net in percent, ResNet-50 on ImageNet.
PUBLISHED = [
    (0.269, 0.667, 0.00),
    (0.282, 0.645, 1.67),
    (0.276, 0.645, 2.79),
    (0.269, 0.630, 6.86),
    (0.283, 0.604, 9.05),
    (0.269, 0.612, 10.14),
    (0.287, 0.590, 10.97),
    (0.298, 0.522, 21.57),
    (0.306, 0.4995, 24.31),
]


@pytest.mark.parametrize(("clean", "mean", "printed"), PUBLISHED)
def test_net_reduction_of_the_published_table(clean, mean, printed):
    # The table's errors are rounded to 0.001, which is up to 0.37 percent points in R_net.
    assert metrics.net_reduction(clean, mean, 0.269, 0.667) == pytest.approx(printed, abs=0.38)


def test_family_errors_are_means_over_members():
    errors = {name: [FAMILY_LEVEL[family]] * 5 for family, names in FAMILIES.items() for name in names}
    errors["fog"] = [0.0, 0.1, 0.2, 0.3, 0.4]
    found = metrics.family_errors(errors)
    assert list(found) == ["noise", "blur", "weather", "digital"]
    assert found == pytest.approx({"noise": 0.1, "blur": 0.2, "weather": (3 * 0.3 + 0.2) / 4, "digital": 0.4})


FAMILY_LEVEL = {"noise": 0.1, "blur": 0.2, "weather": 0.3, "digital": 0.4}


def without(name):
    errors = table()
    del errors[name]
    return errors


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (without("fog"), "lack fog"),
        (table(fog=[0.5] * 4), "fog has 4 severities"),
        (table(fog=[0.5, math.nan, 0.5, math.nan, 0.5]), "fog lacks severity 2, 4"),
        (table(fog=[50.0] * 5), "outside"),
        (table(fog=[-0.1] * 5), "outside"),
    ],
)
def test_incomplete_errors_are_refused(errors, message):
    for metric in (metrics.mean_corruption_error, metrics.mce, metrics.family_errors):
        with pytest.raises(InputError, match=message):
            metric(errors)
    with pytest.raises(InputError, match=r"the baseline's errors.*fog"):
        metrics.mce(table(), errors)
    with pytest.raises(InputError, match="fog"):
        metrics.relative_mce(errors, 0.1)


def test_a_missing_or_useless_baseline_is_refused():
    with pytest.raises(InputError, match="'resnet50' is not one of alexnet"):
        metrics.mce(table(), "resnet50")
    with pytest.raises(InputError, match="baseline_clean_error is missing"):
        metrics.relative_mce(table(), 0.1, table())
    with pytest.raises(InputError, match="frost: the baseline's value is 0"):
        metrics.mce(table(), table(frost=[0.0] * 5))
    with pytest.raises(InputError, match=r"fog: the baseline's value is -0\.1"):
        metrics.relative_mce(table(), 0.1, table(fog=0.1), 0.2)
    with pytest.raises(InputError, match="baseline_clean_error=0"):
        metrics.net_reduction(0.1, 0.2, 0.0, 0.2)
    with pytest.raises(InputError, match=r"mean_error=66\.7 is outside"):
        metrics.net_reduction(0.1, 66.7, 0.3, 0.2)
    with pytest.raises(InputError, match="corruptions is empty"):
        metrics.mean_corruption_error(table(), ())


def test_flip_rate():
    predictions = torch.tensor([[1, 1, 2, 1], [3, 3, 3, 3]])
    assert metrics.flip_rate(predictions) == pytest.approx(2 / 6)
    assert metrics.flip_rate(predictions, noise=True) == pytest.approx(1 / 6)
    assert metrics.mean_flip_rate({"tilt": 0.1, "scale": 0.2}, {"tilt": 0.2, "scale": 0.8}) == pytest.approx(
        0.375
    )
    for bad in (torch.zeros(3), torch.zeros(3, 1), torch.zeros(0, 4)):
        with pytest.raises(InputError, match="predictions of shape"):
            metrics.flip_rate(bad)
    with pytest.raises(InputError, match="lack scale"):
        metrics.mean_flip_rate({"tilt": 0.1, "scale": 0.2}, {"tilt": 0.2})
    with pytest.raises(InputError, match="rates is empty"):
        metrics.mean_flip_rate({}, {})


def slow_ece(p, labels, bins):
    total = 0.0
    for b in range(bins):
        members = [i for i in range(len(p)) if b / bins < max(p[i]) <= (b + 1) / bins]
        if members:
            accuracy = sum(p[i].index(max(p[i])) == labels[i] for i in members) / len(members)
            confidence = sum(max(p[i]) for i in members) / len(members)
            total += len(members) / len(p) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_against_slow_versions_and_torchmetrics(bins):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 7, generator=generator)
    labels = torch.randint(7, (200,), generator=generator)
    # In batches, one of which holds an image whose logits say nothing.
    broken = torch.cat([logits[150:], torch.full((1, 7), math.nan)])
    parts = [(logits[:150], labels[:150]), (broken, torch.cat([labels[150:], labels[:1]]))]
    found = metrics.calibration(sum(metrics.calibration_sums(*part, bins=bins) for part in parts))
    p = logits.double().softmax(1)
    of_peer = MulticlassCalibrationError(7, n_bins=bins, norm="l1")(p, labels).item()
    assert found[0] == pytest.approx(slow_ece(p.tolist(), labels.tolist(), bins), abs=1e-12)
    assert found[0] == pytest.approx(of_peer, abs=1e-6)
    assert found[1] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)
    brier = sum(
        (value - (c == label)) ** 2
        for row, label in zip(p.tolist(), labels.tolist(), strict=True)
        for c, value in enumerate(row)
    )
    assert found[2] == pytest.approx(brier / 200)


def test_calibration_of_a_sure_and_right_network_and_its_opposite():
    logits = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert metrics.calibration(metrics.calibration_sums(logits, right)) == pytest.approx((0, 0, 0))
    assert metrics.calibration(metrics.calibration_sums(logits, wrong)) == pytest.approx((1, 100, 2))
    nothing = metrics.calibration_sums(torch.full((2, 2), math.inf), right)
    assert metrics.calibration(nothing) is None
