"""The oracles of the published programs, against what the published programs gave; and ours against them."""

import numpy as np
import pytest
import torch

from corruptions import fidelity
from oracles import published, rules
from oracles.weather import plasma, plasma_by_octaves
from pushpull.corruptions import REGISTRY, SEVERITIES, corrupt
from pushpull.corruptions.textures import BENCHMARK, frost_texture_source
from support import needs_shared

RANDOM = tuple(name for name in REGISTRY if name not in rules.DETERMINISTIC)


def corrupted(name, params, clean, seed=0):
    """Run the oracle on (N, 3, H, W) uint8; skip where it needs what is not installed."""
    if package := published.missing(name):
        pytest.skip(f"the oracle of {name} needs {package}")
    rng = np.random.default_rng(seed)
    pictures = [published.oracle(name)(picture, params, rng) for picture in clean.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def test_every_corruption_has_an_oracle():
    for name in REGISTRY:
        assert callable(published.oracle(name))


@needs_shared
@pytest.mark.parametrize("size", fidelity.SCALES)
@pytest.mark.parametrize("name", rules.DETERMINISTIC)
def test_deterministic_oracles_are_the_published_programs(name, size):
    exact = fidelity.golden(f"exact_{size}")
    for severity in (1, 4):
        params = SEVERITIES[fidelity.SCALES[size]][name][severity - 1]
        clean = torch.from_numpy(exact["clean"][:2]).permute(0, 3, 1, 2)
        got = corrupted(name, params, clean).permute(0, 2, 3, 1).numpy()
        assert rules.share_within(got, exact[name][severity - 1, :2], 0) > 0.9999


@needs_shared
@pytest.mark.parametrize("name", RANDOM)
def test_random_oracles_have_the_published_statistics(name):
    if name == "frost" and frost_texture_source() != BENCHMARK:
        pytest.skip("needs the benchmark's photographs of frost")
    count = 60
    clean, severity = fidelity.images(32)[:count], 3
    got = rules.statistics(clean, corrupted(name, SEVERITIES["cifar"][name][severity - 1], clean))
    theirs = fidelity.golden("per_image_32")[name][severity - 1, :count]
    ratios = rules.paired_deviations(got, theirs)
    assert max(ratios.values()) <= 1, ratios


@needs_shared
@pytest.mark.parametrize("name", REGISTRY)
def test_ours_is_the_oracle_at_the_scale_tiny(name):
    clean = torch.nn.functional.interpolate(
        fidelity.images(224)[:12, :, 16:208, 16:208].float(), (64, 64), mode="area"
    )
    clean, severity = clean.round().to(torch.uint8), 3
    theirs = corrupted(name, SEVERITIES["tiny"][name][severity - 1], clean)
    ours = corrupt(clean, name, severity, scale="tiny", index=torch.arange(len(clean)))
    if name in rules.DETERMINISTIC:
        levels, share = rules.same_pixels(name)
        assert rules.share_within(ours.numpy(), theirs.numpy(), levels) >= share
        return
    ratios = rules.paired_deviations(rules.statistics(clean, ours), rules.statistics(clean, theirs))
    assert max(ratios.values()) <= 1, ratios


@pytest.mark.parametrize("decay", [3.0, 1.4])
def test_the_two_forms_of_the_plasma_agree(decay):
    rng = np.random.default_rng(0)
    noises = [rng.uniform(-1, 1, size=(3, n, n)) for n in (1, 2, 4, 8, 16)]
    np.testing.assert_allclose(plasma_by_octaves(noises, decay), plasma(noises, decay), atol=1e-12)
