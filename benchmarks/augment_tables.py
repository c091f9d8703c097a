"""The record of `augment.py` as tables: on the console, and in a page of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pushpull.errors import InputError
from pushpull.files import write_text

_PEERS = {"prime": "the authors' formulation"}
_MARKS = ("<!-- augment benchmark -->", "<!-- end of augment benchmark -->")


def show(record: dict[str, Any]) -> None:
    """Print the tables."""
    print(markdown(record))


def markdown(record: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    on, setting = record["machine"], record["setting"]
    lines = [
        f"{record['date']}: {on['processor']}, {setting['threads']} of {on['cores']} cores; "
        f"GPU: {on['gpu'] or 'none'}; load {on['load']}; torch {on['versions']['torch']}, "
        f"Python {on['python']}. Median of {setting['repeats']} (slowest to fastest)."
    ]
    if "rates" in record:
        lines += ["", *_rates(record["rates"])]
    if "steps" in record:
        lines += ["", *_steps(record["steps"])]
    return "\n".join(lines)


def _rates(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| augmentation | images | ours, images/s | peer, images/s | ours / peer |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        rate, where = row["images_per_s"], "" if row["device"] == "cpu" else ", GPU"
        peer, ratio = "", ""
        if "peer" in rate:
            peer = f"{_spread(rate['peer'])}: {_PEERS.get(row['name'], 'torchvision, each image')}"
            ratio = f"{rate['ours'][0] / rate['peer'][0]:.1f}"
        what = f"{row['batch']} of {row['size']} px{where}"
        lines.append(f"| {row['name']} | {what} | {_spread(rate['ours'])} | {peer} | {ratio} |")
    return lines


def _steps(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| step of | with | ms | over the step without | target |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        what = f"{row['network']}, {row['batch']} of {row['size']} px, {row['device']}"
        target = "" if row["target"] is None else f"{row['target']:.2f}"
        if "why" in row:
            lines.append(f"| {what} | {row['name']} | {row['why']} | | {target} |")
            continue
        if target:
            target += " met" if row["ratio"] <= row["target"] else " MISSED"
        lines.append(f"| {what} | {row['name']} | {_spread(row['ms'])} | {row['ratio']:.2f} | {target} |")
    return lines


def _spread(values: list[float]) -> str:
    median, *ends = (f"{value:,.0f}" for value in values)
    return f"{median} ({ends[0]} to {ends[1]})"


def fill_page(page: Path, record: dict[str, Any]) -> None:
    """Put the tables between the page's marks."""
    text = page.read_text(encoding="utf-8")
    if any(mark not in text for mark in _MARKS):
        raise InputError(
            f"{page} has no lines {_MARKS[0]} and {_MARKS[1]}; put both where the tables shall be"
        )
    before, rest = text.split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    write_text(page, f"{before}{_MARKS[0]}\n\n{markdown(record)}\n\n{_MARKS[1]}{after}")
