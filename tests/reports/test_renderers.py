"""Terminal, Markdown and CSV of one comparison with figures known by hand."""

import csv
import io

import pytest
from rich.console import Console

from pushpull.reports import Entry, compare
from pushpull.reports.layout import runs_text, tables
from pushpull.reports.markup import markdown
from pushpull.reports.report_files import long_csv, wide_csv
from pushpull.reports.terminal import print_comparison


@pytest.fixture
def comparison(seeds):
    baseline = seeds("plain", [(0.20, 0.40), (0.30, 0.50)])
    run = seeds("pp3", [(0.25, 0.40), (0.35, 0.40)])
    return compare(baseline, [run], commands=["pushpull compare plain pp3"])


def printed(comparison, width, **options):
    console = Console(width=width, file=io.StringIO(), highlight=False, **options)
    print_comparison(comparison, console)
    return console.file.getvalue()


def test_main_table_cells(comparison):
    _, heads, rows = tables(comparison)[0]
    assert heads == [
        "model", "E (clean)", "mean corruption error", "mCE vs baseline", "relative mCE vs baseline", "R_net",
    ]  # fmt: skip
    (_, baseline), (_, run) = rows
    assert [cell.text for cell in baseline][:2] == ["25.0 ± 7.1", "45.0 ± 7.1"]
    assert [cell.text for cell in run][:2] == ["30.0 ± 7.1", "40.0 ± 0.0"]
    assert [cell.trend for cell in run] == ["worse", "better", "better", "better", "worse"]
    assert (baseline[0].bold, run[0].bold, run[1].bold) == (True, False, True)
    assert run[1].difference == "−5.0"
    # R_net by seed: 100 (-0.05 + 0) / 0.4 = -12.5 and 100 (-0.05 + 0.1) / 0.6 = 8.33.
    assert run[4].text == "−2.1 ± 14.7"


def test_corruption_table_has_models_as_columns(comparison):
    _, heads, rows = tables(comparison)[-1]
    assert heads == ["corruption", "resnet14 plain", "resnet14 pp3"]
    assert [name for name, _ in rows][-1] == "JPEG compression"
    assert len(rows) == 15


@pytest.mark.parametrize("width", [60, 80, 100])
def test_terminal_fits_its_width(comparison, width):
    lines = printed(comparison, width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for needed in ("DEMONSTRATION, NOT EVIDENCE", "40.0", "gaussian noise", "weather", "1000 (test split)"):
        assert needed in text


def test_terminal_says_the_convention(comparison):
    text = " ".join(printed(comparison, 100).split())
    assert "NOT AlexNet-normalised" in text
    assert "fitted to the published table" in text


def test_terminal_shows_best_in_bold_and_the_trend_in_colour(comparison):
    text = printed(comparison, 100, force_terminal=True, color_system="standard")
    # Bold green: the best and better than the baseline; red: worse.
    assert "\x1b[1;32m40.0 ± 0.0" in text
    assert "\x1b[31m30.0 ± 7.1" in text


def test_terminal_splits_many_models_and_repeats_the_baseline(results):
    entries = [Entry.of([results()], label=f"model number {i}") for i in range(9)]
    text = printed(compare(entries[0], entries[1:]), 100)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("gaussian noise") > 1
    assert "8 models against model number 0" in text


def test_labels_are_never_markup(results):
    entries = [Entry.of([results()], label=label) for label in ("[red]a[/red]", "<b>|x|*y*_z_`w`")]
    comparison = compare(entries[0], entries[1:])
    assert "[red]a[/red]" in printed(comparison, 100)
    text = markdown(comparison)
    assert r"&lt;b>\|x\|\*y\*\_z\_\`w\`" in text
    assert r"\[red\]a\[/red\]" in text


def test_markdown(comparison):
    text = markdown(comparison)
    lines = text.splitlines()
    assert lines[0] == "# resnet14 pp3 against resnet14 plain"
    assert "**demonstration, not evidence**" in lines
    assert "- Runs: 2 seeds (0, 1) a model" in lines
    assert "| fog | 45.0 ± 7.1 | **40.0 ± 0.0** (−5.0) |" in lines
    heads = next(line for line in lines if line.startswith("| model | E (clean)"))
    assert heads.count("|") == lines[lines.index(heads) + 1].count("|") == 7
    assert "pushpull compare plain pp3" in lines


def test_wide_csv_holds_fractions_and_spreads(comparison):
    baseline, run = csv.DictReader(io.StringIO(wide_csv(comparison)))
    assert (run["model"], run["baseline"], run["runs"], run["seeds"]) == ("resnet14 pp3", "no", "2", "0 1")
    assert baseline["baseline"] == "yes"
    assert float(run["mean_corruption_error"]) == 0.4
    assert float(baseline["clean_error_std"]) == pytest.approx(0.070711)
    assert run["data"] == "digits (demonstration, not evidence)"
    assert "mce_alexnet" not in run


def test_wide_csv_leaves_the_spread_of_one_run_empty(results):
    rows = csv.DictReader(io.StringIO(wide_csv(compare(Entry.of([results()]), [Entry.of([results("pp3")])]))))
    assert [row["clean_error_std"] for row in rows] == ["", ""]


def test_long_csv(comparison):
    rows = list(csv.DictReader(io.StringIO(long_csv(comparison))))
    assert list(rows[0]) == ["Task", "Dataset", "Metric", "Value", "Model"]
    assert rows[0] == {
        "Task": "Image Classification",
        "Dataset": "digits (demonstration, not evidence)",
        "Metric": "Top-1 error, fraction",
        "Value": "0.250000",
        "Model": "resnet14 plain, mean of 2 seeds (0, 1)",
    }
    assert rows[1]["Task"] == "Domain Generalization"
    assert rows[1]["Dataset"] == "digits (demonstration, not evidence)-C"
    assert (
        rows[1]["Metric"]
        == "Mean corruption error (plain mean over 15 x 5, not AlexNet-normalised), fraction"
    )
    assert len(rows) == 2 * len(comparison.columns)
    assert len({(row["Metric"], row["Model"]) for row in rows}) == len(rows)


def test_runs_text(results):
    def text(*seeds):
        entry = Entry.of([results("pp3", seed) for seed in seeds], label="run")
        return runs_text(compare(Entry.of([results()]), [entry]).rows[1])

    assert [text(3), text(None), text(0, 2), text(None, None)] == [
        "seed 3",
        "1 run",
        "2 seeds (0, 2)",
        "2 runs",
    ]
