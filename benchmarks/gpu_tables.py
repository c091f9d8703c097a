"""What `gpu.py` found: a line for each stage, and the tables of the documentation."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import unit_tables
from corruption_summary import HARMONIC_MEAN, ON_GPU
from pages import fill

from pushpull.corruptions import CORRUPTIONS
from pushpull.files import read_json

Record = dict[str, Any]
_COMMAND = "python benchmarks/gpu.py --output DIR"
_MINUTES = 10.0  # for ImageNet-C, 3.75 million images
# The corruptions that need the CPU on the way, and why.
_ON_THE_CPU = "spatter looks at its edges from the host between two steps; everything else stays on the GPU"


def line(record: Record) -> str:
    """Return what a stage found, and what went wrong, in a line."""
    found = _FOUND[record["stage"]](record["parts"])
    wrong = "".join(f"; {name}: {short(text)}" for name, text in record["errors"].items())
    return f"{record['stage']}: {found or 'nothing'}{wrong} ({record['seconds']:.0f} s)"


def short(error: str) -> str:
    """Return what ended a part, and the last that it said."""
    why, _, said = error.partition(": ")
    last = said.strip().splitlines()[-1:]
    return ": ".join([why, *last])


def _right(parts: Record) -> str:
    if not parts:
        return ""
    passed, skipped = (sum(part[key] for part in parts.values()) for key in ("passed", "skipped"))
    wrong = [one["test"] for part in parts.values() for one in part["failed"]]
    failed = f", {len(wrong)} failed ({', '.join(wrong[:3])})" if wrong else ", none failed"
    return f"{passed} tests passed{failed}, {skipped} skipped ({', '.join(parts)})"


def _unit(parts: Record) -> str:
    judged = [row for one in parts.values() for group in one["groups"] for row in _judged(group)]
    met = sum(row["ratio"] <= row["target"] for row in judged)
    return f"{len(parts)} settings, {met} of {len(judged)} targets met" if parts else ""


def _judged(group: Record) -> list[Record]:
    return [row for row in group["rows"] if row.get("target") is not None and "ratio" in row]


def _corruptions(parts: Record) -> str:
    means = {scale: _harmonic(one) for scale, one in parts.items()}
    texts = [f"{scale} {mean:,.0f} images/s" for scale, mean in means.items() if mean]
    return f"harmonic mean of the 15: {', '.join(texts)}" if texts else f"{len(parts)} scales" * bool(parts)


def _rates(record: Record) -> dict[str, float]:
    """Return corruption -> images per second on the GPU."""
    return {row["corruption"]: 1e3 / row["ms"] for row in record["rows"] if row["contestant"] == ON_GPU}


def _harmonic(record: Record) -> float | None:
    rates = _rates(record)
    return (
        statistics.harmonic_mean([rates[name] for name in CORRUPTIONS])
        if set(CORRUPTIONS) <= set(rates)
        else None
    )


def _evaluation(parts: Record) -> str:
    one = parts.get("resnet50")
    if one is None:
        return ""
    return (
        f"{one['evaluation_images_per_second']:,.0f} images/s, {one['ratio']:.2f} of the network alone "
        f"({_met(one['ratio'] >= one['target'], one['target'])}); ImageNet-C in "
        f"{one['imagenet_c_minutes']:.1f} minutes"
    )


def _training(parts: Record) -> str:
    texts = [
        f"{one['network']} {row['row']} {row['images_per_s']:,} images/s"
        for part in parts.values()
        for one in part["settings"]
        for row in one["rows"]
    ]
    return ", ".join(texts)


def _science(parts: Record) -> str:
    one = parts.get("table")
    return f"{one['evaluated_runs']} runs evaluated so far, in {one['archive']}" if one else ""


_FOUND: dict[str, Callable[[Record], str]] = {
    "right": _right,
    "unit": _unit,
    "corruptions": _corruptions,
    "evaluation": _evaluation,
    "training": _training,
    "science": _science,
}


def _met(is_met: bool, target: float) -> str:
    return f"target {target:g} {'met' if is_met else 'MISSED'}"


def fill_pages(root: Path, folder: Path) -> None:
    """Put the tables of a folder's files into the pages; what has no file is called not measured yet."""
    docs = root / "docs"
    fill(docs / "speed.md", {name: _table(folder, name[4:]) for name in _SPEED})
    fill(docs / "corruptions.md", {"gpu-corruptions": _table(folder, "corruptions")})
    fill(docs / "augment.md", {"gpu-training": _table(folder, "training")})


