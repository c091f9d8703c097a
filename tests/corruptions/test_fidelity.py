"""The golden rules on this package's corruptions, and that the rules' own measures are the golden ones."""

import numpy as np
import pytest
import torch

from corruptions import fidelity
from oracles import rules
from support import needs_shared

pytestmark = needs_shared

SEVERITY = range(1, 6)
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur")


@pytest.mark.parametrize("size", fidelity.SCALES)
def test_the_images_are_the_golden_ones(size):
    clean = fidelity.golden(f"exact_{size}")["clean"]
    np.testing.assert_array_equal(fidelity.images(size)[: len(clean)].permute(0, 2, 3, 1).numpy(), clean)


@pytest.mark.parametrize("size", fidelity.SCALES)
@pytest.mark.parametrize("name", ["brightness", "contrast", "jpeg_compression", "saturate"])
def test_the_statistics_are_the_golden_ones(name, size):
    exact = fidelity.golden(f"exact_{size}")
    clean, corrupted = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (exact["clean"], exact[name][3]))
    ours = rules.statistics(clean, corrupted)
    np.testing.assert_allclose(ours, fidelity.golden(f"per_image_{size}")[name][3, : len(ours)], atol=2e-6)


def test_the_golden_statistics_have_our_names_and_order():
    assert tuple(fidelity.golden("per_image_32")["names"]) == rules.STATISTICS


@pytest.mark.parametrize("size", fidelity.SCALES)
@pytest.mark.parametrize("severity", SEVERITY)
@pytest.mark.parametrize("name", rules.DETERMINISTIC)
def test_deterministic_corruptions_give_the_published_pixels(name, severity, size):
    fidelity.assert_same_pixels(name, size, severity)


@pytest.mark.parametrize("severity", SEVERITY)
@pytest.mark.parametrize("name", RANDOM)
def test_random_corruptions_have_the_published_statistics(name, severity):
    fidelity.assert_same_distribution(name, 32, severity, count=200)


@pytest.mark.parametrize("name", RANDOM)
def test_random_corruptions_have_the_published_statistics_on_large_images(name):
    for severity in (2, 4):
        fidelity.assert_same_distribution(name, 224, severity, count=8)


@pytest.mark.parametrize("name", RANDOM)
def test_the_rule_tells_a_wrong_constant(name, monkeypatch):
    swapped = {name: fidelity.golden("per_image_32")[name][[1, 2, 1, 4, 3]]}
    monkeypatch.setattr(fidelity, "golden", lambda file: swapped)
    assert max(fidelity.deviations(name, 32, 3, 100).values()) > 1
