"""Terminal, Markdown, LaTeX and CSV of one comparison with figures known by hand."""

import csv
import io

import pytest
from rich.console import Console

from pushpull.reports import Entry, compare, compare_twins
from pushpull.reports.layout import COLOURS, looks, runs_text, tables
from pushpull.reports.markup import latex, latex_escape, markdown, print_comparison
from pushpull.reports.page import page
from pushpull.reports.report_files import long_csv, wide_csv


@pytest.fixture
def comparison(seeds):
    baseline = seeds("plain", [(0.20, 0.40), (0.30, 0.50)])
    run = seeds("pp3", [(0.25, 0.40), (0.35, 0.40)])
    return compare(baseline, [run], commands=["pushpull compare plain pp3"])


def printed(comparison, width, **options):
    console = Console(width=width, file=io.StringIO(), highlight=False, **options)
    print_comparison(comparison, console)
    return console.file.getvalue()


def test_a_model_has_one_colour_on_page_in_figures_and_in_the_terminal(comparison):
    from pushpull.reports.figures import error_by_severity

    baseline, run = (row.label for row in comparison.rows)
    colour, _ = looks(comparison)[run]
    assert colour == COLOURS[0]
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    shown = printed(comparison, 150, force_terminal=True, color_system="truecolor")
    assert f"\x1b[38;2;{red};{green};{blue}m{run}" in shown
    html = page(comparison)
    assert f'background:{colour}"></i><bdi>{run}' in html
    assert f'background:var(--ink)"></i><bdi>{baseline}' in html
    assert [line.get_color() for line in error_by_severity(comparison).axes[0].lines][1] == colour


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
    assert "- Runs: 2 seeds (0, 1) per model" in lines
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
    # Two rows of figures; of each of the four results a row a condition.
    assert len(rows) == 2 * len(comparison.columns) + 4 * 76
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


def test_differences_have_a_table_with_intervals_where_there_are_seeds(comparison, results):
    caption, heads, rows = tables(comparison)[2]
    assert caption == "Difference to resnet14 plain, percentage points, with 95 % intervals"
    assert heads[:3] == ["model", "E (clean)", "mean corruption error"]
    [(name, cells)] = rows
    # By seed +5 and +5 points; 0 and -10: t(1) = 12.706, times 5 sqrt 2 / sqrt 2.
    assert (name, cells[0].text, cells[0].bold) == ("resnet14 pp3", "+5.0 ± 0.0", True)
    assert (cells[1].text, cells[1].bold) == ("−5.0 ± 63.5", False)
    single = compare(Entry.of([results()]), [Entry.of([results("pp3")])])
    assert not any(caption.startswith("Difference") for caption, _, _ in tables(single))


def test_latex(comparison):
    lines = latex(comparison).splitlines()
    assert "% demonstration, not evidence" in lines
    assert lines.count(r"\begin{tabular}{lrr}") == 1  # a corruption a line, a model a column
    assert lines.count(r"\toprule") == lines.count(r"\bottomrule") == lines.count(r"\end{table}") == 4
    assert r"fog & 45.0 $\pm$ 7.1 & \textbf{40.0 $\pm$ 0.0} ($-$5.0) \\" in lines
    assert r"\caption{Error by corruption (mean over 5 severities), percent}" in lines
    assert sum(" & ".join(["model", "E (clean)"]) in line for line in lines) == 2
    for line in lines:
        assert line.startswith("%") or "%" not in line.replace(r"\%", "")


def test_labels_are_never_latex(results):
    label = r"50% & $x_1$ {#} \~^<>"
    text = latex(compare(Entry.of([results()], label=label), [Entry.of([results("pp3")])]))
    escaped = (
        r"50\% \& \$x\_1\$ \{\#\} "
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    )
    assert latex_escape(label) == escaped
    assert rf"{escaped} & \textbf{{20.0}} &" in text
    # After \\ a row's [ or * would be its argument; two hyphens would be a dash, a bar another letter.
    assert (
        latex_escape("[a] *b* --c | `d`")
        == r"{[}a] {*}b{*} -{}-c \textbar{} \textasciigrave{}d\textasciigrave{}"
    )


def test_a_data_frame_holds_values_and_differences_with_intervals(comparison):
    frame = comparison.to_dataframe().set_index(["row", "minus", "figure"])
    value = frame.loc["resnet14 plain", "", "clean_error"]
    assert (value["mean"], value["unit"], value["seeds"]) == (0.25, "fraction", "0 1")
    # 12.706205 0.0707107 / sqrt 2
    assert value["low95"] == pytest.approx(0.25 - 0.63531, abs=1e-5)
    difference = frame.loc["resnet14 pp3", "resnet14 plain", "mean_corruption_error"]
    assert (difference["mean"], difference["seeds"]) == (pytest.approx(-0.05), "0 1")
    assert difference["high95"] == pytest.approx(-0.05 + 0.63531, abs=1e-5)


def test_a_data_frame_of_single_runs_has_no_intervals(results):
    frame = compare(Entry.of([results()]), [Entry.of([results("pp3")])]).to_dataframe()
    assert frame[["std", "low95", "high95"]].isna().all().all()
    assert set(frame["minus"]) == {"", "resnet14 plain seed 0"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_cuts_no_figure_of_a_wide_table(results, width):
    entries = [
        Entry.of([results(stem, seed, errors=0.4 + 0.1 * seed) for seed in range(2)], label=f"a long {stem}")
        for stem in ("plain", "pp3", "pp5")
    ]
    twins = {"a long pp3": "a long plain", "a long pp5": "a long plain"}
    text = printed(compare_twins(entries, twins, "a long plain"), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    for family in ("noise", "blur", "weather", "digital"):
        assert family in words
