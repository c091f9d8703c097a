"""Results in words: what `pushpull evaluate` ends with and the page begins with."""

import pytest
from scipy.stats import binomtest

from pushpull.corruptions import CORRUPTIONS
from pushpull.evaluation.results import weaknesses
from pushpull.reports.summary import (
    broken_from,
    families,
    few_images_words,
    headline,
    mean_errors,
    short_text,
    wilson,
    worst_words,
)


@pytest.mark.parametrize(("wrong", "images"), [(0, 50), (40, 500), (250, 500), (500, 500)])
def test_the_interval_is_wilsons_as_scipy_has_it(wrong, images):
    trusted = binomtest(wrong, images).proportion_ci(method="wilson")
    assert wilson(wrong / images, images) == pytest.approx((trusted.low, trusted.high), abs=1e-9)


def test_a_result_is_a_sentence(results):
    errors = {name: [0.1] * 5 for name in CORRUPTIONS} | {"fog": [0.2, 0.4, 0.6, 0.7, 0.8]}
    found = mean_errors([results(errors=errors)])
    said = headline(0.08, found, 1000)
    expected = 100 * (14 * 0.1 + 0.54) / 15
    assert said == (
        f"Of 1,000 images 8.0 % wrong clean, {expected:.1f} % under corruption; worst: fog, more than half "
        "wrong from severity 3 up."
    )
    assert headline(0.0, {"fog": {1: 0.0}}, 1) == "Of 1 image 0.0 % wrong clean, 0.0 % under corruption."
    assert headline(0.08, {}, 10) == "Of 10 images 8.0 % wrong clean."


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([0.1, 0.2, 0.2, 0.3, 0.31], "31.0 % wrong at severity 5"),
        ([0.6, 0.6, 0.6, 0.6, 0.6], "more than half wrong at every severity"),
        ([0.1, 0.1, 0.1, 0.1, 0.6], "more than half wrong at severity 5"),
        ([0.6, 0.1, 0.1, 0.6, 0.6], "more than half wrong from severity 4 up"),
    ],
)
def test_where_a_corruption_is_worst(errors, words):
    assert worst_words(dict(enumerate(errors, 1))) == words


def test_what_recovers_is_not_broken():
    assert broken_from({1: 0.6, 2: 0.4, 3: 0.3}) is None


def test_weaknesses_are_ranked_and_families_are_whole(results):
    found = mean_errors([results(errors={"fog": [0.2] * 5, "snow": [0.3] * 5})])
    assert weaknesses(found) == [("snow", pytest.approx(0.3)), ("fog", pytest.approx(0.2))]
    assert families(found) == []
    assert dict(families(mean_errors([results()]))) == pytest.approx(
        dict.fromkeys(("noise", "blur", "weather", "digital"), 0.4)
    )


def test_few_images_are_said_with_what_they_can_tell():
    assert few_images_words(1000) is None
    assert "Only 100 images: an error of 20 % is anything from 13 % to 29 %" in few_images_words(100)
    assert "Only 1 image: " in few_images_words(1)


def test_the_terminal_has_the_worst_three_or_all(results):
    errors = {name: [0.01 * n] * 5 for n, name in enumerate(CORRUPTIONS)}
    lines = short_text(results(clean=0.02, errors=errors))
    assert lines[0].split()[:2] == ["clean", "2.0"]
    assert lines[1].split()[:2] == ["corrupted", "7.0"]
    assert [line.split()[0] for line in lines[2:6]] == ["noise", "blur", "weather", "digital"]
    assert lines[6] == "  the worst 3 of 15:"
    assert [line.strip().split("  ")[0] for line in lines[7:]] == [
        "JPEG compression",
        "pixelate",
        "elastic transform",
    ]
    every = short_text(results(clean=0.02, errors=errors), worst=None)
    assert len(every) == 6 + 15
    assert every[6].startswith("  gaussian noise")
