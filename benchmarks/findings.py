"""What differs between rows and their twins, with the spread pooled over all rows of a table.

    pushpull reproduce cifar10-variants --plugins benchmarks/variants.py --data ... --output OUT
    python benchmarks/findings.py OUT/table.csv --figure docs/images/findings.png

With three seeds Student's t is 4.3, and an interval from a row's own three differences is mostly the chance
of its spread. The rows are alike in what makes differences spread (weights, order, test images), so their
variances are averaged, weighted by their degrees of freedom: s^2 = sum (n_i - 1) s_i^2 / sum (n_i - 1). The
interval is t(0.975, sum (n_i - 1)) s / sqrt(n). The rows share baselines, so their variances are not quite
independent, and fewer degrees of freedom stand behind s than are counted.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from scipy.special import stdtrit

from pushpull.errors import InputError
from pushpull.files import atomic_path
from pushpull.reports.figures import GRID, INK

FIGURES = {
    "clean_error": "E (clean)",
    "mean_corruption_error": "mean corruption error",
    "family_noise": "noise",
    "family_blur": "blur",
    "family_weather": "weather",
    "family_digital": "digital",
}


@dataclass(frozen=True)
class Difference:
    """A row minus its twin, in percentage points.

    Args:
        row, twin: their names.
        seeds: how many pairs.
        means: figure -> mean over the pairs.
        stds: figure -> sample standard deviation over the pairs; empty for one pair.
    """

    row: str
    twin: str
    seeds: int
    means: dict[str, float]
    stds: dict[str, float]


def read_differences(path: Path) -> list[Difference]:
    """Read the differences of a table's CSV, in its order."""
    found: dict[tuple[str, str], Difference] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            key = line["row"], line["minus"]
            if not line["minus"] or line["figure"] not in FIGURES:
                continue
            row = found.setdefault(key, Difference(*key, len(line["seeds"].split()), {}, {}))
            row.means[line["figure"]] = 100 * float(line["mean"])
            if line["std"]:
                row.stds[line["figure"]] = 100 * float(line["std"])
    return list(found.values())


def pooled(rows: Sequence[Difference], figure: str) -> tuple[float, int]:
    """Return the pooled standard deviation of one pair's difference, and its degrees of freedom."""
    several = [row for row in rows if figure in row.stds]
    freedom = sum(row.seeds - 1 for row in several)
    if not freedom:
        raise InputError("no row has two seeds, so nothing is known of the spread; train more seeds")
    return math.sqrt(sum((row.seeds - 1) * row.stds[figure] ** 2 for row in several) / freedom), freedom


def half_widths(rows: Sequence[Difference]) -> list[dict[str, float]]:
    """Return half of the 95 % interval of each row's mean differences, by figure."""
    spreads = {figure: pooled(rows, figure) for figure in FIGURES}
    of_one = {figure: float(stdtrit(freedom, 0.975)) * std for figure, (std, freedom) in spreads.items()}
    return [{figure: half / math.sqrt(row.seeds) for figure, half in of_one.items()} for row in rows]


def table(rows: Sequence[Difference]) -> str:
    """Return the differences as Markdown; bold where the interval leaves 0 out."""
    lines = [
        "| row minus its twin | pairs | " + " | ".join(FIGURES.values()) + " |",
        "| --- | ---: |" + " ---: |" * len(FIGURES),
    ]
    for row, halves in zip(rows, half_widths(rows), strict=True):
        cells = [_cell(row.means[figure], halves[figure]) for figure in FIGURES]
        lines.append(f"| {_name(row)} | {row.seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _name(row: Difference) -> str:
    return row.row if row.twin == "baseline" else f"{row.row} \N{MINUS SIGN} {row.twin}"


def _cell(mean: float, half: float) -> str:
    text = f"{round(mean, 1) + 0.0:+.1f} ± {half:.1f}".replace("-", "\N{MINUS SIGN}")
    return f"**{text}**" if abs(mean) > half else text


def forest(rows: Sequence[Difference]) -> Figure:
    """Draw one panel a figure, one line a row, a bar for the interval; left of 0 is better.

    All panels have one scale: what is twice as long is twice as much, in whichever panel.
    """
    figure = Figure(figsize=(12, 1.2 + 0.27 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(FIGURES), sharex=True, sharey=True)
    places, widths = range(len(rows))[::-1], half_widths(rows)
    for panel, (key, title) in zip(panels, FIGURES.items(), strict=True):
        for place, row, halves in zip(places, rows, widths, strict=True):
            mean, half = row.means[key], halves[key]
            colour = "#009E73" if mean < -half else "#D55E00" if mean > half else "#6b7075"
            panel.errorbar(mean, place, xerr=half, color=colour, fmt="o", markersize=4, elinewidth=1.4)
        panel.axvline(0, color=INK, linewidth=1)
        panel.set_title(title, fontsize=10)
        panel.grid(color=GRID, linewidth=0.7)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(list(places), [_name(row) for row in rows], fontsize=9)
    figure.supxlabel(
        "row minus its twin, percentage points (left of 0: better); bars: 95 %, spread pooled over rows",
        fontsize=9,
    )
    return figure


def main() -> None:
    """Print the table; draw it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="table.csv of `pushpull reproduce`")
    parser.add_argument("--figure", type=Path, help="a PNG or SVG to draw")
    options = parser.parse_args()
    if not options.table.is_file():
        parser.error(f"{options.table} does not exist; give the table.csv of `pushpull reproduce`")
    rows = read_differences(options.table)
    if not rows:
        parser.error(f"{options.table} has no row with a twin")
    try:
        print(table(rows))
    except InputError as error:
        parser.error(str(error))
    for key, title in FIGURES.items():
        std, freedom = pooled(rows, key)
        print(f"{title}: one pair's difference spreads by {std:.2f} points ({freedom} degrees of freedom)")
    if options.figure:
        with atomic_path(options.figure) as path:
            forest(rows).savefig(path, dpi=110, format=options.figure.suffix[1:])


if __name__ == "__main__":
    main()
