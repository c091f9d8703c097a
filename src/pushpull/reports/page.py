"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pushpull._version import __version__
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.figures import BLUE, GRID, INK, svg_text
from pushpull.reports.layout import (
    Cell,
    Table,
    corruption_table,
    family_table,
    main_table,
    runs_text,
    seeds_text,
)
from pushpull.reports.samples import sample_strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A difference of this many percentage points is shaded in full.
_FULL_SHADE_POINTS = 10.0
_CAPTIONS = {
    "error_by_severity": (
        "Top-1 error against severity. The mean of all 15 corruptions and of each family; bands are one "
        "standard deviation over seeds."
    ),
    "differences": (
        "Each corruption's error minus the baseline's, mean over severities. Left of zero the model does "
        "better; bars are one standard deviation over seeds."
    ),
}


def page(
    comparison: Comparison, figures: Mapping[str, Figure], samples: Mapping[str, Any] | None = None
) -> str:
    """The page's HTML: style, figures and images inside it, no request to anywhere.

    Args:
        comparison: what to show.
        figures: name ("error_by_severity", "differences") -> figure.
        samples: corruption -> (5, 3, H, W) uint8 images, one image at severity 1 to 5.

    Raises:
        InputError: `samples` are not such images.
    """
    style = (files("pushpull.reports") / "page.css").read_text(encoding="utf-8")
    sections = [_head(comparison), _results(comparison), _figures(comparison, figures)]
    if samples:
        sections.append(_samples(samples))
    sections += [_method(comparison), _definitions(comparison)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(comparison.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + f'\n<footer><p class="notes">Made by pushpull {escape(__version__)}.</p></footer>\n'
        + "</body>\n</html>\n"
    )


def _head(comparison: Comparison) -> str:
    facts = [
        *comparison.setting.summary(),
        ("Baseline", comparison.rows[0].label),
        ("Compared with it", _others(comparison)),
        ("Runs", seeds_text(comparison)),
    ]
    banner = f'<p class="banner" role="note">{escape(comparison.note)}</p>\n' if comparison.note else ""
    items = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts)
    return (
        f"<header>\n<h1>{escape(comparison.title)}</h1>\n{banner}"
        "<p>Errors of image classifiers on clean images and on the same images with common corruptions.</p>\n"
        f'<dl class="facts">\n{items}\n</dl>\n</header>'
    )


def _others(comparison: Comparison) -> str:
    labels = [row.label for row in comparison.rows[1:]]
    return ", ".join(labels) if len(labels) < 4 else f"{len(labels)} models"


def _results(comparison: Comparison) -> str:
    tables = [main_table(comparison), family_table(comparison), corruption_table(comparison)]
    shown = "\n".join(_table(table) for table in tables if table is not None)
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in comparison.footnotes)
    return (
        f"<main>\n<h2>Results</h2>\n{shown}\n"
        "<p>Bold: the best. Shaded: the difference to the baseline, in percentage points; green is better, "
        f'orange is worse, and the sign says the same.</p>\n<ul class="notes">\n{notes}\n</ul>'
    )


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in (table.corner, *table.heads))
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(_cell(cell, shaded=table.corner == "corruption") for cell in cells)
        + "</tr>"
        for name, cells in table.rows
    )
    # A table wider than the screen scrolls; tabindex lets the keyboard do it.
    return (
        f'<div class="scroll" role="region" aria-label="{escape(table.caption)}" tabindex="0">\n<table>\n'
        f"<caption>{escape(table.caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        "</table>\n</div>"
    )


def _cell(cell: Cell, *, shaded: bool) -> str:
    figure, _, spread = cell.text.partition(" ± ")
    text = escape(figure) + (f' <span class="spread">± {escape(spread)}</span>' if spread else "")
    classes, style = ["best"] if cell.best else [], ""
    if shaded and cell.difference:
        text += f'<span class="delta">{escape(cell.difference)}</span>'
        if cell.trend != "same":
            classes.append(cell.trend)
            style = f' style="--strength:{0.08 + 0.32 * min(1.0, abs(cell.points) / _FULL_SHADE_POINTS):.2f}"'
    name = f' class="{" ".join(classes)}"' if classes else ""
    return f"<td{name}{style}>{text}</td>"


