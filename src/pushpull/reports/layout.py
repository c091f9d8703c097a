"""The tables of a comparison as text cells, the same for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pushpull.reports.columns import Column, severities_text
from pushpull.reports.comparison import Comparison, Row

Trend = Literal["better", "worse", "same"]


@dataclass(frozen=True)
class Cell:
    """One figure as it is printed.

    Args:
        text: the figure with its spread, in percent.
        best: whether no row has a better one.
        trend: against the baseline; "same" where the printed figures do not differ, and for the baseline.
        difference: the signed difference to the baseline, empty for the baseline.
        points: the same in percentage points, for shading.
    """

    text: str
    best: bool
    trend: Trend
    difference: str = ""
    points: float = 0.0


@dataclass(frozen=True)
class Table:
    """A caption, column heads and rows of cells; `corner` heads the column of row heads."""

    caption: str
    corner: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def main_table(comparison: Comparison) -> Table | None:
    """One row a model: clean error, the means with their conventions, R_net; None where none is defined."""
    columns = comparison.group("main")
    return _by_model(comparison, columns, "Clean and mean corruption error, percent") if columns else None


def family_table(comparison: Comparison) -> Table | None:
    """One row a model, one column a family; None where no family was measured whole."""
    columns = comparison.group("family")
    return _by_model(comparison, columns, "Mean error by family of corruptions, percent") if columns else None


def corruption_table(comparison: Comparison, rows: Sequence[Row] | None = None) -> Table:
    """One row a corruption, one column a model (all, or those of `rows`)."""
    shown = comparison.rows if rows is None else tuple(rows)
    return Table(
        f"Error by corruption (mean over {severities_text(comparison.setting.severities)}), percent",
        "corruption",
        tuple(row.label for row in shown),
        tuple(
            (
                f"{column.title} (extra)" if column.group == "extra" else column.title,
                tuple(_cell(comparison, column, row) for row in shown),
            )
            for column in comparison.group("corruption", "extra")
        ),
    )


def _by_model(comparison: Comparison, columns: Sequence[Column], caption: str) -> Table:
    return Table(
        caption,
        "model",
        tuple(column.title for column in columns),
        tuple(
            (row.label, tuple(_cell(comparison, column, row) for column in columns))
            for row in comparison.rows
        ),
    )


def _cell(comparison: Comparison, column: Column, row: Row) -> Cell:
    text = row.values[column.key].text(column.factor)
    best = row.label in comparison.best(column)
    if row.is_baseline:
        return Cell(text, best, "same")
    difference = row.differences[column.key]
    points = difference.mean * column.factor
    trend: Trend = "same"
    if round(points, 1):
        trend = "better" if (points < 0) == column.lower_is_better else "worse"
    return Cell(text, best, trend, difference.text(column.factor, spread=False, signed=True), points)


def runs_text(row: Row) -> str:
    """`3 seeds (0, 1, 2)`, `seed 0` or `1 run`."""
    known = [str(seed) for seed in row.seeds if seed is not None]
    if len(row.seeds) == 1:
        return f"seed {known[0]}" if known else "1 run"
    return f"{len(row.seeds)} seeds ({', '.join(known)})" if known else f"{len(row.seeds)} runs"


def seeds_text(comparison: Comparison) -> str:
    """`runs_text` of all rows: once where they agree, else one a row."""
    texts = {row.label: runs_text(row) for row in comparison.rows}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))} a model"
    return "; ".join(f"{label}: {text}" for label, text in texts.items())
