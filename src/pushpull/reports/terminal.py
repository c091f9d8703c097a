"""A comparison in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from pushpull.reports.comparison import Comparison
from pushpull.reports.layout import BY_CORRUPTION, Cell, Table, all_runs_text, tables

_STYLES = {"better": "green", "worse": "red", "same": ""}
_NAME_WIDTH, _FIGURE_WIDTH = 22, 16


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print heading, tables and footnotes; nothing is wider than the console.

    Args:
        comparison: what to print.
        console: where; standard output by default.
    """
    console = console or Console(highlight=False)
    console.print(Text(comparison.title, style="bold"))
    if comparison.note:
        console.print(Text(comparison.note.upper(), style="bold yellow"))
    for name, text in comparison.setting.summary():
        console.print(Text(f"{name + ':':<18}{text}"))
    console.print(Text(f"{'Runs:':<18}{all_runs_text(comparison)}"))
    console.print()
    print_tables(comparison, console)
    if console.is_terminal and not comparison.intervals:
        console.print(Text("Bold: the best. Green: better than the baseline; red: worse.", style="dim"))
    for note in comparison.footnotes:
        console.print(Text(f"· {note}", style="dim"))


def print_tables(comparison: Comparison, console: Console | None = None) -> None:
    """Print the tables alone; nothing is wider than the console.

    Args:
        comparison: what to print.
        console: where; standard output by default.
    """
    console = console or Console(highlight=False)
    for table in tables(comparison):
        for part in _parts(table, console.width, repeated=not comparison.intervals):
            console.print(Text(part[0], style="bold"))
            console.print(_fitted(part, console))


def _fitted(table: Table, console: Console) -> RichTable:
    """The table on one line a row where that fits, else with the spread below the figure."""
    for stacked in (False, True):
        drawn = _draw(table, stacked)
        if Measurement.get(console, console.options, drawn).maximum < console.width:
            break
    return drawn


def _draw(table: Table, stacked: bool) -> RichTable:
    _, (corner, *heads), rows = table
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column(corner, overflow="fold", min_width=8)
    for head in heads:
        # Long heads wrap at their words.
        drawn.add_column(
            Text(head),
            justify="right",
            min_width=max(map(len, head.split())),
            max_width=None if stacked else 13,
        )
    for name, cells in rows:
        drawn.add_row(Text(name), *(_text(cell, stacked) for cell in cells))
    return drawn


def _text(cell: Cell, stacked: bool) -> Text:
    text = cell.text.replace(" ± ", "\n± ") if stacked else cell.text
    return Text(text, style=f"{'bold ' if cell.bold else ''}{_STYLES[cell.trend]}".strip(), no_wrap=True)


def _parts(table: Table, width: int, *, repeated: bool) -> list[Table]:
    """A table whose columns are models, in parts that fit; the first model leads each where `repeated`."""
    caption, (corner, *heads), rows = table
    if corner != BY_CORRUPTION:
        return [table]
    lead = [0] if repeated else []
    others = range(len(lead), len(heads))
    each = max(1, (width - _NAME_WIDTH) // _FIGURE_WIDTH - len(lead))
    groups: Sequence[Sequence[int]] = [[*lead, *others[at : at + each]] for at in range(0, len(others), each)]
    return [
        (
            caption,
            [corner, *(heads[i] for i in group)],
            [(name, [cells[i] for i in group]) for name, cells in rows],
        )
        for group in groups
    ]
