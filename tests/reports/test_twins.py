"""Intervals and paired differences against values computed by hand."""

import math

import pytest

from pushpull import InputError
from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.evaluation.results import Condition, Results
from pushpull.reports import Entry, Estimate, compare_twins, write_report
from pushpull.reports.markup import table_markdown as markdown
from pushpull.reports.report_files import table_csv, table_json

ABOUT = {
    "title": "Title",
    "facts": [("Network", "resnet14")],
    "notes": ["A note."],
    "command": "pushpull reproduce t.yaml",
    "missing": [],
    "problems": {},
    "unasked": [],
    "complete": True,
    "recipes": {"PP3": {}},
}


def table_figures(measured, twins, baseline):
    """Compare the rows of which something is measured."""
    entries = [Entry(name, tuple(seeds.values()), name) for name, seeds in measured.items() if seeds]
    return compare_twins(entries, twins, baseline)


def build(
    clean: float, errors: dict[str, float] | float, *, seed: int = 0, images: int = 1000, **data
) -> Results:
    """Results with these errors at every severity."""
    if not isinstance(errors, dict):
        errors = dict.fromkeys(CORRUPTIONS, errors)

    def condition(error: float) -> Condition:
        return Condition(error, None, [error], images, 1.0)

    model = {"label": "x", "name": "resnet14", "stem": "plain", "source": None, "parameters": 1, "seed": seed}
    info = {"name": "d", "label": "data", "split": "test", "images": images, "image_size": [32, 32]}
    info |= {"classes": ["a", "b"], "skipped": [], "limit": None, "note": None, "sha256": "0"}
    return Results(
        model={**model, "weights_sha256": None},
        data=info,
        preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3, "size": None},
        corruption={"scale": "cifar", "seed": 0, "source": "in memory", "frost_textures": "procedural"},
        versions={"pushpull": "0"},
        device="cpu",
        created="2026-01-01T00:00:00+00:00",
        clean=condition(clean),
        corrupted={name: {s: condition(error) for s in range(1, 6)} for name, error in errors.items()},
        complete=True,
    )


def test_intervals_by_hand():
    # 1, 2, 6: mean 3, sample deviation sqrt((4 + 1 + 9) / 2) = sqrt 7; t for 95 % and 2 degrees: 4.302653.
    estimate = Estimate.of([1.0, 2.0, 6.0])
    assert estimate.half_width() == pytest.approx(4.302653 * math.sqrt(7) / math.sqrt(3), rel=1e-6)
    # Two values: t = 12.706205, deviation |a - b| / sqrt 2. Ten: t = 2.262157. 90 %, 4 degrees: 2.131847.
    assert Estimate.of([1.0, 2.0]).half_width() == pytest.approx(12.706205 / 2, rel=1e-6)
    assert Estimate(0.0, 1.0, 10).half_width() == pytest.approx(2.262157 / math.sqrt(10), rel=1e-6)
    assert Estimate(0.0, 1.0, 5).half_width(0.9) == pytest.approx(2.131847 / math.sqrt(5), rel=1e-6)
    assert Estimate.of([1.0]).half_width() is None


BASE = {0: (0.20, 0.40), 1: (0.22, 0.44), 2: (0.18, 0.36)}
TWIN = {0: (0.21, 0.37), 1: (0.22, 0.42), 2: (0.20, 0.35)}


@pytest.fixture
def measured():
    return {
        "baseline": {seed: build(*errors, seed=seed) for seed, errors in BASE.items()},
        "PP3": {seed: build(*errors, seed=seed) for seed, errors in TWIN.items()},
    }