_SPEED = ("gpu-right", "gpu-unit", "gpu-evaluation", "gpu-training")


def _table(folder: Path, stage: str) -> str:
    path = folder / f"{stage}.json"
    record = read_json(path) if path.is_file() else None
    if record is None or record["dry_run"] or not record["parts"]:
        return f"Not measured yet: `{_COMMAND} --stage {stage}`."
    on = record["machine"]
    head = (
        f"{record['date']}: {on['gpu']}, driver {on['driver']}, torch {on['versions']['torch']}, Python "
        f"{on['python']}. Command: `{_COMMAND} --stage {stage}`."
    )
    errors = [f"Went wrong: {name}: {short(text)}" for name, text in record["errors"].items()]
    return "\n\n".join([head, *_TABLES[stage](record["parts"]), *errors])


def _rows(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _unit_table(parts: Record) -> list[str]:
    return [f"**{name}**\n\n{unit_tables.markdown(one)}" for name, one in parts.items()]


def _corruption_table(parts: Record) -> list[str]:
    rates = {scale: _rates(one) for scale, one in parts.items()}
    names = list(dict.fromkeys(name for one in rates.values() for name in one))
    cells = [
        [name, *(f"{one[name]:,.0f}" if name in one else "" for one in rates.values())] for name in names
    ]
    means = {scale: _harmonic(one) for scale, one in parts.items()}
    said = [
        f"Harmonic mean of the 15 at the {scale} scale: {mean:,.0f} images/s "
        f"({_met(mean >= HARMONIC_MEAN, HARMONIC_MEAN)})."
        for scale, mean in means.items()
        if mean
    ]
    return [
        _rows(["images/s, severity 3, batch 256", *rates], cells),
        " ".join(said),
        f"On the way: {_ON_THE_CPU}.",
    ]


def _evaluation_table(parts: Record) -> list[str]:
    one = parts["resnet50"]
    minutes = one["imagenet_c_minutes"]
    rows = [
        ["network alone, images/s", f"{one['inference_images_per_second']['median']:,.0f}", ""],
        ["`evaluate`, images/s", f"{one['evaluation_images_per_second']:,.0f}", ""],
        ["ratio", f"{one['ratio']:.2f}", _met(one["ratio"] >= one["target"], one["target"])],
        ["ImageNet-C (3.75 million images), minutes", f"{minutes:.1f}", _met(minutes <= _MINUTES, _MINUTES)],
    ]
    how = f"{one['model']}, {one['precision']}, compiled, channels_last, batch {one['batch_size']}"
    what = f"{how}, {one['images']:,} images, {one['corruptions']} corruptions x 5 severities"
    return [_rows([what, "", "target"], rows)]


def _training_table(parts: Record) -> list[str]:
    return [_setting_table(one) for part in parts.values() for one in part["settings"]]


def _setting_table(one: Record) -> str:
    rows = []
    for row in one["rows"]:
        median, fastest, slowest = row["epoch_s"]
        targets = []
        if row["target_epoch_s"] is not None:
            targets.append(f"epoch: {_met(median <= row['target_epoch_s'], row['target_epoch_s'])}")
        if row["target_ratio"] is not None:
            targets.append(
                f"ratio: {_met(row['ratio_to_plain'] <= row['target_ratio'], row['target_ratio'])}"
            )
        cells = [row["row"], f"{median:.2f} ({fastest:.2f} to {slowest:.2f})", f"{row['images_per_s']:,}"]
        cells += [f"{row['step_images_per_s']:,}", f"{row['ratio_to_plain']:.2f}", "; ".join(targets)]
        rows.append(cells)
    title = (
        f"**{one['network']} at {one['side_px']} px, {one['images']:,} images, batch {one['batch']}, bf16**"
    )
    columns = ["row", "epoch, s", "images/s", "pure step, images/s", "ratio to plain", "targets"]
    return f"{title}\n\n{_rows(columns, rows)}"


_TABLES: dict[str, Callable[[Record], list[str]]] = {
    "right": lambda parts: [f"{_right(parts)}."],
    "unit": _unit_table,
    "corruptions": _corruption_table,
    "evaluation": _evaluation_table,
    "training": _training_table,
}
