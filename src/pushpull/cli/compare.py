"""The command `pushpull compare`."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from typing import Literal

from pushpull.errors import say
from pushpull.reports.comparison import compare
from pushpull.reports.markup import latex, markdown
from pushpull.reports.report_files import wide_csv, write_report
from pushpull.reports.terminal import print_comparison


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
    if format == "terminal":
        print_comparison(comparison)
    elif format == "json":
        print(json.dumps(comparison.to_json(), indent=1, allow_nan=False))
    else:
        print({"markdown": markdown, "latex": latex, "csv": wide_csv}[format](comparison), end="")
    if output is not None:
        from pushpull.reports.gather import gather  # torch, which printing needs not

        paths = write_report(comparison, output, evidence=gather(comparison, pictures=False))
        # What is printed in another format may be on its way into a file.
        where = sys.stdout if format == "terminal" else sys.stderr
        say(f"Report: {paths[0]} (with {len(paths) - 1} tables and figures beside it)", file=where)
