"""The tables of a comparison as text cells, the same for the terminal, Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pushpull.errors import all_printable
from pushpull.reports.columns import Column, seeds_text, severities_text
from pushpull.reports.comparison import Comparison, Row

Trend = Literal["better", "worse", "same"]
# The colours of models, the same on page, in figures and in the terminal: Okabe and Ito's hues, which
# colour-blind readers tell apart, at a lightness that has a contrast of 3 with white and with the dark page.
COLOURS = ("#2a83c4", "#d55e00", "#009e73", "#b8649a", "#b57a00", "#2a98b8")
_DASHES = ("", "6 3", "2 2")


class Look(NamedTuple):
    """How a model is drawn: a colour that CSS knows, and the dashes of its line (empty: none)."""

    colour: str
    dash: str


def looks(comparison: Comparison) -> dict[str, Look]:
    """Return each row's look; a baseline has the ink of the page, and dashes change when colours run out."""
    found = {}
    others = [row for row in comparison.rows if not _is_ink(comparison, row)]
    for n, row in enumerate(others):
        found[row.label] = Look(COLOURS[n % len(COLOURS)], _DASHES[n // len(COLOURS) % len(_DASHES)])
    return {row.label: found.get(row.label, Look("var(--ink)", "4 2")) for row in comparison.rows}


def _is_ink(comparison: Comparison, row: Row) -> bool:
    return row.is_baseline and len(comparison.rows) > 1


@dataclass(frozen=True)
class Cell:
    """One figure as it is printed.

    Args:
        text: the figure with its spread, in percent; empty where there is none.
        bold: of an error, whether no row has a better one; of a difference, whether its 95 % interval leaves
            zero out.
        trend: against the baseline; "same" where the printed figures do not differ, and for the baseline.
        difference: the signed difference to the baseline, empty for the baseline.
        points: the same in percentage points, for shading.
    """

    text: str
    bold: bool = False
    trend: Trend = "same"
    difference: str = ""
    points: float = 0.0


# A caption; the heads, that of the row heads first; the row heads with their cells.
Table = tuple[str, list[str], list[tuple[str, list[Cell]]]]
BY_CORRUPTION = "corruption"  # the first head of tables whose columns are models


def tables(comparison: Comparison, bold: Callable[[Row, Column], bool] | None = None) -> list[Table]:
    """All tables of a comparison, in their order; those without a column are left out. All is `printable`.

    Args:
        comparison: what to show.
        bold: which errors are; None: those than which no row has a better one.
    """
    comparison = all_printable(comparison)
    if comparison.intervals:
        return _interval_tables(comparison)
    main, families = comparison.group("main"), comparison.group("family")
    rows, shown = comparison.rows, _shown(comparison, bold)
    found = [
        _by_row("Clean and mean corruption error, percent", "model", main, rows, shown),
        _by_row("Mean error by family of corruptions, percent", "model", families, rows, shown),
    ]
    if any(len(row.seeds) > 1 for row in rows):
        caption = f"Difference to {rows[0].label}, percentage points, with 95 % intervals"
        pairs = [row for row in rows if row.against]
        found.append(_by_row(caption, "model", (*main, *families), pairs, _difference))
    over = severities_text(comparison.setting.severities)
    found.append(_by_corruption(f"Error by corruption (mean over {over}), percent", comparison, rows, shown))
    if comparison.per_severity:
        found += [_by_severity(comparison, row) for row in rows]
    return [table for table in found if len(table[1]) > 1]


def _by_severity(comparison: Comparison, row: Row) -> Table:
    """One line per corruption, one column per severity, of one row."""
    heads = ["severity", *map(str, comparison.setting.severities)]
    lines = [
        (column.title, [Cell(estimate.text()) for estimate in row.curves[column.key]])
        for column in comparison.group("corruption", "extra")
    ]
    return f"{row.label}: error by severity, percent", heads, lines


def _interval_tables(comparison: Comparison) -> list[Table]:
    """The tables of rows and their twins: what was measured, and the differences with their intervals."""
    pairs = [row for row in comparison.rows if row.against]
    main = comparison.group("main", "family")
    found = [_by_row("Errors and R_net, percent", "row", main, comparison.rows, _interval)]
    if pairs:
        caption = "Row minus its twin without push-pull, same seeds, percentage points"
        found.append(_by_row(caption, "difference", main, pairs, _difference))
    caption = "Errors by corruption (mean of 5 severities), percent"
    found.append(_by_corruption(caption, comparison, comparison.rows, _interval))
    if pairs:
        caption = "The same, row minus its twin, percentage points"
        found.append(_by_corruption(caption, comparison, pairs, _difference))
    return found


_MakeCell = Callable[[Row, Column], Cell]


def _by_row(
    caption: str, corner: str, columns: Sequence[Column], rows: Sequence[Row], cell: _MakeCell
) -> Table:
    """One line per row; where intervals are shown, with the seeds that they are over."""
    heads = [corner, *(["seeds"] if corner != "model" else []), *(column.title for column in columns)]
    lines = []
    for row in rows:
        cells = [cell(row, column) for column in columns]
        if corner != "model":
            cells.insert(0, Cell(seeds_text(row.seeds if cell is _interval else row.paired_seeds)))
        lines.append((row.label if corner != "difference" else _pair(row), cells))
    return caption, heads, lines


def _by_corruption(caption: str, comparison: Comparison, rows: Sequence[Row], cell: _MakeCell) -> Table:
    """One line per corruption, one column per row."""
    lines = []
    for column in comparison.group("corruption", "extra"):
        name = f"{column.title} (extra)" if column.group == "extra" else column.title
        lines.append((name, [cell(row, column) for row in rows]))
    return caption, [BY_CORRUPTION, *(_pair(r) if cell is _difference else r.label for r in rows)], lines


def _pair(row: Row) -> str:
    return f"{row.label} \N{MINUS SIGN} {row.against}"


def _shown(comparison: Comparison, strong: Callable[[Row, Column], bool] | None) -> _MakeCell:
    """Return what makes the cell of a figure with its standard deviation and its trend."""
    best = {column.key: comparison.best(column) for column in comparison.columns}

    def cell(row: Row, column: Column) -> Cell:
        text = row.values[column.key].text(column.factor)
        bold = strong(row, column) if strong else row.label in best[column.key]
        if column.key not in row.differences:
            return Cell(text, bold)
        difference = row.differences[column.key]
        points = difference.mean * column.factor
        trend: Trend = "same"
        if round(points, 1):
            trend = "better" if (points < 0) == column.lower_is_better else "worse"
        return Cell(text, bold, trend, difference.text(column.factor, spread=False, signed=True), points)

    return cell


def _interval(row: Row, column: Column) -> Cell:
    estimate = row.values.get(column.key)
    return Cell("" if estimate is None else estimate.text(column.factor, interval=True))


def _difference(row: Row, column: Column) -> Cell:
    estimate = row.differences.get(column.key)
    if estimate is None:
        return Cell("")
    half = estimate.half_width()
    bold = half is not None and abs(estimate.mean) > half
    return Cell(estimate.text(column.factor, signed=True, interval=True), bold)


def runs_text(row: Row) -> str:
    """`3 seeds (0, 1, 2)`, `seed 0` or `1 run`."""
    known, count = [str(seed) for seed in row.seeds if seed is not None], len(row.seeds)
    if count == 1:
        return f"seed {known[0]}" if known else "1 run"
    return f"{count} seeds ({', '.join(known)})" if known else f"{count} runs"


def all_runs_text(comparison: Comparison) -> str:
    """`runs_text` of all rows: once where they agree, else one per row."""
    texts = {row.label: runs_text(row) for row in comparison.rows}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))} per model"
    return "; ".join(f"{label}: {text}" for label, text in texts.items())
