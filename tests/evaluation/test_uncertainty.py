"""Intervals over images: against slow loops, literal values, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.evaluation.predictions import interval, mcnemar, paired

ALL = [("clean", 0), *((name, level) for name in CORRUPTIONS for level in range(1, 6))]


def made(wrong, conditions, images=None):
    """Predictions from (images, conditions) of 0 and 1; the images are called 10, 11, ..."""
    rows = np.arange(10, 10 + len(wrong)) if images is None else images
    tables = [
        pd.DataFrame(
            {
                "index": rows,
                "label": rows % 3,
                "prediction": rows % 3 + np.asarray(wrong)[:, at],
                "confidence": np.float32(0.5),
                "corruption": name,
                "severity": np.int8(level),
            }
        )
        for at, (name, level) in enumerate(conditions)
    ]
    return pd.concat(tables)


def random(images, conditions, share, seed):
    generator = np.random.default_rng(seed)
    hard = generator.random((images, 1))
    return (0.5 * hard + 0.5 * generator.random((images, len(conditions))) < share).astype(int)


def test_intervals_are_those_of_a_slow_bootstrap():
    conditions = [("clean", 0), ("fog", 1), ("fog", 5), ("snow", 3)]
    wrong, other = random(60, conditions, 0.4, 0), random(60, conditions, 0.5, 1)
    found = interval(made(wrong, conditions), resamples=200, seed=3)
    differences = paired(made(wrong, conditions), made(other, conditions), resamples=200, seed=3)
    draws = np.random.default_rng(3).integers(0, 60, (200, 60))
    figures = {
        "clean": lambda w: w[:, 0].mean(),
        "fog": lambda w: (w[:, 1].mean() + w[:, 2].mean()) / 2,
        "snow": lambda w: w[:, 3].mean(),
    }
    assert list(found) == list(differences) == list(figures)
    for name, figure in figures.items():
        of_one = [figure(wrong[rows]) for rows in draws]
        of_both = [figure(wrong[rows]) - figure(other[rows]) for rows in draws]
        assert found[name].estimate == pytest.approx(figure(wrong))
        assert differences[name].estimate == pytest.approx(figure(wrong) - figure(other))
        np.testing.assert_allclose(found[name][1:], np.quantile(of_one, [0.025, 0.975]), atol=1e-9)
        np.testing.assert_allclose(differences[name][1:], np.quantile(of_both, [0.025, 0.975]), atol=1e-9)


def test_the_mean_is_of_the_fifteen_and_as_wide_as_it_should_be():
    wrong = random(400, [*ALL, ("spatter", 1)], 0.4, 0)
    found = interval(made(wrong, [*ALL, ("spatter", 1)]))
    assert found["mean_corruption_error"].estimate == pytest.approx(wrong[:, 1:76].mean())
    of_image = wrong[:, 1:76].mean(axis=1)  # an image's conditions hang together: not 400 x 75 trials
    half = (found["mean_corruption_error"].high - found["mean_corruption_error"].low) / 2
    assert half == pytest.approx(1.96 * of_image.std() / 20, rel=0.1)
    noise = paired(made(wrong, [*ALL, ("spatter", 1)]), made(1 - wrong, [*ALL, ("spatter", 1)]))[
        "family_noise"
    ]
    assert noise.estimate == pytest.approx(2 * wrong[:, 1:16].mean() - 1)
    assert noise.low < noise.estimate < noise.high
    assert "mean_corruption_error" not in interval(made(wrong[:, :75], ALL[:75]))
    assert interval(made(wrong, [*ALL, ("spatter", 1)])) == found


def test_a_set_of_other_corruptions_has_its_mean():
    of_set = [("haze", level) for level in range(1, 6)] + [("rain", level) for level in range(1, 6)]
    wrong = random(40, of_set, 0.4, 0)
    assert interval(made(wrong, of_set))["mean_of_set"].estimate == pytest.approx(wrong.mean())
    assert "mean_of_set" not in interval(made(wrong, of_set[:9]))


def test_seeds_are_averaged_and_a_missing_image_is_left_out():
    a, b = random(50, ALL[:2], 0.4, 0), random(50, ALL[:2], 0.6, 1)
    both = interval([made(a, ALL[:2]), made(b, ALL[:2])])
    assert both["clean"].estimate == pytest.approx((a + b)[:, 0].mean() / 2)
    table = made(a, ALL[:2])
    fewer = table[(table["index"] != 10) | (table.severity == 0)]
    assert interval(fewer)["gaussian_noise"].estimate == pytest.approx(a[1:, 1].mean())
    assert interval(fewer)["clean"].estimate == pytest.approx(a[:, 0].mean())


def test_mcnemar():
    a = np.array([[1, 0]] * 1 + [[0, 0]] * 6 + [[1, 1]] * 5 + [[0, 1]] * 4)
    b = np.array([[0, 0]] * 1 + [[1, 0]] * 6 + [[1, 1]] * 5 + [[0, 1]] * 4)
    tables = made(a, ALL[:2]), made(b, ALL[:2])
    # Of 7 images, 0 or 1 on one side: (1 + 7) / 2**7, twice.
    assert mcnemar(*tables) == (1, 6, pytest.approx(0.125))
    assert mcnemar(*tables, "gaussian_noise", 1) == (0, 0, 1.0)
    with pytest.raises(InputError, match="no fog 2; choose one of clean 0, gaussian_noise 1"):
        mcnemar(*tables, "fog", 2)


def test_what_is_refused():
    wrong = random(20, ALL[:2], 0.4, 0)
    table = made(wrong, ALL[:2])
    with pytest.raises(InputError, match=r"only one of the predictions has gaussian_noise at severity 1"):
        paired(table, made(wrong, ALL[:1]))
    with pytest.raises(InputError, match="different images"):
        paired(table, made(wrong, ALL[:2], np.arange(20)))
    with pytest.raises(InputError, match="other labels for 20 images"):
        paired(table, table.assign(label=table.label + 1))
    with pytest.raises(InputError, match="an image twice"):
        interval(pd.concat([table, table]))
    with pytest.raises(InputError, match="two labels"):
        interval(table.assign(label=table.label + table.severity))
    with pytest.raises(InputError, match="no image"):
        interval(table[:0])
    for options in ({"resamples": 0}, {"level": 1.0}, {"resamples": 1.5}):
        with pytest.raises(InputError, match=next(iter(options))):
            interval(table, **options)
