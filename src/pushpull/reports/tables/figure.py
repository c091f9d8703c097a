"""A table's figure: what push-pull changes, twin by twin, with 95 % intervals."""

from __future__ import annotations

from matplotlib.figure import Figure

from pushpull.reports.columns import CLEAN_ERROR, MEAN_CORRUPTION_ERROR, Column
from pushpull.reports.figures import GRID, INK
from pushpull.reports.tables.statistics import RowFigures, TableFigures
from pushpull.reports.tables.text import LEVEL

# Okabe and Ito's colours, told apart by colour-blind readers.
_COLOURS = ("#0072b2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222426")
_MARKERS = ("s", "^", "D", "v", "P", "X", "o")


def twins(figures: TableFigures) -> Figure | None:
    """Draw each row minus its twin: clean error, mean of the 15, families; None where there are no twins.

    One line a figure, one mark a pair with a bar of the 95 % interval (none for a single seed).
    """
    pairs = [row for row in figures.rows if row.twin is not None]
    if not pairs:
        return None
    columns = [column for column in figures.columns if _is_shown(column)][::-1]
    figure = Figure(figsize=(8, 1.8 + len(columns) * max(0.3, 0.17 * len(pairs))), layout="constrained")
    panel = figure.add_subplot()
    step = 0.7 / len(pairs)
    for number, row in enumerate(pairs):
        _draw(panel, row, columns, ((len(pairs) - 1) / 2 - number) * step, number)
    panel.axvline(0, color=INK, linewidth=1)
    panel.set_yticks(range(len(columns)), [_label(column) for column in columns])
    panel.set_ylim(-0.6, len(columns) - 0.4)
    panel.set_xlabel("error minus that of the twin without push-pull, percentage points (left of 0: better)")
    panel.grid(color=GRID, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    figure.supxlabel(_below(figures), x=0.01, ha="left", fontsize=8, color=INK)
    return figure


def _is_shown(column: Column) -> bool:
    return column in (CLEAN_ERROR, MEAN_CORRUPTION_ERROR) or column.group == "family"


def _label(column: Column) -> str:
    return "mean of the 15" if column is MEAN_CORRUPTION_ERROR else column.title


def _draw(panel: object, row: RowFigures, columns: list[Column], offset: float, number: int) -> None:
    estimates = [row.differences[column.key] for column in columns]
    halves = [estimate.half_width(LEVEL) for estimate in estimates]
    panel.errorbar(  # type: ignore[attr-defined]
        [100 * estimate.mean for estimate in estimates],
        [place + offset for place in range(len(columns))],
        xerr=None if halves[0] is None else [100 * (half or 0.0) for half in halves],
        color=_COLOURS[number % len(_COLOURS)],
        fmt=_MARKERS[number % len(_MARKERS)],
        markersize=5,
        elinewidth=1.2,
        label=f"{row.name} (seeds {' '.join(map(str, row.paired_seeds))})".replace("$", r"\$"),
    )


def _below(figures: TableFigures) -> str:
    text = f"{figures.setting.label}; {figures.setting.images} test images; bars: 95 % over seeds, paired"
    if figures.note and figures.note not in text:
        text = f"{figures.note.upper()}; {text}"
    return text.replace("$", r"\$")
