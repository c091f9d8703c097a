"""A table for programs: CSV, one line a figure, and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pushpull.reports.columns import NET_REDUCTION, Column
from pushpull.reports.estimate import Estimate
from pushpull.reports.tables.statistics import TableFigures
from pushpull.reports.tables.text import LEVEL, About

SCHEMA = "pushpull-table/1"
HEADER = ("row", "minus", "figure", "convention", "unit", "seeds", "mean", "std", "low95", "high95")


def table_csv(figures: TableFigures | None) -> str:
    """One line a figure, and one a difference (`minus` names the twin); errors are fractions.

    std, low95 and high95 (the 95 % interval of the mean) are empty for a single seed.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in () if figures is None else figures.rows:
        for minus, seeds, estimates in (
            ("", row.seeds, row.values),
            (row.twin or "", row.paired_seeds, row.differences),
        ):
            for column in figures.columns if figures is not None else ():
                if column.key in estimates:
                    of = row.baseline_seeds if column is NET_REDUCTION and not minus else seeds
                    writer.writerow(_line(row.name, minus, column, of, estimates[column.key]))
    return text.getvalue()


def _line(name: str, minus: str, column: Column, seeds: Sequence[int], estimate: Estimate) -> list[object]:
    unit = "percent" if column.factor == 1 else "ratio" if "mce" in column.key else "fraction"
    half = estimate.half_width(LEVEL)
    mean, std = f"{estimate.mean:.6f}", "" if estimate.std is None else f"{estimate.std:.6f}"
    interval = ["", ""] if half is None else [f"{estimate.mean - half:.6f}", f"{estimate.mean + half:.6f}"]
    return [name, minus, column.key, column.metric, unit, " ".join(map(str, seeds)), mean, std, *interval]


def table_json(figures: TableFigures | None, about: About, recipes: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values: what was measured, every figure with its interval, the recipe of each row."""
    values = asdict(about)
    remains = values.pop("remains")
    found: dict[str, Any] = {"schema": SCHEMA, **values, **remains, "problems": dict(about.remains.problems)}
    found["complete"] = not about.remains.missing
    found |= {"recipes": dict(recipes), "level": LEVEL, "rows": []}
    if figures is None:
        return found
    for row in figures.rows:
        figures_of_row = {"values": _estimates(row.values), "differences": _estimates(row.differences)}
        found["rows"].append({**asdict(row), **figures_of_row})
    return found | {
        "setting": asdict(figures.setting),
        "note": figures.note,
        "baseline": figures.baseline,
        "columns": [asdict(column) for column in figures.columns],
    }


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    return {
        key: {**asdict(estimate), "half_width": estimate.half_width(LEVEL)}
        for key, estimate in estimates.items()
    }
