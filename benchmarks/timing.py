"""What every benchmark needs: one thread or many, medians with spread, and what it ran on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pushpull.corruptions.textures import BENCHMARK, PROCEDURAL, frost_texture_source
from pushpull.data.decode import usable_cores
from pushpull.files import write_json

_LONG_ENOUGH_S, _MOST_CALLS = 10e-3, 50


class Timing(NamedTuple):
    """Seconds of one call: median, fastest and slowest of `repeats`."""

    median: float
    fastest: float
    slowest: float
    repeats: int

    def __truediv__(self, count: float) -> Timing:
        """Return the time of one of `count` things done in a call."""
        return Timing(self.median / count, self.fastest / count, self.slowest / count, self.repeats)


def interleaved(
    calls: dict[str, Callable[[], Any]],
    *,
    repeats: int,
    before: Callable[[str], Any] = lambda name: None,
    longest_s: float = 20.0,
) -> dict[str, Timing]:
    """Time every call after two of warm-up, taking turns, so that a busy moment touches all.

    A call that takes long is repeated less often (at least 3 times), so that none takes over `longest_s` in
    all by much. `before(name)` is done before each call and not timed.
    """

    def measure(name: str) -> float:
        before(name)
        return once(calls[name])

    # The second call is the first without what is prepared once: tables, caches, memory.
    first = {name: min(measure(name), measure(name)) for name in calls}
    wanted = {name: min(repeats, max(3, int(longest_s / max(first[name], 1e-9)))) for name in calls}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in calls:
            if turn < wanted[name]:
                seconds[name].append(measure(name))
    return {name: summary(times) for name, times in seconds.items()}


def once(call: Callable[[], Any]) -> float:
    """Return the seconds of one call: wall clock on a CPU, between two events on a GPU.

    A call that is short on a GPU is repeated, so that launching the first one does not count.
    """
    if not torch.cuda.is_available():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    seconds = _between_events(call, 1)
    count = min(_MOST_CALLS, int(_LONG_ENOUGH_S / max(seconds, 1e-9)))
    return seconds if count < 2 else _between_events(call, count) / count


def _between_events(call: Callable[[], Any], count: int) -> float:
    """Return the seconds of `count` calls in a row, what they do on the CPU included."""
    torch.cuda.synchronize()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(count):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3


def summary(seconds: Sequence[float]) -> Timing:
    """Return median and spread."""
    return Timing(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp(mean(log))."""
    return statistics.geometric_mean(values)


def set_threads(count: int) -> None:
    """Let torch and OpenCV use so many threads."""
    torch.set_num_threads(count)
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(count)


def machine() -> dict[str, Any]:
    """Say what this runs on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    driver = _driver() if gpu else None
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "gpu": gpu,
        "driver": driver,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": versions(),
    }


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of what is compared, where it is installed."""
    names = ("torch", "numpy", "pillow", "scipy", "opencv-python-headless", "opencv-python")
    found = {}
    for name in (*names, "scikit-image", "imagecorruptions", "wand", "numba"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_record(path: Path, record: dict[str, Any], seconds: float, *, corruptions: bool = True) -> Path:
    """Write a benchmark's figures with machine, date and frost's pictures, whole or not at all."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    common = {"date": date, "machine": machine(), "seconds": round(seconds, 1)}
    if corruptions:
        common["frost"] = _frost()
    return write_json(path, {**common, **record})


def _frost() -> str:
    """Say which pictures frost was made with, without this machine's folders."""
    source = frost_texture_source()
    return source if source in (PROCEDURAL, BENCHMARK) else "pictures from a folder, not the benchmark's"


def frost_note() -> str:
    """Say it in a line for tables."""
    drawn = _frost() == PROCEDURAL
    return "frost: drawn textures, NOT the benchmark's photographs" if drawn else f"frost: {_frost()}"
