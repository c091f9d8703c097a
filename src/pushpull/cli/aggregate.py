"""The command `pushpull aggregate`."""

from __future__ import annotations

from typing import Literal

from pushpull.errors import say
from pushpull.reports.aggregate import aggregate

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
