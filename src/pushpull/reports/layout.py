"""What a comparison is drawn as: tables of text cells, the same everywhere, and the page's SVG panels.

Not plotly's: its script alone is 4.8 MB on every page, and panels of 340 px that wrap are read at 390 px as
at 1300. What the pointer or the arrow keys are on is told by `data-tip`, which page.js shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from pushpull.errors import all_printable
from pushpull.reports.columns import Column, seeds_text, severities_text
from pushpull.reports.comparison import Comparison, Row

Trend = Literal["better", "worse", "same"]
# The colours of models, the same on page, in figures and in the terminal: Okabe and Ito's hues, which
# colour-blind readers tell apart, at a lightness that has a contrast of 3 with white and with the dark page.
COLOURS = ("#2a83c4", "#d55e00", "#009e73", "#b8649a", "#b57a00", "#2a98b8")
_DASHES = ("", "6 3", "2 2")


Look = tuple[str, str]
"""How a model is drawn: a colour that CSS knows, and the dashes of its line (empty: none)."""


def looks(comparison: Comparison) -> dict[str, Look]:
    """Return each row's look; a baseline has the ink of the page, and dashes change when colours run out."""
    found = {}
    others = [row for row in comparison.rows if not _is_ink(comparison, row)]
    for n, row in enumerate(others):
        found[row.label] = COLOURS[n % len(COLOURS)], _DASHES[n // len(COLOURS) % len(_DASHES)]
    return {row.label: found.get(row.label, ("var(--ink)", "4 2")) for row in comparison.rows}


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
    lines, beside = [], bool(comparison.group("corruption"))
    for column in comparison.group("corruption", "extra"):
        name = f"{column.title} (extra)" if beside and column.group == "extra" else column.title
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


def spread_text(comparison: Comparison) -> str:
    """What bars and bands of the figures are; empty where no figure is of several runs, and has none."""
    seeds = [row.paired_seeds if comparison.intervals else row.seeds for row in comparison.rows]
    if max(map(len, seeds)) < 2:
        return ""
    return "95 % over seeds, paired" if comparison.intervals else "one standard deviation over seeds"


def all_runs_text(comparison: Comparison) -> str:
    """`runs_text` of all rows: once where they agree, else one per row."""
    texts = {row.label: runs_text(row) for row in comparison.rows}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))} per model"
    return "; ".join(f"{label}: {text}" for label, text in texts.items())


_WIDTH, _HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 10, 24, 34
_NAMES = 126  # px that the names of a panel of differences take
_LINE = 17  # px between its lines
Interval = tuple[float, float]


