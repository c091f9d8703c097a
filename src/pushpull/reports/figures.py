"""The figures of a comparison, drawn without pyplot: no window, no global figure."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pushpull.corruptions import FAMILIES
from pushpull.errors import all_printable
from pushpull.evaluation.plots import literal
from pushpull.files import atomic_path
from pushpull.reports.columns import CLEAN_ERROR, MEAN_CORRUPTION_ERROR, Column, seeds_text, title
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.layout import all_runs_text, looks, spread_text

INK, GRID = "#222426", "#d5d8dc"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "*")
_DOTS_PER_INCH = 150
_EMPTY = "."


def error_by_severity(comparison: Comparison) -> Figure:
    """Error against severity: the mean of the 15 and one panel per family, with a band of one deviation.

    Where neither the 15 nor a family was measured whole, one panel per corruption. Severity 0 is clean.
    """
    comparison = all_printable(comparison)
    curves = comparison.rows[0].curves
    names = [name for name in ("mean", *FAMILIES) if name in curves] or list(comparison.setting.corruptions)
    with_mean = "mean" in names
    mosaic: list[Any] = [["mean", "mean", "noise", "blur"], ["mean", "mean", "weather", "digital"]]
    size = 10.0, 4.6
    if not with_mean:
        width, lines = min(3, len(names)), -(-len(names) // 3)
        padded = names + [_EMPTY] * (width * lines - len(names))
        mosaic = [padded[at : at + width] for at in range(0, len(padded), width)]
        size = 3.4 * width + 0.6, 2.4 * lines + 0.8
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplot_mosaic(mosaic, empty_sentinel=_EMPTY)
    for name in names:
        _draw_curves(axes[name], comparison, name, large=with_mean and name == "mean", small=with_mean)
    top = max(panel.dataLim.ymax for panel in axes.values())
    for panel in axes.values():
        panel.set_ylim(0, min(100, top * 1.05) if top else 1)
    _legend(figure, comparison, comparison.rows)
    _frame(figure, [axes[name] for name in names], comparison)
    return figure


def _draw_curves(panel: Axes, comparison: Comparison, name: str, *, large: bool, small: bool) -> None:
    """One line per row; axes are labelled on a large panel and where no panel is `small`."""
    has_clean = comparison.setting.clean_images is not None
    severities = [*([0] if has_clean else []), *comparison.setting.severities]
    for row, look in zip(comparison.rows, _looks(comparison).values(), strict=True):
        points = [*([row.values["clean_error"]] if has_clean else []), *row.curves[name]]
        means = np.array([100 * point.mean for point in points])
        spreads = np.array([100 * (point.std or 0) for point in points])
        panel.plot(severities, means, **look, markersize=4, linewidth=1.6)
        if spreads.any():
            band = means - spreads, means + spreads
            panel.fill_between(severities, *band, color=look["color"], alpha=0.18, linewidth=0)
    panel.set_xticks(severities)
    said = {"mean": "Mean of 15 corruptions (not AlexNet-normalised)"} | {f: f.capitalize() for f in FAMILIES}
    panel.set_title(said.get(name, literal(title(name))), loc="left", fontsize=11 if large else 9, color=INK)
    panel.tick_params(labelsize=9 if large else 8)
    if large or not small:
        panel.set_xlabel("severity (0: clean)" if has_clean else "severity", fontsize=9, color=INK)
        panel.set_ylabel("top-1 error, percent", fontsize=9, color=INK)


def differences(comparison: Comparison) -> Figure:
    """What rows do against the row that each is compared with, in percentage points, left of 0: better.

    One line per figure, one mark per row, with a bar for several seeds: of `compare` each corruption and the
    mean of the 15, by a standard deviation; of twins the clean error, the mean and the families, by 95 %.
    """
    comparison = all_printable(comparison)
    rows = [row for row in comparison.rows if row.against is not None]
    columns = _difference_columns(comparison)
    # Rows that share a line are set apart vertically, within 0.6 of the distance between lines.
    step = 0.6 / max(1, len(rows))
    height = 1.6 + len(columns) * max(0.24, 0.14 * len(rows))
    figure = Figure(figsize=(8, height), layout="constrained")
    panel = figure.add_subplot()
    styles = _looks(comparison)
    for i, row in enumerate(rows):
        estimates = [row.differences[column.key] for column in columns]
        widths = [one.half_width() if comparison.intervals else one.std for one in estimates]
        panel.errorbar(
            [100 * estimate.mean for estimate in estimates],
            [place + ((len(rows) - 1) / 2 - i) * step for place in range(len(columns))],
            xerr=None if widths[0] is None else [100 * (width or 0.0) for width in widths],
            color=styles[row.label]["color"],
            fmt=styles[row.label]["marker"],
            markersize=5,
            elinewidth=1.2,
        )
    panel.axvline(0, color=INK, linewidth=1)
    names = {MEAN_CORRUPTION_ERROR.key: "mean of the 15"}
    panel.set_yticks(
        range(len(columns)), [names.get(column.key, literal(column.title)) for column in columns]
    )
    panel.set_ylim(-0.6, len(columns) - 0.4)
    if columns[0] is MEAN_CORRUPTION_ERROR:
        panel.axhline(0.5, color=GRID, linewidth=1)
    other = "the twin without push-pull" if comparison.intervals else literal(comparison.rows[0].label)
    text = f"error minus that of {other}, percentage points (left of 0: better)"
    panel.set_xlabel(text, fontsize=9, color=INK)
    panel.tick_params(labelsize=9)
    _legend(figure, comparison, rows)
    _frame(figure, [panel], comparison)
    return figure


def _difference_columns(comparison: Comparison) -> list[Column]:
    """The lines of `differences`, the lowest first."""
    clean, mean = (
        [c for c in comparison.columns if c is one] for one in (CLEAN_ERROR, MEAN_CORRUPTION_ERROR)
    )
    if comparison.intervals:
        return [*clean, *mean, *comparison.group("family")][::-1]
    return mean + [*comparison.group("corruption", "extra")][::-1]


def _looks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return each row's look, as on the page, and a mark of its own."""
    found: dict[str, dict[str, Any]] = {}
    for n, (label, (colour, dash)) in enumerate(looks(comparison).items()):
        line = (0, tuple(map(float, dash.split()))) if dash else "-"
        colour = colour if colour.startswith("#") else INK
        found[label] = {"color": colour, "marker": MARKERS[n % len(MARKERS)], "linestyle": line}
    return found


