"""A comparison as Markdown."""

from __future__ import annotations

import re

from pushpull.reports.comparison import Comparison
from pushpull.reports.layout import Cell, Table, corruption_table, family_table, main_table, seeds_text


def markdown(comparison: Comparison) -> str:
    """The whole comparison as GitHub-flavoured Markdown: heading, setting, tables, footnotes."""
    parts = [f"# {escape(comparison.title)}"]
    if comparison.note:
        parts.append(f"**{escape(comparison.note)}**")
    facts = [
        *comparison.setting.summary(),
        ("Baseline", comparison.rows[0].label),
        ("Runs", seeds_text(comparison)),
    ]
    parts.append("\n".join(f"- {escape(name)}: {escape(text)}" for name, text in facts))
    for table in (main_table(comparison), family_table(comparison), corruption_table(comparison)):
        if table is not None:
            parts.append(f"**{escape(table.caption)}**")
            parts.append(_table(table))
    parts.append("Bold: the best. In brackets: the difference to the baseline, in percentage points.")
    parts.append("\n".join(f"- {escape(note)}" for note in comparison.footnotes))
    if comparison.commands:
        parts.append("```\n" + "\n".join(comparison.commands) + "\n```")
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = [_line([table.corner, *table.heads]), "| --- |" + " ---: |" * len(table.heads)]
    lines += [
        "| "
        + " | ".join([escape(name), *(_cell(cell, table.corner == "corruption") for cell in cells)])
        + " |"
        for name, cells in table.rows
    ]
    return "\n".join(lines)


def _cell(cell: Cell, with_difference: bool) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} ({cell.difference})" if with_difference and cell.difference else text


def _line(texts: list[str]) -> str:
    return "| " + " | ".join(escape(text) for text in texts) + " |"


def escape(text: str) -> str:
    """Text as itself: no markup, no HTML, no new column, one line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", text)
