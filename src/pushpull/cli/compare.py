"""The command `pushpull compare`."""

from __future__ import annotations

import shlex

from pushpull.reports.comparison import compare
from pushpull.reports.terminal import print_comparison
from pushpull.reports.write import write_report


def compare_command(
    baseline: str, runs: list[str], output: str | None = None, title: str | None = None
) -> None:
    """Compare evaluated models with a baseline: clean error, corruption errors, R_net.

    Args:
        baseline: What the others are compared with: a run folder, a results.json, or a folder that holds
            one run folder a seed (then means and spreads are shown).
        runs: The models to compare, each named as the baseline is; at least one.
        output: A folder for the report: tables (Markdown, CSV, JSON), figures (PNG, SVG) and index.html.
            Without it the comparison is only printed.
        title: Heading of the report; by default it names the models.
    """
    words = ["pushpull", "compare", baseline, *runs]
    words += ["--output", output] if output else []
    comparison = compare(baseline, runs, title=title, commands=[shlex.join(words)])
    print_comparison(comparison)
    if output is not None:
        paths = write_report(comparison, output)
        print(f"Report: {paths[0]} (with {len(paths) - 1} tables and figures beside it)")
