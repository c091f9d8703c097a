"""One result or several as one self-contained HTML page, from the template `page.html.j2`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pushpull._version import __version__
from pushpull.errors import InputError, all_printable
from pushpull.reports import sections
from pushpull.reports.columns import ordered, title
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.evidence import LEAST_ANSWERS, Evidence, picture
from pushpull.reports.layout import BY_CORRUPTION, all_runs_text, looks, runs_text, spread_text, tables

if TYPE_CHECKING:
    from jinja2 import Environment

# A difference of this many percentage points is shaded in full.
_FULL_SHADE_POINTS = 10.0


def templates() -> Environment:
    """Return what makes pages of the templates beside this file; what is put in is escaped."""
    import jinja2

    loader = jinja2.PackageLoader("pushpull", "reports")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def source(environment: Environment, name: str) -> str:
    """Return a file beside the templates as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def page(
    comparison: Comparison, samples: Mapping[str, Any] | None = None, evidence: Evidence | None = None
) -> str:
    """The page's HTML: style, script, figures and images inside it, no request to anywhere.

    Args:
        comparison: what to show, of one row or more.
        samples: corruption -> (5, 3, H, W) uint8 images, one image at severity 1 to 5.
        evidence: predictions, intervals over images and pictures, where they are known.

    Raises:
        InputError: `samples` are not such images.
    """
    from markupsafe import Markup

    comparison, evidence = all_printable(comparison), all_printable(evidence or Evidence())
    environment = templates()
    style, script = (source(environment, f"page.{kind}") for kind in ("css", "js"))
    return environment.get_template("page.html.j2").render(
        comparison=comparison,
        evidence=evidence,
        style=Markup(style),
        script=Markup(script),
        # How strongly a cell is shaded: an error by its size, a difference by its points.
        heat=lambda percent: f"{0.5 * max(0.0, min(1.0, percent / 100)):.2f}",
        strength=lambda points: f"{0.08 + 0.32 * min(1.0, abs(points) / _FULL_SHADE_POINTS):.2f}",
        signed=lambda points: sections.signed(points / 100),
        least_answers=LEAST_ANSWERS,
        version=__version__,
        samples=list(sample_strips(samples or {})),
        **_parts(comparison, evidence),
    )


def _parts(comparison: Comparison, evidence: Evidence) -> dict[str, Any]:
    """Return the page's sections by their names in the template."""
    from markupsafe import Markup

    whole, every = ([Markup(one) for one in some] for some in sections.severity_panels(comparison))
    panel_of = dict(zip(map(title, comparison.setting.corruptions), every, strict=True))
    ranked = sections.ranked(comparison, evidence)
    calibration = sections.calibrations(comparison, evidence)
    calibration["panels"] = [Markup(one) for one in calibration["panels"]]
    return {
        "single": len(comparison.rows) == 1,
        "banners": sections.banners(comparison),
        "headlines": sections.headlines(comparison, evidence),
        "figures": sections.figures(comparison, evidence),
        "legend": sections.legend(comparison),
        "looks": looks(comparison),
        "runs": all_runs_text(comparison),
        "spread": spread_text(comparison),
        "ranked": [row | {"panel": panel_of[row["name"]]} for row in ranked],
        "heat_maps": sections.heat_maps(comparison),
        "tables": _tables(comparison, evidence),
        "panels": whole,
        "corruption_panels": every,
        "difference_panels": [Markup(one) for one in sections.difference_panels(comparison, evidence)],
        "classes": sections.classes(comparison),
        "confusions": sections.mixed_up(comparison, evidence),
        "calibration": calibration,
        "method": [_method_facts(row) for row in comparison.rows],
    }


def _tables(comparison: Comparison, evidence: Evidence) -> list[dict[str, Any]]:
    """The tables of several rows; bold are figures whose difference to the baseline is settled."""
    if len(comparison.rows) == 1:
        return []
    return [
        {"caption": caption, "heads": heads, "rows": rows, "shaded": heads[0] == BY_CORRUPTION}
        for caption, heads, rows in tables(comparison, partial(sections.settled, evidence=evidence))
    ]


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
        yield title(name), picture(images.transpose(2, 0, 3, 1).reshape(images.shape[2], -1, 3))


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
