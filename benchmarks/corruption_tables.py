"""The speed benchmark's tables."""

from __future__ import annotations

from typing import Any

from corruption_contestants import ORIGINAL, PACKAGE
from corruption_summary import JUDGED, ratios
from rich.console import Console
from rich.table import Table
from timing import frost_note, machine

Rows = list[dict[str, Any]]


def times_of(rows: Rows, size: int, severity: int) -> dict[str, dict[str, float]]:
    """Return corruption -> contestant -> ms an image, of one size and severity."""
    times: dict[str, dict[str, float]] = {}
    for row in rows:
        if (row["size"], row["severity"]) == (size, severity) and "ms" in row:
            times.setdefault(row["corruption"], {})[row["contestant"]] = row["ms"]
    return times


def show(console: Console, rows: Rows, groups: list[dict[str, Any]], sources: dict[int, str]) -> None:
    """Print what it ran on, a table for each size and severity with its targets, and the cost by size."""
    on = machine()
    libraries = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    console.print(f"{on['processor']}, {on['cores']} cores, GPU: {on['gpu'] or 'none'}; load {on['load']}")
    console.print(f"Python {on['python']}, {libraries}", highlight=False)
    for size, source in sources.items():
        console.print(f"{size} px: {source}", highlight=False)
    for group in groups:
        console.print(_speed_table(rows, group["size"], group["severity"]))
        for line in group["lines"]:
            console.print(_target(line), highlight=False)
    if len(sources) > 1:
        console.print(_size_table(rows, sorted(sources)))


def _speed_table(rows: Rows, size: int, severity: int) -> Table:
    """One row a corruption: ms an image of every contestant, images/s of the judged one, and the ratio."""
    own = [row for row in rows if (row["size"], row["severity"]) == (size, severity)]
    keys = list(dict.fromkeys(row["contestant"] for row in own))
    keys.sort(key=lambda key: key not in (PACKAGE, ORIGINAL))
    title = f"{size} x {size}, severity {severity}: ms an image (fastest to slowest)"
    table = Table(title=title, caption=f"ratio: the faster peer over {JUDGED}; {frost_note()}")
    table.add_column("corruption", no_wrap=True)
    for key in (*keys, "images/s", "ratio"):
        table.add_column(key.replace(", ", "\n"), justify="right", no_wrap=True)
    times, cells = times_of(own, size, severity), {(row["corruption"], row["contestant"]): row for row in own}
    factors = ratios(times)
    for name in dict.fromkeys(row["corruption"] for row in own):
        row = [_cell(cells.get((name, key))) for key in keys]
        judged = times.get(name, {}).get(JUDGED)
        rate = f"{1000 / judged:,.0f}" if judged else ""
        table.add_row(name, *row, rate, f"{factors[name]:.2f}" if name in factors else "")
    return table


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if "absent" in row:
        return str(row["absent"])
    median, fastest, slowest = (_short(row[key]) for key in ("ms", "fastest_ms", "slowest_ms"))
    return f"{median} ({fastest}..{slowest})"


def _short(ms: float) -> str:
    """Return three digits, without an exponent."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def _target(line: dict[str, Any]) -> str:
    if line["met"] is None:
        return f"  {line['what']}"
    both = (line["figure"], line["target"])
    figure, target = (f"{value:,.2f}" if isinstance(value, float) else str(value) for value in both)
    return f"  {line['what']}: {figure} (target {target}): {'met' if line['met'] else 'MISSED'}"


def _size_table(rows: Rows, sizes: list[int]) -> Table:
    """Nanoseconds a pixel by size, for every batch with one thread: even where the cost is linear."""
    ours = [row for row in rows if "ms" in row and row["contestant"].startswith("ours")]
    keys = list(dict.fromkeys(row["contestant"] for row in ours))
    table = Table(title="Cost by size and batch: ns a pixel; linear where even along a row")
    for title in ("corruption", "severity", "contestant", *(f"{size} px" for size in sizes)):
        table.add_column(title, justify="right" if title.endswith(" px") else "left")
    cells = {(row["corruption"], row["severity"], row["contestant"], row["size"]): row["ms"] for row in ours}
    for name, severity in dict.fromkeys((row["corruption"], row["severity"]) for row in ours):
        for key in keys:
            times = {size: cells.get((name, severity, key, size)) for size in sizes}
            pixels = [f"{ms * 1e6 / size**2:.1f}" if ms else "" for size, ms in times.items()]
            table.add_row(name, str(severity), key, *pixels)
    return table
