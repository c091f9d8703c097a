"""The picture that results draw of themselves, without pyplot: no window, no global figure."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pushpull.errors import InputError, printable

# Okabe and Ito's colours, told apart by colour-blind readers.
_COLOURS = ("#222426", "#0072b2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class Picture(Figure):
    """A figure that a notebook shows though pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        FigureCanvasAgg(self).print_figure(stream, dpi=100)
        return stream.getvalue()


def errors_by_corruption(
    found: Mapping[str, Mapping[str, Sequence[float]]], clean: Mapping[str, float | None]
) -> Figure:
    """Draw a line per corruption, the worst of the first network on top: its mean error, and every severity.

    Args:
        found: label of a network -> corruption -> top-1 errors in [0, 1] by severity, NaN where there is
            none; at least one network.
        clean: label -> error on the clean images, a dashed line; None: not measured.

    Returns:
        The figure, errors in percent.

    Raises:
        InputError: no corruption was measured.
    """
    means = {label: {name: _mean(of) for name, of in errors.items()} for label, errors in found.items()}
    first = next(iter(means.values()))
    if not first:
        raise InputError("no corruption was measured, so there is nothing to draw; evaluate some first")
    names = sorted(first, key=lambda name: first[name])
    figure = Picture(figsize=(7, 1.4 + len(names) * (0.18 + 0.12 * len(found))), layout="constrained")
    panel = figure.add_subplot()
    step = 0.7 / len(found)
    for at, (label, errors) in enumerate(found.items()):
        colour = _COLOURS[at % len(_COLOURS)]
        places = [row - (at - (len(found) - 1) / 2) * step for row in range(len(names))]
        widths = [100 * means[label].get(name, math.nan) for name in names]
        panel.barh(
            places, widths, height=0.85 * step, color=colour, alpha=0.35, label=literal(printable(label))
        )
        for place, name in zip(places, names, strict=True):
            values = [100 * error for error in errors.get(name, ())]
            panel.plot(values, [place] * len(values), "|", color=colour, markersize=6)
        if (of_clean := clean[label]) is not None:
            panel.axvline(100 * of_clean, color=colour, linestyle="--", linewidth=1)
    _label(panel, names, dashed=any(value is not None for value in clean.values()))
    figure.legend(loc="outside upper left", frameon=False, fontsize=9, ncols=2)
    return figure


def _label(panel: Axes, names: Sequence[str], *, dashed: bool) -> None:
    """Write what the lines and the axes of the panel are."""
    panel.set_yticks(range(len(names)), [literal(printable(name.replace("_", " "))) for name in names])
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.set_xlim(0, 100)
    said = "; dashed: clean" if dashed else ""
    panel.set_xlabel(f"top-1 error, percent (bar: mean; marks: each severity{said})", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)


def literal(text: str) -> str:
    """Text that matplotlib shows as it is: a pair of dollar signs would be read as a formula."""
    return text.replace("$", r"\$")


def _mean(errors: Sequence[float]) -> float:
    return fmean(error for error in errors if not math.isnan(error))
