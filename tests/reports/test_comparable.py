import dataclasses

import pytest

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.reports.comparable import require_same, setting_of


def test_a_setting_says_what_was_measured(results):
    setting = setting_of(results(data={"limit": 500, "skipped": ["a.png"]}), "run")
    assert dict(setting.summary()) == {
        "Data": "digits (demonstration, not evidence)",
        "Images": "1000 (test split), limited to 500, 1 unreadable skipped, 32 x 32 pixels",
        "Classes": "10",
        "Corruptions": "15, 5 severities",
        "Severity scale": "cifar",
        "Corruption seed": "0",
        "Corrupted images": "in memory",
        "Frost textures": "procedural",
    }
    assert setting.corruptions == CORRUPTIONS
    assert setting.counts["fog"] == {1: 1000, 2: 1000, 3: 1000, 4: 1000, 5: 1000}


def test_corruptions_stand_in_the_usual_order_whatever_the_files_order(results):
    errors = {name: [0.5] * 5 for name in ("speckle_noise", "jpeg_compression", "gaussian_noise")}
    assert setting_of(results(errors=errors), "run").corruptions == (
        "gaussian_noise",
        "jpeg_compression",
        "speckle_noise",
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": {"sha256": "1" * 64}}, "data"),
        ({"data": {"label": "other"}}, "data label"),
        ({"data": {"split": "validation"}}, "split"),
        ({"data": {"limit": 10}}, "limit"),
        ({"data": {"classes": ["a", "b"]}}, "classes"),
        ({"data": {"skipped": ["a.png"]}}, "the list of skipped images"),
        ({"data": {"image_size": [28, 28]}}, "image size"),
        ({"data": {"framing": {"resize": 256, "crop": 224}}}, "framing"),
        ({"images": 999}, "number of images"),
        ({"corruption": {"scale": "imagenet"}}, "severity scale"),
        ({"corruption": {"seed": 1}}, "corruption seed"),
        ({"corruption": {"source": "files"}}, "source of the corrupted images"),
        ({"corruption": {"frost_textures": "imagecorruptions"}}, "frost textures"),
        ({"clean": None}, "number of clean images"),
        ({"severities": (1, 5)}, "the set of corruptions and severities"),
        ({"errors": {"fog": [0.1] * 5}}, "the set of corruptions and severities"),
    ],
)
def test_results_that_were_measured_otherwise_are_refused(results, change, named):
    first, second = setting_of(results(), "a"), setting_of(results("pp3", **change), "b")
    with pytest.raises(InputError, match=f"^b cannot be compared with a: {named} is ") as caught:
        require_same(first, "a", second, "b")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_same_folder_named_from_elsewhere_is_the_same_data(results):
    first = results(data={"name": "../data/cifar10/", "sha256": ""})
    second = results(data={"name": "/somewhere/cifar10", "sha256": ""})
    require_same(setting_of(first, "a"), "a", setting_of(second, "b"), "b")


def test_a_networks_own_preprocessing_may_differ(results):
    first, second = results(), results(preprocessing={"mean": [0.0] * 3, "size": 224})
    require_same(setting_of(first, "a"), "a", setting_of(second, "b"), "b")


def test_an_incomplete_result_says_how_to_continue(results):
    with pytest.raises(
        InputError, match=r"not complete .* continue it with: pushpull evaluate runs/plain/seed0"
    ):
        setting_of(results(complete=False), "run")


def test_a_clean_result_alone_is_refused(results):
    with pytest.raises(
        InputError, match="no corrupted condition to compare; measure with: pushpull evaluate"
    ):
        setting_of(results(errors={}), "run")


def test_uneven_severities_are_refused(results):
    whole, part = results(errors={"fog": [0.1] * 5}), results(errors={"snow": [0.1]}, severities=[3])
    uneven = dataclasses.replace(whole, corrupted={**whole.corrupted, **part.corrupted})
    with pytest.raises(InputError, match=r"snow: 3; fog: 1, 2, 3, 4, 5"):
        setting_of(uneven, "run")
