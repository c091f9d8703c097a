"""A comparison as CSV: one row a model, and one row a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from pushpull.reports.columns import Column
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.layout import runs_text

LONG_HEADER = ("Task", "Dataset", "Metric", "Value", "Model")


def wide_csv(comparison: Comparison) -> str:
    """One row a model: what was measured, then each figure and its `_std` (empty for a single run).

    Errors are fractions in [0, 1] and mCE columns ratios (1 is the reference network), unlike printed tables;
    only `net_reduction_percent` is in percent.
    """
    setting = comparison.setting
    facts = {
        "data": setting.label,
        "split": setting.split,
        "images": setting.images,
        "scale": setting.scale,
        "corruption_seed": setting.corruption_seed,
        "corrupted_images": setting.source,
        "frost_textures": setting.frost_textures,
        "severities": " ".join(map(str, setting.severities)),
    }
    keys = [key for column in comparison.columns for key in (column.key, f"{column.key}_std")]
    header = ["model", "baseline", "runs", "seeds", *facts, *keys]
    return _csv(
        header, ([*_identity(row), *facts.values(), *_figures(comparison, row)] for row in comparison.rows)
    )


def _identity(row: Row) -> list[object]:
    seeds = " ".join(str(seed) for seed in row.seeds if seed is not None)
    return [row.label, "yes" if row.is_baseline else "no", len(row.seeds), seeds]


def _figures(comparison: Comparison, row: Row) -> list[object]:
    figures: list[object] = []
    for column in comparison.columns:
        estimate = row.values[column.key]
        figures += [_number(estimate.mean), "" if estimate.std is None else _number(estimate.std)]
    return figures


def long_csv(comparison: Comparison) -> str:
    """One row a figure in the columns Task, Dataset, Metric, Value, Model.

    The metric's name carries its convention and unit; values are means over the model's seeds.
    """
    clean = comparison.setting.label
    rows = []
    for row in comparison.rows:
        model = f"{row.label}, mean of {runs_text(row)}" if len(row.seeds) > 1 else row.label
        for column in comparison.columns:
            on_clean = column.key == "clean_error"
            rows.append(
                [
                    "Image Classification" if on_clean else "Domain Generalization",
                    clean if on_clean else f"{clean}-C",
                    f"{column.metric}, {_unit(column)}",
                    _number(row.values[column.key].mean),
                    model,
                ]
            )
    return _csv(LONG_HEADER, rows)


def _unit(column: Column) -> str:
    if column.key.endswith("_percent"):
        return "percent"
    return "ratio" if "mce" in column.key else "fraction"


def _number(value: float) -> str:
    """Six decimals: finer than one image in a million."""
    return f"{value:.6f}"


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
