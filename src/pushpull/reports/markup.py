"""A comparison as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pushpull.errors import all_printable
from pushpull.reports.comparison import Comparison
from pushpull.reports.layout import BY_CORRUPTION, Table, all_runs_text, tables

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
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
    return re.sub(r"([\\`*|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def latex_escape(text: str) -> str:
    r"""Text as itself in LaTeX, one line.

    >>> latex_escape("PP3 & 5 %")
    'PP3 \\& 5 \\%'
    """
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
