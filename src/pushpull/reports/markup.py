"""A comparison as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pushpull.errors import all_printable
from pushpull.reports.comparison import Comparison
from pushpull.reports.layout import BY_CORRUPTION, Cell, Table, all_runs_text, tables

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
    facts = [
        *comparison.setting.summary(),
        ("Baseline", comparison.rows[0].label),
        ("Runs", all_runs_text(comparison)),
    ]
    parts = [
        f"# {escape(comparison.title)}",
        *([f"**{escape(comparison.note)}**"] if comparison.note else []),
        _list(f"{name}: {text}" for name, text in facts),
        *markdown_tables(comparison),
        *([] if comparison.intervals else [_LEGEND]),
        _list(comparison.footnotes),
        *([fenced("\n".join(comparison.commands))] if comparison.commands else []),
    ]
    return "\n\n".join(parts) + "\n"


def table_markdown(comparison: Comparison | None, about: Mapping[str, Any]) -> str:
    """A table of rows and their twins as Markdown, with what is missing in it.

    Args:
        comparison: its figures; None: nothing is measured.
        about: title, facts, notes, command, missing, problems and unasked, as in table.json.
    """
    comparison, about = all_printable(comparison), all_printable(about)
    parts = [f"# {escape(about['title'])}"]
    if comparison is not None and comparison.note:
        parts.append(f"**{escape(comparison.note)}**")
    if about["missing"]:
        missing = about["missing"]
        parts.append(f"**Not complete:** {len(missing)} runs are missing ({few(missing)}).")
    if about["problems"]:
        parts.append(_list(f"{name}: {why}" for name, why in about["problems"].items()))
    if about["unasked"]:
        parts.append(
            f"**A part of the table:** {len(about['unasked'])} of its runs are not done and were not asked "
            f"for ({few(about['unasked'])})."
        )
    setting = [] if comparison is None else comparison.setting.summary()
    parts.append(_list(f"{name}: {text}" for name, text in (*about["facts"], *setting)))
    if comparison is not None:
        parts += markdown_tables(comparison)
        notes = _list(comparison.footnotes)
        parts.append("\n".join([notes, *(f"- {note}" for note in about["notes"])]))  # may hold Markdown
    parts.append(fenced(about["command"], "sh"))
    return "\n\n".join(parts) + "\n"


def few(names: Sequence[str]) -> str:
    """Return the first six names."""
    return ", ".join(names[:6]) + (", ..." if names[6:] else "")


def markdown_tables(comparison: Comparison) -> list[str]:
    """The captions and the tables of a comparison, each as Markdown."""
    found = []
    for caption, heads, body in tables(comparison):
        lines = [list(map(escape, heads))]
        lines += [
            [escape(name), *_marked(heads, cells, lambda text: f"**{text}**", escape)] for name, cells in body
        ]
        head, *rows = ["| " + " | ".join(line) + " |" for line in lines]
        found += [
            f"**{escape(caption)}**",
            "\n".join([head, "| --- |" + " ---: |" * (len(heads) - 1), *rows]),
        ]
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

    caption, heads, body = table
    lines = [
        [latex_escape(name), *_marked(heads, cells, lambda text: rf"\textbf{{{text}}}", latex_escape)]
        for name, cells in body
    ]
    frame = pandas.DataFrame(lines, columns=list(map(latex_escape, heads)))
    return frame.to_latex(
        index=False, escape=False, caption=latex_escape(caption), column_format="l" + "r" * (len(heads) - 1)
    )


def _marked(
    heads: Sequence[str], cells: Sequence[Cell], strong: Callable[[str], str], escaped: Callable[[str], str]
) -> list[str]:
    """The cells as text, the strong ones marked; with differences where columns are models."""
    texts = []
    for cell in cells:
        text = escaped(cell.text)
        text = strong(text) if cell.bold else text
        with_difference = cell.difference and heads[0] == BY_CORRUPTION
        texts.append(f"{text} ({escaped(cell.difference)})" if with_difference else text)
    return texts


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape(item)}" for item in items)


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