class Scale:
    """A linear axis: values to px, and where its ticks are.

    Args:
        low, high: the data's ends.
        start, end: their places in px.
        whole: whether the axis begins at `low` and ends at `high`, else at the ticks around them.
    """

    def __init__(self, low: float, high: float, start: float, end: float, *, whole: bool = False) -> None:
        high = high if high > low else low + 1
        step = _step(high - low)
        first, last = -(-low // step), high // step
        if not whole:
            first, last = low // step, -(-high // step)
            low, high = first * step, last * step
        self.low, self.high, self.start, self.end = low, high, start, end
        self.ticks = [round(step * n, 6) for n in range(int(first), int(last) + 1)]

    def __call__(self, value: float) -> float:
        """Return the place of a value in px, inside the panel."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def _step(span: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that makes about four ticks."""
    power = 10.0 ** (len(str(int(span))) - 1) if span >= 1 else 0.1
    return next(
        step for step in (power * f for f in (0.1, 0.2, 0.5, 1, 2, 5, 10)) if span / step <= 5 or step > span
    )


def curves(
    title: str,
    places: Sequence[tuple[float, str]],
    lines: Sequence[tuple[str, Look, Sequence[float], Sequence[float]]],
    axes: tuple[str, str],
    top: float,
) -> str:
    """Return lines over a few places, such as severities.

    Args:
        title: of the panel.
        places: where on the horizontal axis, and what is written there.
        lines: label, look, values in percent, and half of each value's spread (0: none).
        axes: names of the two axes.
        top: the highest value that the panel shows.
    """
    x = Scale(places[0][0], places[-1][0], _LEFT + 8, _WIDTH - _RIGHT - 8, whole=True)
    y = Scale(0, max(top, 1), _HEIGHT - _BOTTOM, _TOP)
    parts = _grid_y(y, _LEFT)
    at = [x(place) for place, _ in places]
    for _, look, values, spreads in lines:
        parts += _line(y, look, list(zip(at, values, spreads, strict=True)))
    half = (at[-1] - at[0]) / max(1, len(at) - 1) / 2 or 40
    for n, (_, name) in enumerate(places):
        parts.append(_text(at[n], _HEIGHT - _BOTTOM + 14, name, "middle"))
        said = [f"{label}: {values[n]:.1f}{_plus_minus(spreads[n])}" for label, _, values, spreads in lines]
        left, right = max(0, at[n] - half), min(_WIDTH, at[n] + half)
        parts.append(_hit(left, _TOP, right - left, _HEIGHT - _TOP - _BOTTOM, [f"{title}, {name}", *said]))
    return _panel(title, parts, axes, _HEIGHT)


def _line(y: Scale, look: Look, pairs: Sequence[tuple[float, float, float]]) -> list[str]:
    """Return a line through its points (px, value, half of the spread), with the band of the spreads."""
    parts, colour = [], look[0]
    if any(spread for _, _, spread in pairs):
        edge = [f"{px},{y(v + s)}" for px, v, s in pairs] + [f"{px},{y(v - s)}" for px, v, s in pairs[::-1]]
        parts.append(f'<polygon points="{" ".join(edge)}" fill="{colour}" opacity=".15"/>')
    points = " ".join(f"{px},{y(value)}" for px, value, _ in pairs)
    parts.append(_polyline(points, look))
    return parts + [f'<circle cx="{px}" cy="{y(v)}" r="2.6" fill="{colour}"/>' for px, v, _ in pairs]


def _polyline(points: str, look: Look) -> str:
    colour, dash = look
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'


def differences(
    title: str, lines: Sequence[tuple[str, float, Interval | None]], axis: str, span: Interval, unit: str = ""
) -> str:
    """Return one mark for each line, with its interval, right and left of zero; all panels share `span`.

    Args:
        title: of the panel.
        lines: name, difference and interval (None: not known), in percentage points; below 0 is better.
        axis: what is drawn.
        span: lowest and highest value of all panels.
        unit: what follows a number.
    """
    height = 6 + _LINE * len(lines) + _BOTTOM
    x = Scale(min(0, span[0]), max(0, span[1]), _NAMES + 4, _WIDTH - _RIGHT)
    parts = []
    for tick in x.ticks:
        kind = "zero" if tick == 0 else "rule"
        parts.append(f'<line class="{kind}" x1="{x(tick)}" x2="{x(tick)}" y1="6" y2="{height - _BOTTOM}"/>')
        parts.append(_text(x(tick), height - _BOTTOM + 14, _number(tick), "middle"))
    for n, (name, value, interval) in enumerate(lines):
        middle = 6 + _LINE * (n + 0.5)
        low, high = interval or (value, value)
        settled = interval is not None and not low <= 0 <= high
        kind = ("better" if value < 0 else "worse") if value else "same"
        most = _NAMES // 7  # letters of 7 px
        short = name if len(name) <= most else f"{name[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
        parts.append(_text(_NAMES - 4, middle + 4, short, "end", "strong" if settled else ""))
        if interval is None:
            parts.append(f'<line class="{kind}" x1="{x(0)}" x2="{x(value)}" y1="{middle}" y2="{middle}"/>')
        else:
            parts.append(f'<line class="{kind}" x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}"/>')
        hollow = " hollow" if interval is not None and not settled else ""
        parts.append(f'<circle class="{kind}{hollow}" cx="{x(value)}" cy="{middle}" r="4"/>')
        said = f"{name}: {_number(value, 1, signed=True)}{unit}"
        if interval is not None:
            said += f", 95 % interval {_number(low, 1, signed=True)} to {_number(high, 1, signed=True)}"
        parts.append(_hit(0, middle - _LINE / 2, _WIDTH, _LINE, [title, said]))
    return _panel(title, parts, (axis, ""), height)


def reliability(title: str, lines: Sequence[tuple[str, Look, Sequence[tuple[float, float, int]]]]) -> str:
    """Return how often answers are right against how sure the network says it is.

    Args:
        title: of the panel.
        lines: label, look, and for each bin mean confidence, share of right answers, and number of answers.
    """
    x = Scale(0, 100, _LEFT + 4, _WIDTH - _RIGHT - 4)
    y = Scale(0, 100, _HEIGHT - _BOTTOM, _TOP)
    parts = _grid_y(y, _LEFT)
    parts += [_text(x(tick), _HEIGHT - _BOTTOM + 14, _number(tick), "middle") for tick in x.ticks]
    parts.append(f'<line class="zero" x1="{x(0)}" y1="{y(0)}" x2="{x(100)}" y2="{y(100)}"/>')
    for label, look, bins in lines:
        points = " ".join(f"{x(100 * sure)},{y(100 * right)}" for sure, right, _ in bins)
        parts.append(_polyline(points, look))
        for sure, right, count in bins:
            place = x(100 * sure), y(100 * right)
            parts.append(f'<circle cx="{place[0]}" cy="{place[1]}" r="3" fill="{look[0]}"/>')
            said = f"{count:,} answers, {100 * sure:.0f} % sure, {100 * right:.0f} % right"
            parts.append(_hit(place[0] - 8, place[1] - 8, 16, 16, [f"{title}, {label}", said]))
    return _panel(title, parts, ("confidence, percent", "right answers, percent"), _HEIGHT)


def _panel(title: str, parts: Sequence[str], axes: tuple[str, str], height: float) -> str:
    across, up = axes
    drawn = [*parts, _text(_WIDTH - _RIGHT, height - 4, across, "end", "axis")]
    if up:
        drawn.append(_text(0, 9, up, "start", "axis"))
    label = escape(f"{title}: {' against '.join(filter(None, (up, across)))}. Arrow keys read the values.")
    return (
        f'<figure class="panel"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" tabindex="0" aria-label="{label}">'
        f"{''.join(drawn)}</svg></figure>"
    )


def _grid_y(y: Scale, left: float) -> list[str]:
    parts = []
    for tick in y.ticks:
        kind = "zero" if tick == y.low else "rule"
        parts.append(
            f'<line class="{kind}" x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
        )
        parts.append(_text(left - 5, y(tick) + 4, _number(tick), "end"))
    return parts


def _hit(x: float, y: float, width: float, height: float, tip: Sequence[str]) -> str:
    text = escape("\n".join(tip)).replace("\n", "&#10;")
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="hit" {box} data-tip="{text}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float, digits: int | None = None, *, signed: bool = False) -> str:
    value = value if digits is None else round(value, digits) + 0.0
    text = f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return ("+" if signed and value > 0 else "") + text.replace("-", "\N{MINUS SIGN}")


def _plus_minus(spread: float) -> str:
    return f" ± {spread:.1f}" if spread else ""
