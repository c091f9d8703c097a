import subprocess
import sys

import matplotlib
import pytest
from PIL import Image

from pushpull.corruptions import CORRUPTIONS
from pushpull.reports import Entry, compare
from pushpull.reports.figures import differences, error_by_severity, save


@pytest.fixture
def comparison(seeds):
    return compare(seeds("plain", [(0.20, 0.40), (0.30, 0.50)]), [seeds("pp3", [(0.25, 0.40), (0.35, 0.40)])])


def test_curves_hold_the_errors_in_percent_from_clean_to_severity_5(comparison):
    axes = error_by_severity(comparison).axes
    assert [panel.get_title(loc="left") for panel in axes] == [
        "Mean of 15 corruptions (not AlexNet-normalised)", "Noise", "Blur", "Weather", "Digital",
    ]  # fmt: skip
    baseline, run = axes[0].lines
    assert list(baseline.get_xdata()) == [0, 1, 2, 3, 4, 5]
    assert list(baseline.get_ydata()) == pytest.approx([25, 45, 45, 45, 45, 45])
    assert list(run.get_ydata()) == pytest.approx([30, 40, 40, 40, 40, 40])
    assert len(axes[0].collections) == 2, "a band of spread for each model"
    assert axes[0].get_ylim()[0] == 0


def test_without_families_each_corruption_has_a_panel(results):
    options = {"errors": {"fog": [0.2, 0.3], "snow": [0.3, 0.4]}, "severities": [1, 3], "clean": None}
    axes = error_by_severity(
        compare(Entry.of([results(**options)]), [Entry.of([results("pp3", **options)])])
    ).axes
    assert [panel.get_title(loc="left") for panel in axes] == ["snow", "fog"]
    assert list(axes[1].lines[0].get_xdata()) == [1, 3]
    assert not axes[0].collections, "one run per model has no spread to show"


def test_differences_are_points_against_the_baseline(comparison):
    (panel,) = differences(comparison).axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels[0] == "mean of the 15"
    assert len(labels) == 1 + len(CORRUPTIONS)
    assert labels[-1] == "gaussian noise"
    points = panel.containers[0].lines[0]
    assert list(points.get_xdata()) == pytest.approx([-5.0] * 16)


def test_figures_say_what_data_they_show(comparison):
    for figure in (error_by_severity(comparison), differences(comparison)):
        assert "demonstration, not evidence" in figure.get_supxlabel()
        assert "1000 images" in figure.get_supxlabel()


def test_no_label_is_read_as_a_formula_or_left_out(results, tmp_path):
    names = ["pay $5 or $x_1^{", "_hidden"]
    first, second = (Entry.of([results()], label=name) for name in names)
    comparison = compare(first, [second])
    for figure in (error_by_severity(comparison), differences(comparison)):
        for name in names:
            assert name in save(figure, tmp_path / "figure.svg").read_text()


def test_a_corruption_may_have_any_name(results, tmp_path, recwarn):
    """A set on disk names them; letters that the font lacks are no reason for a warning each."""
    odd = {r"$\foo$ bar": [0.5] * 5, "\u65e5\u672c": [0.5] * 5}
    first, second = (Entry.of([results(errors=odd)], label=name) for name in ("a", "\u8a9e"))
    comparison = compare(first, [second])
    for figure in (error_by_severity(comparison), differences(comparison)):
        assert r"$\foo$ bar" in save(figure, tmp_path / "figure.svg").read_text()
        save(figure, tmp_path / "figure.png")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


def test_nine_models_are_told_apart(results):
    entries = [Entry.of([results()], label=str(i)) for i in range(9)]
    lines = error_by_severity(compare(entries[0], entries[1:])).axes[0].lines
    looks = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in lines}
    assert len(looks) == 9


def test_files(comparison, tmp_path):
    figure = differences(comparison)
    with Image.open(save(figure, tmp_path / "a.png")) as image:
        assert image.width > 1000
    first, second = (save(figure, tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert first == second
    assert "gaussian noise" in first


def test_settings_of_matplotlib_are_left_alone(comparison, tmp_path):
    before = dict(matplotlib.rcParams)
    save(error_by_severity(comparison), tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before


def test_comparing_needs_no_matplotlib_pandas_or_lightning_and_figures_no_pyplot():
    code = (
        "import sys, pushpull.cli.report as _; slow = {'matplotlib', 'pandas', 'lightning'};"
        "assert not slow & set(sys.modules);"
        "import pushpull.reports.figures; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
