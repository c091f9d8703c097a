"""The table of corruptions and its constants."""

import subprocess
import sys

import pytest

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES, REGISTRY, SEVERITIES


def test_the_fifteen_in_the_usual_order():
    assert (
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    ) == CORRUPTIONS
    assert EXTRA_CORRUPTIONS == ("speckle_noise", "gaussian_blur", "spatter", "saturate")


def test_families_are_the_fifteen_in_order():
    assert list(FAMILIES) == ["noise", "blur", "weather", "digital"]
    assert sum(FAMILIES.values(), ()) == CORRUPTIONS
    assert FAMILIES["weather"] == ("snow", "frost", "fog", "brightness")


@pytest.mark.parametrize("scale", SEVERITIES)
def test_every_corruption_has_five_severities_at_every_scale(scale):
    assert set(SEVERITIES[scale]) == set(REGISTRY) == {*CORRUPTIONS, *EXTRA_CORRUPTIONS}
    for entries in SEVERITIES[scale].values():
        assert len(entries) == 5
        assert len({type(entry) for entry in entries}) == 1


def test_records_are_kept_under_their_own_names():
    for name, corruption in REGISTRY.items():
        assert corruption.name == name


def test_importing_the_corruptions_takes_no_heavy_package():
    heavy = "torchvision, timm, lightning, datasets, matplotlib, sklearn, scipy, cv2"
    code = f"import sys, pushpull.corruptions; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
