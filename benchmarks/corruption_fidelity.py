"""How near the corruptions are to the published programs: every corruption, severity and scale, by its rule.

    python benchmarks/corruption_fidelity.py                       # the whole table
    python benchmarks/corruption_fidelity.py --corruptions snow fog --severities 3 --images 100
    python benchmarks/corruption_fidelity.py --sheet DIR           # pictures to look at, too
    python benchmarks/corruption_fidelity.py --run RUN   # errors of a network on ours and on theirs

"imagenet" and "cifar" are held against the golden files (what the published programs gave), "tiny", or
everything where there are no golden files, against the oracles in `tests/oracles/published.py`. The rules:
a deterministic corruption is within 1 grey level on 99.9 % of the values (JPEG: equal on all); a random one
has, for each of nine statistics, a mean paired difference within 4 standard errors or 1 % of the statistic.
Deterministic ones are held against the statistics too, which tells a bias that the pixel rule forgives.

Exit code 1 if anything is out of bounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import repository
from fidelity_rows import SIZES, Bench, Row
from rich.console import Console
from rich.progress import track
from rich.table import Table
from timing import frost_note, write_record

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from pushpull.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    options = _options(arguments)
    started = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 140)
    golden = None if options.against == "oracle" else options.golden
    bench = Bench(golden, options.data, options.images, options.seed)
    if options.run is not None:
        from fidelity_network import compare_networks

        return compare_networks(bench, options, console)
    total = len(options.corruptions) * len(options.severities) * len(options.scales)
    lines = bench.rows(options.corruptions, options.severities, options.scales)
    hidden = not sys.stderr.isatty()
    rows = list(track(lines, "measuring", total, console=Console(stderr=True), disable=hidden))
    console.print(_table(rows))
    _print_notes(console, bench, options.scales, rows)
    record = {
        "what": "fidelity of the corruptions",
        "images": {scale: bench.images(scale)[1] for scale in options.scales},
        "seed": options.seed,
        "out_of_bounds": [_title(row) for row in rows if row.passed is False],
        "rows": [row.record() for row in rows],
    }
    path = write_record(options.output, record, time.perf_counter() - started)
    console.print(f"{time.perf_counter() - started:.0f} s; written to {path}")
    if options.sheet:
        from sheets import write_sheets

        write_sheets(bench, options)
    return 1 if record["out_of_bounds"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [*CORRUPTIONS, *EXTRA_CORRUPTIONS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corruptions", nargs="+", choices=names, default=names, metavar="NAME")
    add("--severities", nargs="+", type=int, choices=range(1, 6), default=[1, 2, 3, 4, 5])
    add("--scales", nargs="+", choices=SIZES, default=list(SIZES))
    add("--images", type=_count, help="at most so many a scale (default: all golden ones, 200 at tiny)")
    add("--against", choices=("golden", "oracle"), default="golden", help="oracle: without golden files")
    add("--golden", type=Path, default=repository.SHARED / "golden", help="folder of the golden files")
    add("--data", type=Path, default=repository.SHARED / "data", help="folder of the images")
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=repository.RESULTS / "corruption_fidelity.json")
    add("--sheet", type=Path, metavar="DIR", help="write pictures: clean, ours, the oracle's")
    add("--run", type=Path, metavar="RUN", help="errors of this run's network instead of the table")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of images of at least 2")
    return int(text)


def _table(rows: list[Row]) -> Table:
    table = Table(title="Fidelity of the corruptions", caption=frost_note())
    for title in ("scale", "corruption", "severity", "against", "rule", "images"):
        table.add_column(title, justify="right" if title in ("severity", "images") else "left", no_wrap=True)
    for title in ("within 1", "equal", "worst / allowed", "bias, levels"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        name, ratio = row.worst
        shares = ["" if share is None else f"{100 * share:.3f} %" for share in (row.within_1, row.equal)]
        verdict = {True: "ok", False: "OUT OF BOUNDS", None: row.note}[row.passed]
        head = (row.scale, row.corruption, str(row.severity), row.against, row.rule, str(row.images))
        worst = f"{ratio:.2f} {name}" if name else ""
        table.add_row(*head, *shares, worst, f"{row.bias_levels:+.3f}", verdict)
    return table


def _title(row: Row) -> str:
    return f"{row.scale} {row.corruption} {row.severity}"


def _print_notes(console: Console, bench: Bench, scales: list[str], rows: list[Row]) -> None:
    """Say what was measured on, what is out of bounds, and what only the statistics tell."""
    for scale in scales:
        console.print(f"{scale}: {bench.images(scale)[1]}", highlight=False)
    for row in rows:
        name, ratio = row.worst
        if row.passed is False:
            console.print(f"OUT OF BOUNDS: {_title(row)}: {name} {ratio:.2f}", highlight=False)
        elif row.rule == "pixels" and ratio > 1:
            shift = f"{ratio:.2f} of what a random corruption may; bias {row.bias_levels:+.3f} levels"
            console.print(f"within its rule, but {_title(row)}: {name} deviates {shift}", highlight=False)
    measured = [row for row in rows if row.passed is not None]
    good = sum(row.passed is True for row in measured)
    console.print(f"{good} of {len(measured)} within bounds, {len(rows) - len(measured)} not measured")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
