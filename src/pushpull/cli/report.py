"""The commands that put results side by side: `report`, `compare`, `leaderboard`, `aggregate`."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from typing import Literal

from pushpull.errors import say
from pushpull.reports.aggregate import aggregate
from pushpull.reports.comparison import Comparison, compare
from pushpull.reports.leaderboard import leaderboard
from pushpull.reports.markup import latex, markdown, print_comparison
from pushpull.reports.report_files import report, wide_csv, write_report


def report_command(
    runs: list[str],
    output: str = "runs/report",
    title: str | None = None,
    no_pictures: bool = False,
    adapted: bool = False,
) -> None:
    """Write one page of how robust a model is, or of several models side by side: open it in a browser.

    Args:
        runs: Evaluated models: run folders, files of results, or folders that hold one run folder per seed.
            The first of several is what the others are compared with.
        output: The folder for the page, index.html, and for tables and figures beside it.
        title: Heading of the page; by default it names the models.
        no_pictures: Open neither data nor weights: no example images, no kernels.
        adapted: Networks that were adapted to the test images (evaluate --adapt bn) may stand beside others.

    Example:
        pushpull report runs/pp3 --output page
    """
    words = ["pushpull", "report", *runs, "--output", output]
    words += ["--no-pictures"] if no_pictures else []
    words += ["--adapted"] if adapted else []
    page = report(
        runs,
        output,
        title=title,
        pictures=not no_pictures,
        adapted=adapted,
        commands=[shlex.join(words)],
    )
    say(f"Open {page.resolve()}; tables and figures are beside it.")


def compare_command(
    baseline: str,
    runs: list[str],
    output: str | None = None,
    title: str | None = None,
    format: Literal["terminal", "markdown", "latex", "csv", "json"] = "terminal",
    adapted: bool = False,
    per_severity: bool = False,
) -> None:
    """Compare evaluated models with a baseline: clean error, corruption errors, R_net.

    Args:
        baseline: What the others are compared with: a run folder, a results.json, or a folder that holds
            one run folder per seed (then means and spreads are shown).
        runs: The models to compare, each named as the baseline is; at least one.
        output: A folder for the report: tables (Markdown, LaTeX, CSV, JSON), figures (PNG, SVG) and
            index.html. Without it the comparison is only printed.
        title: Heading of the report; by default it names the models.
        format: What is printed: tables for the terminal, Markdown, LaTeX (for booktabs), CSV with one row per
            model, or JSON.
        per_severity: Show each model's errors by corruption and severity too, and in CSV their columns.
        adapted: Networks that were adapted to the test images (evaluate --adapt bn) may stand beside others.

    Example:
        pushpull compare runs/plain runs/pp3 --output report
    """
    words = ["pushpull", "compare", baseline, *runs]
    words += ["--output", output] if output else []
    words += ["--adapted"] if adapted else []
    words += ["--per-severity"] if per_severity else []
    comparison = compare(baseline, runs, title=title, commands=[shlex.join(words)], adapted=adapted)
    comparison = replace(comparison, per_severity=per_severity)
    _print(comparison, format)
    if output is not None:
        from pushpull.reports.gather import gather  # imports torch, not needed for printing

        paths = write_report(comparison, output, evidence=gather(comparison, pictures=False))
        # What is printed in another format may be on its way into a file.
        where = sys.stdout if format == "terminal" else sys.stderr
        say(f"Report: {paths[0]} (with {len(paths) - 1} tables and figures beside it)", file=where)


def _print(comparison: Comparison, format: str) -> None:
    if format == "terminal":
        print_comparison(comparison)
    elif format == "json":
        print(json.dumps(comparison.to_json(), indent=1, allow_nan=False))
    else:
        print({"markdown": markdown, "latex": latex, "csv": wide_csv}[format](comparison), end="")


def leaderboard_command(
    folders: list[str], output: str = "leaderboard.html", title: str = "Leaderboard"
) -> None:
    """Write one page over many results: task, data set, metric, value, model, and progress over time.

    What was not measured alike stands in parts of its own.

    Args:
        folders: Folders; every results.json in and below them is entered. Or files of results.
        output: The page, one self-contained file, or a folder for it.
        title: Its heading.

    Example:
        pushpull leaderboard runs --output leaderboard.html
    """
    say(f"Leaderboard: {leaderboard(folders, output, title=title).resolve()}")


_IN_PERCENT = ("fraction", "ratio")


def aggregate_command(
    results: list[str],
    baseline: list[str] | None = None,
    format: Literal["terminal", "csv"] = "terminal",
) -> None:
    """Put one model's figures on several sets (C, C-bar, P, A, R, Sketch, V2) into one table.

    Args:
        results: Run folders, files of results, or stability.json of evaluate --perturbed; all of one model.
        baseline: The same of a model to compare with, for mCE, rCE, mFR, mT5D and relative robustness.
        format: What is printed: a table in percent, or CSV of fractions and ratios.

    Example:
        pushpull aggregate runs/pp3 runs/pp3-imagenet-r --baseline runs/plain runs/plain-imagenet-r
    """
    frame = aggregate(results, baseline or [])
    if format == "csv":
        print(frame.to_csv(index=False, lineterminator="\n"), end="")
        return
    for name, rows in frame.groupby("set", sort=False):
        say(str(name))
        for row in rows.itertuples():
            value = f"{100 * row.value:7.1f}" if row.unit in _IN_PERCENT else f"{row.value:7.2f}"
            say(f"  {row.metric:22} {value}   {row.convention}")
