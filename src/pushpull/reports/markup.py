"""A comparison as text: in the terminal, as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from pushpull.errors import all_printable
from pushpull.reports.comparison import Comparison
from pushpull.reports.layout import BY_CORRUPTION, Cell, Table, all_runs_text, looks, tables

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the beginning of a row \\ would take it, and a star, for its argument
    "*": "{*}",
    "\N{MINUS SIGN}": "$-$",
    "±": r"$\pm$",
}

_LEGEND = "Bold: the best. In brackets: the difference to the baseline, in percentage points."


def markdown(comparison: Comparison) -> str:
    """The whole comparison as GitHub-flavoured Markdown: heading, setting, tables, footnotes."""
    comparison = all_printable(comparison)
    rows = ("Baseline", comparison.rows[0].label), ("Runs", all_runs_text(comparison))
    parts = [
        _head(comparison.title, comparison.note),
        *map(escape, comparison.lead),
        _facts([*comparison.setting.summary(), *rows]),
        *markdown_tables(comparison),
        "" if comparison.intervals else _LEGEND,
        _list(comparison.footnotes),
        fenced("\n".join(comparison.commands)) if comparison.commands else "",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def table_markdown(comparison: Comparison | None, about: Mapping[str, Any]) -> str:
    """A table of rows and their twins as Markdown, with what is missing in it.

    Args:
        comparison: its figures; None: nothing is measured.
        about: title, facts, notes, command, missing, problems and unasked, as in table.json.
    """
    comparison, about = all_printable(comparison), all_printable(about)
    parts = [_head(about["title"], comparison.note if comparison else None)]
    if about["missing"]:
        missing = about["missing"]
        parts.append(f"**Not complete:** {len(missing)} runs are missing ({few(missing)}).")
    if about["problems"]:
        parts.append(_facts(about["problems"].items()))
    if about["unasked"]:
        parts.append(
            f"**A part of the table:** {len(about['unasked'])} of its runs are not done and were not asked "
            f"for ({few(about['unasked'])})."
        )
    parts.append(_facts([*about["facts"], *(comparison.setting.summary() if comparison else ())]))
    if comparison is not None:
        notes = (f"- {note}" for note in about["notes"])  # may hold Markdown
        parts += [*markdown_tables(comparison), "\n".join([_list(comparison.footnotes), *notes])]
    parts.append(fenced(about["command"], "sh"))
    return "\n\n".join(parts) + "\n"


def _head(title: str, note: str | None) -> str:
    return f"# {escape(title)}" + (f"\n\n**{escape(note)}**" if note else "")


def few(names: Sequence[str]) -> str:
    """Return the first six names."""
    return ", ".join(names[:6]) + (", ..." if names[6:] else "")


def markdown_tables(comparison: Comparison) -> list[str]:
    """The captions and the tables of a comparison, each as Markdown."""
    found = []
    for table in tables(comparison):
        head, *rows = ("| " + " | ".join(line) + " |" for line in _lines(table, "**{}**", escape))
        rule = "| --- |" + " ---: |" * (len(table[1]) - 1)
        found += [f"**{escape(table[0])}**", "\n".join([head, rule, *rows])]
    return found


def latex(comparison: Comparison) -> str:
    r"""The tables of a comparison as LaTeX, one `table` each; needs `\usepackage{booktabs}`.

    The footnotes stand above them as comments.
    """
    comparison = all_printable(comparison)
    notes = [note for note in (comparison.title, comparison.note, *comparison.footnotes) if note]
    return "\n".join(
        [*("% " + " ".join(note.split()) for note in notes), *map(_latex_table, tables(comparison))]
    )


def _latex_table(table: Table) -> str:
    import pandas  # a third of a second

    heads, *lines = _lines(table, r"\textbf{{{}}}", latex_escape)
    frame, align = pandas.DataFrame(lines, columns=heads), "l" + "r" * (len(heads) - 1)
    return frame.to_latex(index=False, escape=False, caption=latex_escape(table[0]), column_format=align)


def _lines(table: Table, bold: str, escaped: Callable[[str], str]) -> Iterator[list[str]]:
    """Yield heads, then rows as text, strong cells as `bold`; with differences where columns are models."""
    _, heads, body = table
    yield list(map(escaped, heads))
    for name, cells in body:
        texts = [(bold if cell.bold else "{}").format(escaped(cell.text)) for cell in cells]
        for at, cell in enumerate(cells):
            if cell.difference and heads[0] == BY_CORRUPTION:
                texts[at] += f" ({escaped(cell.difference)})"
        yield [escaped(name), *texts]


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape(item)}" for item in items)


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return _list(f"{name}: {text}" for name, text in facts)


def fenced(code: str, language: str = "") -> str:
    """A block of code in Markdown, between more backticks than stand together in it.

    >>> fenced("ls")
    '```\\nls\\n```'
    """
    fence = "`" * max(3, *(1 + len(run) for run in re.findall("`+", code) or [""]))
    return f"{fence}{language}\n{code}\n{fence}"


def escape(text: str) -> str:
    """Text as itself in Markdown: no markup, no HTML, no new column, one line.

    >>> escape("*a* R_net")
    '\\\\*a\\\\* R_net'
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    # An underscore inside a word is no markup.
    return re.sub(r"([\\`*~|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def latex_escape(text: str) -> str:
    r"""Text as itself in LaTeX, one line.

    >>> latex_escape("PP3 & 5 %")
    'PP3 \\& 5 \\%'
    """
    escaped = "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
    return re.sub("-(?=-)", "-{}", escaped)  # two would be a dash


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
    colours = {label: colour for label, (colour, _) in looks(comparison).items() if colour[0] == "#"}
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