def _legend(figure: Figure, comparison: Comparison, rows: Sequence[Row]) -> None:
    styles, handles, labels = _looks(comparison), [], []
    unlined = {} if len(rows) == len(comparison.rows) else {"linestyle": ""}
    for row in rows:
        handles.append(matplotlib.lines.Line2D([], [], **styles[row.label] | unlined, markersize=5))
        about = f" (seeds {seeds_text(row.paired_seeds)})" if comparison.intervals else ""
        labels.append(literal(f"{row.label} (baseline)" if row.is_baseline else row.label + about))
    longest = max(map(len, labels), default=0)
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=max(1, min(len(labels), int(figure.get_figwidth() * 11 / (longest + 6)))),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _frame(figure: Figure, axes: Sequence[Axes], comparison: Comparison) -> None:
    """Rules that stay in the background, ink for text, and below it all what was measured."""
    figure.set_facecolor("white")
    setting = comparison.setting
    said = "" if comparison.note is None or comparison.note in setting.label else f" ({comparison.note})"
    measured = f"{setting.label}{said}; {setting.images} images; {setting.scale} scale"
    bars = spread_text(comparison) if comparison.intervals else ""
    over = f"bars: {bars}" if bars else all_runs_text(comparison)
    figure.supxlabel(literal(f"{measured}; {over}"), x=0.01, ha="left", fontsize=8, color=INK, wrap=True)
    for panel in axes:
        panel.set_facecolor("none")
        panel.grid(color=GRID, linewidth=0.7)
        panel.set_axisbelow(True)
        panel.tick_params(colors=INK, length=0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(GRID)


def save(figure: Figure, path: Path | str) -> Path:
    """Write a PNG or SVG, by the ending of `path`, atomically; the same figure gives the same SVG."""
    path = Path(path)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A letter that the font lacks is a box in the PNG; the SVG and the page show it.
        warnings.filterwarnings("ignore", "Glyph")
        if path.suffix == ".svg":
            _print_svg(figure, temporary)
        else:
            FigureCanvasAgg(figure).print_figure(str(temporary), dpi=_DOTS_PER_INCH)
    return path


def _print_svg(figure: Figure, target: object) -> None:
    # These two settings can be given no other way; they are put back at once. Text stays text, so that it can
    # be read, searched and scaled; the salt makes the ids the same each time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pushpull"}):
        FigureCanvasSVG(figure).print_figure(target, metadata={"Date": None})  # type: ignore[arg-type]
