"""The unit's benchmark as tables: on the console, and in a page of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pages import fill
from rich.console import Console
from rich.table import Table

COLUMNS = ("measured", "form", "median (fastest to slowest)", "ratio to plain", "target", "floor", "bound by")
PLAIN = "plain"


def lines(group: dict[str, Any]) -> list[list[str]]:
    """Return the cells of a group's table."""
    return [_line(group, row) for row in group["rows"]]


def _line(group: dict[str, Any], row: dict[str, Any]) -> list[str]:
    target = "" if row["target"] is None else f"{row['target']:.2f}"
    if "why" in row:
        return [row["what"], row["who"], row["why"], "", target, "", ""]
    if row["target"] is not None:
        target += " met" if row["ratio"] <= row["target"] else " MISSED"
    missed = target.endswith("MISSED")
    if "bytes" in row:
        shown, least = f"{row['bytes'] / 2**20:.1f} MiB", f"{row['floor_bytes'] / 2**20:.1f} MiB"
        bound = "what it keeps for the gradients" if missed else ""
    else:
        shown = "{:.1f} ms ({:.1f} to {:.1f})".format(*row["ms"])
        memory, arithmetic = row["floor"]["memory_ms"], row["floor"]["arithmetic_ms"]
        least = f"{max(memory, arithmetic):.1f} ms ({'memory' if memory > arithmetic else 'arithmetic'})"
        bound = _bound(group, row) if missed else ""
    return [row["what"], row["who"], shown, f"{row['ratio']:.2f}", target, least, bound]


def _bound(group: dict[str, Any], row: dict[str, Any]) -> str:
    """Say what a missed target costs: in passes over the response where a pass was measured."""
    base = group.get("base", PLAIN)
    plain = next(r["ms"][0] for r in group["rows"] if r["what"] == row["what"] and r["who"] == base)
    more = row["ms"][0] - plain
    if row["who"] == "fused":
        # What follows the convolution cannot start before it has ended: 1.2 times this floor is aimed at.
        return f"memory: {row['ms'][0] / max(row['floor'].values()):.2f} times the floor of its form"
    if "pass_ms" not in group:
        return f"{more:.1f} ms more than plain"
    passes = more / group["pass_ms"]
    each = f"{group['pass_ms']:.1f} ms each"
    text = f"{more:.1f} ms more than plain, as {passes:.1f} passes over the response ({each})"
    again = row["who"] == "ours, eager" and row["what"] == "forward + backward"
    return f"{text}; the convolution is computed twice" if again else f"memory: {text}"


def heading(record: dict[str, Any]) -> list[str]:
    """Return what it ran on, in lines."""
    on, setting, limits = record["machine"], record["setting"], record["limits"]
    where = on["gpu"] or f"{on['processor']}, {setting['threads']} of {on['cores']} cores"
    return [
        f"{record['date']}: {where}; {setting['dtype']}, {setting['size']} x {setting['size']}; "
        f"load {on['load']}; torch {on['versions']['torch']}, Python {on['python']}; "
        f"{record['seconds']:.0f} s.",
        f"Measured in the run: {limits['bytes_per_s'] / 1e9:.1f} GB/s in a large copy (read and written), "
        f"{limits['operations_per_s'] / 1e9:,.0f} Gflop/s in a large product or convolution.",
    ]


def show(console: Console, record: dict[str, Any]) -> None:
    """Print the tables."""
    for line in heading(record):
        console.print(line, highlight=False)
    for group in record["groups"]:
        table = Table(title=group["title"])
        for column in COLUMNS:
            table.add_column(column, no_wrap=column != "bound by")
        for cells in lines(group):
            table.add_row(*cells)
        console.print(table)


def markdown(record: dict[str, Any]) -> str:
    """Return the tables for a page."""
    parts = [" ".join(heading(record))]
    for group in record["groups"]:
        rows = [list(COLUMNS), ["---"] * len(COLUMNS), *lines(group)]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
        title = group["title"][0].upper() + group["title"][1:]
        parts.append(f"**{title}**\n\n{table}")
    return "\n\n".join(parts)


def fill_page(page: Path, records: dict[str, dict[str, Any] | None]) -> None:
    """Put each record's tables between the page's marks `<!-- unit-NAME -->` and `<!-- end -->`."""
    tables = {name: "Not measured yet." if one is None else markdown(one) for name, one in records.items()}
    fill(page, {f"unit-{name}": table for name, table in tables.items()})