def _figures(comparison: Comparison, figures: Mapping[str, Figure]) -> str:
    parts = ["<h2>Figures</h2>"]
    for name, figure in figures.items():
        caption = _CAPTIONS[name]
        parts.append(
            f'<figure>\n<div class="scroll">{_inline_svg(figure, name, caption)}</div>\n'
            f"<figcaption>{escape(caption)}</figcaption>\n</figure>"
        )
    return "\n".join(parts)


def _inline_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an element: ids that no other figure has, and the page's colours of ink and rules."""
    text = svg_text(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r'\b(id|xlink:href|href)="(#?)', rf'\1="\2{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    # Only the drawing's frame holds metadata; a page needs none.
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in ((INK, "--ink"), (GRID, "--rule"), (BLUE, "--blue")):
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _samples(samples: Mapping[str, Any]) -> str:
    items = "\n".join(
        f'<li><img src="{source}" alt="{escape(title)}, severity 1 to 5">{escape(title)}</li>'
        for title, source in sample_strips(samples)
    )
    return (
        "<h2>The corruptions</h2>\n<p>One test image under each corruption, severity 1 (left) to 5 "
        "(right).</p>\n"
        f'<ul class="samples">\n{items}\n</ul>'
    )


def _method(comparison: Comparison) -> str:
    facts = [_method_facts(row) for row in comparison.rows]
    heads = "".join(f'<th scope="col">{escape(row.label)}</th>' for row in comparison.rows)
    cells = {name: "".join(f"<td>{escape(fact[name])}</td>" for fact in facts) for name in facts[0]}
    rows = "\n".join(f'<tr><th scope="row">{name}</th>{texts}</tr>' for name, texts in cells.items())
    commands = ""
    if comparison.commands:
        lines = "\n".join(escape(command) for command in comparison.commands)
        commands = f"<p>Commands:</p>\n<pre><code>{lines}</code></pre>\n"
    return (
        "<h2>How it was measured</h2>\n"
        '<div class="scroll" role="region" aria-label="Models" tabindex="0">\n<table class="method">\n'
        f'<caption>Models</caption>\n<thead><tr><th scope="col">model</th>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>\n"
        f"{commands}"
    )


def _method_facts(row: Row) -> dict[str, str]:
    """What a reader needs to measure this row again."""
    model = row.models[0]
    mean, std = (" ".join(f"{value:.3g}" for value in row.preprocessing[key]) for key in ("mean", "std"))
    size = row.preprocessing["size"]
    versions = sorted({f"{name} {version}" for found in row.versions for name, version in found.items()})
    return {
        "network": model["name"],
        "stem": model["stem"] or "as published",
        "parameters": f"{model['parameters']:,}",
        "runs": runs_text(row),
        "results": row.source,
        "set against the baseline": row.pairing,
        "normalisation": f"mean {mean}; std {std}",
        "resized to": "not resized" if size is None else str(size),
        "versions": ", ".join(versions),
    }


def _definitions(comparison: Comparison) -> str:
    seen = {column.key: column for column in comparison.columns if column.group == "main"}
    families = comparison.group("family")
    terms = [(column.title, column.metric, column.formula, column.meaning) for column in seen.values()]
    if families:
        names = ", ".join(column.title for column in families)
        first = families[0]
        terms.append(
            (f"Families ({names})", "Mean top-1 error of a family, not AlexNet-normalised", first.formula, "")
        )
    items = "\n".join(
        f"<dt>{escape(title)}</dt><dd>{escape(metric)}.<br><code>{escape(formula)}</code><br>{escape(meaning)}</dd>"
        for title, metric, formula, meaning in terms
    )
    return (
        "<h2>Definitions</h2>\n<p>E[c,s] is the top-1 error under corruption c at severity s; E the clean "
        f'error; an index 0 marks the baseline.</p>\n<dl class="terms">\n{items}\n</dl>\n</main>'
    )
