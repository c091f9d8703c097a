"""A comparison in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.layout import Cell, Table, corruption_table, family_table, main_table, seeds_text

_STYLES = {"better": "green", "worse": "red", "same": ""}


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
    console.print(Text(f"{'Runs:':<18}{seeds_text(comparison)}"))
    console.print()
    tables = [main_table(comparison), family_table(comparison)]
    tables += [corruption_table(comparison, rows) for rows in _groups(comparison, console)]
    for table in tables:
        if table is not None:
            console.print(Text(table.caption, style="bold"))
            console.print(_fitted(table, console))
    if console.is_terminal:
        console.print(Text("Bold: the best. Green: better than the baseline; red: worse.", style="dim"))
    for note in comparison.footnotes:
        console.print(Text(f"· {note}", style="dim"))


def _fitted(table: Table, console: Console) -> RichTable:
    """The table on one line a row where that fits, else with the spread below the figure."""
    for stacked in (False, True):
        drawn = _draw(table, stacked)
        if Measurement.get(console, console.options, drawn).maximum < console.width:
            break
    return drawn


def _draw(table: Table, stacked: bool) -> RichTable:
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column(table.corner, overflow="fold", min_width=8)
    for head in table.heads:
        # Long heads wrap at their words.
        drawn.add_column(
            Text(head),
            justify="right",
            min_width=max(map(len, head.split())),
            max_width=None if stacked else 13,
        )
    for name, cells in table.rows:
        drawn.add_row(Text(name), *(_text(cell, stacked) for cell in cells))
    return drawn


def _text(cell: Cell, stacked: bool) -> Text:
    text = cell.text.replace(" ± ", "\n± ") if stacked else cell.text
    return Text(text, style=f"{'bold ' if cell.best else ''}{_STYLES[cell.trend]}".strip(), no_wrap=True)


def _groups(comparison: Comparison, console: Console) -> list[list[Row]]:
    """Models in groups that fit side by side; the baseline leads each group."""
    name_width, figure_width = 22, 16
    baseline, *others = comparison.rows
    each = max(1, (console.width - name_width) // figure_width - 1)
    return [[baseline, *others[start : start + each]] for start in range(0, len(others), each)]
