"""A comparison as one self-contained HTML page, from the template `page.html.j2`."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pushpull._version import __version__
from pushpull.errors import InputError, all_printable
from pushpull.reports.columns import ordered, title
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.figures import BLUE, GRID, INK, svg_text
from pushpull.reports.layout import BY_CORRUPTION, all_runs_text, runs_text, spread_text, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A difference of this many percentage points is shaded in full.
_FULL_SHADE_POINTS = 10.0
_CAPTIONS = {
    "error_by_severity": (
        "Top-1 error against severity. The mean of all 15 corruptions and of each family",
        "bands",
    ),
    "differences": (
        "Each corruption's error minus the baseline's, mean over severities. Left of zero the model does "
        "better",
        "bars",
    ),
}
_TWINS = "Error minus that of the twin. Left of zero the row does better", "bars"


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
    import jinja2

    comparison = all_printable(comparison)
    loader = jinja2.PackageLoader("pushpull", "reports")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    labels = [row.label for row in comparison.rows[1:]]
    spread, said = (
        spread_text(comparison),
        _CAPTIONS | ({"differences": _TWINS} if comparison.intervals else {}),
    )
    captions = {
        n: f"{text}; {what} are {spread}." if spread else f"{text}." for n, (text, what) in said.items()
    }
    return environment.get_template("page.html.j2").render(
        comparison=comparison,
        style=loader.get_source(environment, "page.css")[0],
        others=", ".join(labels) if len(labels) < 4 else f"{len(labels)} models",
        runs=all_runs_text(comparison),
        tables=tables(comparison),
        by_corruption=BY_CORRUPTION,
        # How strongly a cell is shaded: 0.08 to 0.40.
        strength=lambda cell: f"{0.08 + 0.32 * min(1.0, abs(cell.points) / _FULL_SHADE_POINTS):.2f}",
        figures=[
            (captions[name], _inline_svg(figure, name, captions[name])) for name, figure in figures.items()
        ],
        samples=list(sample_strips(samples or {})),
        method=[_method_facts(row) for row in comparison.rows],
        version=__version__,
    )


def _inline_svg(figure: Figure, name: str, caption: str) -> str:
    """The figure as an element: ids that no other figure has, and the page's colours of ink and rules."""
    text = re.sub(r"^.*?(?=<svg)", "", svg_text(figure), count=1, flags=re.DOTALL)
    text = re.sub(r'\b(id|xlink:href|href)="(#?)', rf'\1="\2{name}-', text)
    text = text.replace("url(#", f"url(#{name}-")
    # Only the drawing's frame holds metadata; a page needs none.
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in ((INK, "--ink"), (GRID, "--rule"), (BLUE, "--blue")):
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)


def sample_strips(samples: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each corruption's printed name and a `data:` address of its images side by side, in usual order.

    Args:
        samples: corruption -> (5, 3, H, W) uint8 tensor or array, severity 1 to 5.

    Raises:
        InputError: another shape or type.
    """
    for name in ordered(list(samples)):
        images = np.asarray(samples[name])
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:2] != (5, 3):
            found = f"{images.dtype} of shape {images.shape}"
            raise InputError(f"samples[{name!r}] is {found}; give uint8 of shape (5, 3, H, W)")
        strip = images.transpose(2, 0, 3, 1).reshape(images.shape[2], -1, 3)
        stream = io.BytesIO()
        Image.fromarray(strip).save(stream, format="PNG", optimize=True)
        yield title(name), "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


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
        "size and normalisation are": row.preprocessing.get("from", "not said"),
        "versions": ", ".join(versions),
    }
