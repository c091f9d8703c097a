"""Speed of the corruptions beside the package `imagecorruptions` and the published program.

    python benchmarks/corruptions.py                            # 224 x 224, severity 3
    python benchmarks/corruptions.py --sizes 32 224 512 --no-peers      # cost by size and batch
    python benchmarks/corruptions.py --no-cpu                   # on a GPU alone, batch 256
    pip install -e '.[bench]'                                   # the peers

Every corruption's contestants take turns; the figure is the median of at least 5 calls (3 where a call takes
over 4 s) after two of warm-up, with the fastest and slowest beside it. The peers do one image at a time on
one thread; ours is run with one thread and with all. Targets are judged at batch 16, one thread, against the
faster of the two peers.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import corruption_tables as tables
import repository
import torch
from corruption_contestants import Contestant, Setting, all_of_ours, peers
from corruption_summary import ON_GPU, cpu_lines, gpu_lines
from pictures import pictures
from rich.console import Console
from rich.progress import track
from timing import interleaved, set_threads, write_record

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from pushpull.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = _options(arguments)
    started = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 200)
    cells = [
        (size, severity, name)
        for size in options.sizes
        for severity in options.severities
        for name in options.corruptions
    ]
    found = {size: pictures(options.data, size, max(options.batches, default=16)) for size in options.sizes}
    hidden = not sys.stderr.isatty()
    rows: list[dict[str, Any]] = []
    for size, severity, name in track(cells, "measuring", console=Console(stderr=True), disable=hidden):
        setting = Setting(name, severity, options.scale, found[size].images)
        rows.extend({"size": size, **row} for row in _measure(setting, options))
        record = {
            "what": "speed of the corruptions, ms an image",
            "scale": options.scale,
            "pictures": {str(size): found[size].source for size in found},
            "targets": _summaries(rows),
            "rows": rows,
        }
        # After each, so that what is measured stays, whatever ends the run.
        path = write_record(options.output, record, time.perf_counter() - started)
    tables.show(console, rows, _summaries(rows), {size: found[size].source for size in found})
    console.print(f"{time.perf_counter() - started:.0f} s; written to {path}")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [*CORRUPTIONS, *EXTRA_CORRUPTIONS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corruptions", nargs="+", choices=names, default=names, metavar="NAME")
    add("--severities", nargs="+", type=int, choices=range(1, 6), default=[3])
    add("--scale", choices=SEVERITIES, default="imagenet", help="which constants")
    add("--sizes", nargs="+", type=int, default=[224], help="pictures of so many px on each side")
    add("--batches", nargs="+", type=int, default=[1, 16, 64], help="of ours, on the CPU")
    add("--repeats", type=int, default=5)
    add("--no-peers", action="store_true", help="ours alone")
    add("--no-cpu", action="store_true", help="on the GPU alone")
    add("--data", type=Path, default=repository.SHARED / "data", help="folder of the photographs")
    add("--output", type=Path, default=repository.RESULTS / "corruptions.json")
    options = parser.parse_args(arguments)
    if options.no_cpu and not torch.cuda.is_available():
        parser.error("--no-cpu leaves nothing to measure: there is no GPU")
    return options


def _measure(setting: Setting, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all contestants of one corruption in turns; return a row for each."""
    set_threads(1)
    rivals, absent = ([], {}) if options.no_peers or options.no_cpu else peers(setting)
    own = all_of_ours(setting, options.batches, not options.no_cpu)
    contestants = {who.key: who for who in (*rivals, *own)}
    timings = interleaved(
        {key: who.call for key, who in contestants.items()},
        repeats=options.repeats,
        before=lambda key: set_threads(max(1, contestants[key].threads)),
    )
    head = {"corruption": setting.corruption, "severity": setting.severity}
    rows: list[dict[str, Any]] = [{**head, "contestant": name, "absent": why} for name, why in absent.items()]
    for key, timing in timings.items():
        each = timing / contestants[key].images
        ms = {"ms": each.median * 1e3, "fastest_ms": each.fastest * 1e3, "slowest_ms": each.slowest * 1e3}
        memory = {"peak_memory_gib": _peak_memory_gib(contestants[key])} if key == ON_GPU else {}
        rows.append({**head, "contestant": key, **ms, "repeats": timing.repeats, **memory})
    return rows


def _peak_memory_gib(contestant: Contestant) -> float:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    contestant.call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30


def _summaries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the targets' lines for each size and severity."""
    groups = []
    for size, severity in dict.fromkeys((row["size"], row["severity"]) for row in rows):
        times = tables.times_of(rows, size, severity)
        memory = {
            row["corruption"]: row["peak_memory_gib"]
            for row in rows
            if "peak_memory_gib" in row and (row["size"], row["severity"]) == (size, severity)
        }
        lines = cpu_lines(times) + gpu_lines(times, memory)
        groups.append({"size": size, "severity": severity, "lines": lines})
    return groups


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