def test_differences_are_paired_by_seed(measured):
    figures = table_figures(measured, {"baseline": None, "PP3": "baseline"}, "baseline")
    baseline, row = figures.rows
    assert (row.seeds, row.paired_seeds, row.against) == ((0, 1, 2), (0, 1, 2), "baseline")
    assert baseline.values["clean_error"].mean == pytest.approx(0.2)
    assert baseline.values["clean_error"].std == pytest.approx(0.02)
    # By seed -3, -2, -1 points: mean -2, deviation 1. Unpaired, the deviation would be over 3.
    difference = row.differences["mean_corruption_error"]
    assert difference.mean == pytest.approx(-0.02)
    assert difference.std == pytest.approx(0.01)
    assert difference.half_width() == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert row.differences["clean_error"].mean == pytest.approx(0.01)
    # R_net of a seed: 100 ((E0 - E) + (M0 - M)) / (2 E0): (-1 + 3) / 40, (0 + 2) / 44, (-2 + 1) / 36.
    expected = [100 * 2 / 40, 100 * 2 / 44, -100 / 36]
    assert row.values["net_reduction_percent"].mean == pytest.approx(sum(expected) / 3)
    assert row.differences["net_reduction_percent"].mean == pytest.approx(sum(expected) / 3)
    assert baseline.values["net_reduction_percent"] == Estimate(0.0, None, 3)


def test_only_seeds_that_both_have_are_paired(measured):
    del measured["PP3"][1]
    measured["PP3"][7] = build(0.5, 0.9, seed=7)
    row = table_figures(measured, {"PP3": "baseline"}, "baseline").rows[1]
    assert (row.seeds, row.paired_seeds, row.baseline_seeds) == ((0, 2, 7), (0, 2), (0, 2))
    assert row.values["clean_error"].n == 3
    assert row.differences["mean_corruption_error"].mean == pytest.approx(-0.02)  # -3 and -1
    assert row.values["net_reduction_percent"].mean == pytest.approx((100 * 2 / 40 - 100 / 36) / 2)


def test_r_net_has_seeds_of_its_own(measured):
    measured = {"baseline": {0: measured["baseline"][0]}, "PP3": measured["PP3"]}
    figures = table_figures(measured, {}, "baseline")
    lines = [line.split(",") for line in table_csv(figures).splitlines()]
    seeds = {(line[0], line[2]): line[5] for line in lines}
    assert seeds["PP3", "net_reduction_percent"] == "0"
    assert seeds["PP3", "clean_error"] == "0 1 2"
    assert seeds["baseline", "net_reduction_percent"] == "0"
    text = markdown(figures, ABOUT)
    assert "- R_net of PP3: only seeds 0, where the baseline" in text
    assert "R_net of baseline" not in text


def test_without_an_error_of_the_baseline_there_is_no_r_net(measured):
    """It divides by that error; the other figures stand."""
    measured["baseline"][1] = build(0.0, 0.4, seed=1)
    baseline, row = table_figures(measured, {"PP3": "baseline"}, "baseline").rows
    assert (baseline.baseline_seeds, row.baseline_seeds) == ((0, 2), (0, 2))
    assert row.values["net_reduction_percent"].mean == pytest.approx((100 * 2 / 40 - 100 / 36) / 2)
    assert "net_reduction_percent" not in row.differences  # not over the seeds of the other differences
    measured = {name: {0: build(0.0, 0.4)} for name in measured}
    figures = table_figures(measured, {"PP3": "baseline"}, "baseline")
    assert all("net_reduction_percent" not in row.values for row in figures.rows)
    text = markdown(figures, ABOUT)
    assert "| PP3 | 0 | 0.0 | 40.0 |  |" in text
    assert "R_net of PP3: none" in text


def test_families_and_corruptions(measured):
    errors = {name: 0.01 * number for number, name in enumerate(CORRUPTIONS)}
    measured["PP3"] = {0: build(0.2, errors)}
    row = table_figures(measured, {"PP3": "baseline"}, "baseline").rows[1]
    for family, names in FAMILIES.items():
        mean = sum(errors[name] for name in names) / len(names)
        assert row.values[f"family_{family}"].mean == pytest.approx(mean)
        assert row.differences[f"family_{family}"].mean == pytest.approx(mean - 0.4)
    assert row.values["snow"].mean == pytest.approx(errors["snow"])
    assert row.differences["snow"].half_width() is None


