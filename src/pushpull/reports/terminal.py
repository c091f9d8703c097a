"""A comparison in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from pushpull.errors import all_printable
from pushpull.reports.comparison import Comparison
from pushpull.reports.layout import BY_CORRUPTION, Cell, Table, all_runs_text, looks, tables

_STYLES = {"better": "green", "worse": "red", "same": ""}
_NAME_WIDTH, _FIGURE_WIDTH = 22, 16


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print heading, tables and footnotes; nothing is wider than the console.

    Args:
        comparison: what to print.
        console: where; standard output by default.
    """
    comparison = all_printable(comparison)
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
    colours = {label: look.colour for label, look in looks(comparison).items() if look.colour[0] == "#"}
    for table in tables(comparison):
        for part in _parts(table, console, lead=0 if comparison.intervals else 1):
            console.print(Text(part[0], style="bold"))
            drawn = _draw(part, stacked=False, colours=colours)
            wide = Measurement.get(console, console.options, drawn).maximum >= console.width
            console.print(_draw(part, stacked=True, colours=colours) if wide else drawn)


def _parts(table: Table, console: Console, *, lead: int) -> list[Table]:
    """A table in as many parts, each with some of its columns, as it takes to fit.

    Where columns are models, the first `lead` of them stand in every part.
    """
    caption, (corner, *heads), rows = table
    models = corner == BY_CORRUPTION
    kept = list(range(lead if models else 0))
    others = range(len(kept), len(heads))
    each = (console.width - _NAME_WIDTH) // _FIGURE_WIDTH - len(kept) if models else len(others)
    while True:
        each = max(1, each)
        groups = [[*kept, *others[at : at + each]] for at in range(0, len(others), each)]
        parts: list[Table] = []
        for group in groups:
            body = [(name, [cells[i] for i in group]) for name, cells in rows]
            parts.append((caption, [corner, *(heads[i] for i in group)], body))
        if each == 1 or not any(_is_cut(_draw(part, stacked=True), console) for part in parts):
            return parts
        each -= 1


def _is_cut(drawn: RichTable, console: Console) -> bool:
    """Whether rich would cut figures to print it: whether it needs more than the console's width."""
    unlimited = console.options.update(max_width=1000)
    return Measurement.get(console, unlimited, drawn).minimum > console.width


def _draw(table: Table, stacked: bool, colours: Mapping[str, str] = MappingProxyType({})) -> RichTable:
    """Return a table as rich draws it; names of models are in the colours that they have on the page."""
    _, (corner, *heads), rows = table
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column(corner, overflow="fold", min_width=8)
    for i, head in enumerate(heads):
        # Long heads wrap at their words. Of columns without a width of their own, rich cuts figures off.
        lines = [line for _, cells in rows for line in _text(cells[i], stacked).plain.split("\n")]
        width = max(map(len, (*head.split(), *lines)))
        most = width if stacked else max(13, width)
        drawn.add_column(
            Text(head, style=colours.get(head, "")), justify="right", min_width=width, max_width=most
        )
    for name, cells in rows:
        drawn.add_row(Text(name, style=colours.get(name, "")), *(_text(cell, stacked) for cell in cells))
    return drawn


def _text(cell: Cell, stacked: bool) -> Text:
    text = cell.text.replace(" ± ", "\n± ") if stacked else cell.text
    return Text(text, style=f"{'bold ' if cell.bold else ''}{_STYLES[cell.trend]}".strip(), no_wrap=True)
