"""What the speed table says in a few lines: the targets, and what was reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from corruption_contestants import GPU_BATCH, ORIGINAL, PACKAGE
from timing import geometric_mean

from pushpull.corruptions import CORRUPTIONS

JUDGED = "ours, 1 thread, batch 16"
ON_GPU = f"ours, GPU, batch {GPU_BATCH}"
NATIVE = {"pixelate": 1.2, "jpeg_compression": 1.2}  # native code there: so much slower is allowed
GEOMETRIC_MEAN, GLASS, SUM_OF_OTHERS = 5.0, 100.0, 6.0
HARMONIC_MEAN, SLOWEST, MEMORY_GIB = 20_000.0, 5_000.0, 8.0

# corruption -> contestant's key -> milliseconds an image
Times = Mapping[str, Mapping[str, float]]


def ratios(times: Times) -> dict[str, float]:
    """Return corruption -> the faster peer's time over ours (above 1: ours is faster), if both are known."""
    found = {}
    for name, row in times.items():
        peers = [row[peer] for peer in (PACKAGE, ORIGINAL) if peer in row]
        if peers and JUDGED in row:
            found[name] = min(peers) / row[JUDGED]
    return found


def cpu_lines(times: Times) -> list[dict[str, Any]]:
    """Return the targets of one thread: what, figure, target, met; only over the fifteen."""
    known = {name: ratio for name, ratio in ratios(times).items() if name in CORRUPTIONS}
    if set(known) != set(CORRUPTIONS):
        lacking = len(CORRUPTIONS) - len(known)
        return [_line(f"one thread: not judged, {lacking} of the 15 lack a peer or ours", None, None, None)]
    slower = [name for name, ratio in known.items() if ratio * NATIVE.get(name, 1.0) < 1]
    mean = geometric_mean(list(known.values()))
    others = [name for name in CORRUPTIONS if name != "glass_blur"]
    ours = sum(times[name][JUDGED] for name in others)
    theirs = sum(times[name][JUDGED] * known[name] for name in others)
    return [
        _line("none slower (pixelate, jpeg 1.2 x)", ", ".join(slower) or "none is", "none", not slower),
        _line("geometric mean of the 15", mean, GEOMETRIC_MEAN, mean >= GEOMETRIC_MEAN),
        _line("glass_blur", known["glass_blur"], GLASS, known["glass_blur"] >= GLASS),
        _line("sum of the other 14", theirs / ours, SUM_OF_OTHERS, theirs / ours >= SUM_OF_OTHERS),
    ]


def gpu_lines(times: Times, memory_gib: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the targets on a GPU, or the one line that there was none."""
    rates = [1000 / times[name][ON_GPU] for name in CORRUPTIONS if ON_GPU in times.get(name, {})]
    if len(rates) < len(CORRUPTIONS):
        return [_line("GPU: not measured" + (" (no GPU)" if not rates else " on all 15"), None, None, None)]
    mean, slowest, peak = statistics.harmonic_mean(rates), min(rates), max(memory_gib.values())
    return [
        _line("GPU: harmonic mean, images/s", mean, HARMONIC_MEAN, mean >= HARMONIC_MEAN),
        _line("GPU: slowest, images/s", slowest, SLOWEST, slowest >= SLOWEST),
        _line("GPU: peak memory, GiB", peak, MEMORY_GIB, peak < MEMORY_GIB),
    ]


def _line(
    what: str, figure: float | str | None, target: float | str | None, met: bool | None
) -> dict[str, Any]:
    return {"what": what, "figure": figure, "target": target, "met": met}