def test_what_is_not_measured_is_left_out(measured):
    with pytest.raises(InputError, match="no results"):
        table_figures({"baseline": {}}, {}, "baseline")
    del measured["baseline"]
    figures = table_figures(measured | {"other": {}}, {"PP3": "baseline"}, "baseline")
    assert [row.label for row in figures.rows] == ["PP3"]
    assert not any(row.is_baseline for row in figures.rows)
    assert figures.rows[0].against is None
    assert "net_reduction_percent" not in figures.rows[0].values
    assert "| PP3 | 0 1 2 | 21.0 ± 2.5 | 38.0 ± 9.0 |  |" in markdown(figures, ABOUT)


def test_results_that_were_measured_otherwise_are_refused(measured):
    measured["PP3"][1] = build(0.2, 0.4, seed=1, images=500)
    with pytest.raises(InputError, match="PP3 seed 1 cannot be compared with baseline seed 0"):
        table_figures(measured, {}, "baseline")


def test_the_table_says_its_conventions(measured):
    figures = table_figures(measured, {"PP3": "baseline"}, "baseline")
    text = markdown(figures, ABOUT)
    assert "NOT AlexNet-normalised" in text
    assert "mCE vs AlexNet" not in text
    assert "| baseline | 0 1 2 | 20.0 ± 5.0 | 40.0 ± 9.9 | 0.0 |" in text
    # R_net by seed 5, 4.545, -2.778; the mean error's difference -2 +- 2.48 leaves 0 in, so it is not bold.
    assert (
        "| PP3 \N{MINUS SIGN} baseline | 0 1 2 | +1.0 ± 2.5 | \N{MINUS SIGN}2.0 ± 2.5 | +2.3 ± 10.8 |" in text
    )
    assert "Not complete" not in text
    unfinished = {**ABOUT, "missing": ["PP3 seed 2"]}
    assert "**Not complete:** 1 runs are missing (PP3 seed 2)." in markdown(figures, unfinished)
    assert "Title" in markdown(None, unfinished)


def test_a_difference_that_is_not_chance_is_bold(measured):
    for seed in BASE:
        measured["PP3"][seed] = build(BASE[seed][0], BASE[seed][1] - 0.01, seed=seed)
    text = markdown(table_figures(measured, {"PP3": "baseline"}, "baseline"), ABOUT)
    assert "| 0.0 ± 0.0 | **\N{MINUS SIGN}1.0 ± 0.0** |" in text


def test_files_for_programs(measured):
    figures = table_figures(measured, {"PP3": "baseline"}, "baseline")
    lines = table_csv(figures).splitlines()
    assert lines[0].startswith("row,minus,figure,convention,unit,seeds,mean,std,low95,high95")
    [line] = [line for line in lines if line.startswith("PP3,baseline,mean_corruption_error")]
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert line.endswith(f"fraction,0 1 2,-0.020000,0.010000,{-0.02 - half:.6f},{-0.02 + half:.6f}")
    value = table_json(figures, ABOUT)
    assert value["complete"]
    assert value["rows"][1]["differences"]["clean_error"]["n"] == 3
    assert value["setting"]["label"] == "data"
    assert not table_json(None, ABOUT)["rows"]


def test_a_table_can_be_written_as_a_report_too(measured, tmp_path):
    measured["alone"] = {9: build(0.3, 0.5, seed=9)}  # without R_net
    for twins in ({"PP3": "baseline"}, {}):
        figures = table_figures(measured, twins, "baseline")
        paths = write_report(figures, tmp_path / str(len(twins)))
        text = paths[0].read_text()
        assert "alone" in text
        assert ("PP3 − baseline" in text) == bool(twins)
        [line] = [line for line in paths[3].read_text().splitlines() if line.startswith("alone,")]
        assert ",,," in line
