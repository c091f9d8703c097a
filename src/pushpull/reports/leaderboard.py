"""Many results on one page: task, data set, metric, value, model; only what was measured alike together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pushpull._version import __version__
from pushpull.errors import InputError, MissingFileError, all_printable, printable
from pushpull.evaluation.results import Results
from pushpull.files import RESULTS, user_path, write_text
from pushpull.reports.comparable import Setting, require_same, setting_of
from pushpull.reports.modelcard import HEADS, TaskRow, task_rows
from pushpull.reports.page import source, templates

_REPORT = "index.html"
_ABOVE = 3  # folders that a report may lie above its result: runs/quickstart/pp3/seed0/results.json
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 180, 38, 12, 12, 26  # of a chart, px


@dataclass(frozen=True)
class Entered:
    """One result of the page: where it lies, its figures, its setting (None: clean images only)."""

    path: Path
    results: Results
    rows: list[TaskRow]
    setting: Setting | None


def leaderboard(
    folders: Sequence[Path | str] | Path | str, output: Path | str, *, title: str = "Leaderboard"
) -> Path:
    """Write one self-contained page over all results in and below some folders.

    Results that were not measured alike (data, number of images, corruptions, severity scale, seed) are never
    ranked together: each setting is a part of its own, named by what it differs in.

    Args:
        folders: folders, or files of results.
        output: the page, replaced if it is there; or a folder, whose index.html it becomes.
        title: its heading.

    Returns:
        Its path.

    Raises:
        MissingFileError: no results in one of the folders.
        InputError: no result that is complete and can be read, or an output that is no .html file.
    """
    path = user_path(str(output))
    path = path / "index.html" if path.is_dir() or not path.suffix else path
    if path.suffix != ".html":
        raise InputError(f"output={output} is not a page; give a folder or a path that ends in .html")
    entered, left_out = _entered([folders] if isinstance(folders, Path | str) else folders)
    environment, groups = templates(), _grouped(entered)
    names = _names(groups)
    parts = [_part(name, group, path.parent) for name, group in zip(names, groups, strict=True)]
    metrics = list(dict.fromkeys(row["metric"] for part in parts for row in part["rows"]))
    text = environment.get_template("leaderboard.html.j2").render(
        title=printable(title),
        style=source(environment, "page.css"),
        heads=HEADS,
        parts=parts,
        metrics=metrics,
        first=next((name for name in metrics if name.startswith("Mean corruption")), metrics[0]),
        results=len(entered),
        left_out=all_printable(left_out),
        box=(_WIDTH, _HEIGHT, _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM),
        version=__version__,
    )
    return write_text(path, text)


def _files(folder: Path | str) -> list[Path]:
    path = user_path(str(folder))
    if path.is_file():
        return [path]
    found = sorted(path.rglob(RESULTS)) if path.is_dir() else []
    if not found:
        raise MissingFileError(
            f"{folder} holds no {RESULTS}; give folders of evaluated runs (pushpull evaluate)"
        )
    return found


def _entered(folders: Sequence[Path | str]) -> tuple[list[Entered], list[str]]:
    """Return the results, each once, and those that are left out, as sentences."""
    if not folders:
        raise InputError("no folder was given; name at least one: pushpull leaderboard FOLDER...")
    entered, left_out, seen = [], [], set()
    for file in dict.fromkeys(file for folder in folders for file in _files(folder)):
        try:
            results = Results.load(file)
            same = (results.model["weights_sha256"], results.created, results.label, results.data["label"])
            if same in seen:  # a copy, such as of a shared folder
                continue
            seen.add(same)
            setting = setting_of(results, str(file)) if results.corrupted else None
            if not results.complete and setting is None:
                raise InputError(f"{file} is not complete; continue it with: pushpull evaluate")
            entered.append(Entered(file, results, task_rows(results), setting))
        except InputError as error:
            left_out.append(str(error))
    if not any(one.rows for one in entered):
        raise InputError(f"no complete results: {left_out[0] if left_out else 'nothing was measured'}")
    return [one for one in entered if one.rows], left_out


def _grouped(entered: Sequence[Entered]) -> list[list[Entered]]:
    """Return the results by what they were measured with, large groups first.

    Those of clean images alone go with the same images.
    """
    groups: list[list[Entered]] = []
    for one in sorted(entered, key=lambda one: one.setting is None):
        fitting = next((group for group in groups if all(_alike(other, one) for other in group)), None)
        groups.append([one]) if fitting is None else fitting.append(one)
    return sorted(groups, key=len, reverse=True)


def _alike(first: Entered, second: Entered) -> bool:
    if first.setting is None or second.setting is None:
        return _images(first.results) == _images(second.results)
    try:
        require_same(first.setting, "", second.setting, "")
    except InputError:
        return False
    return True


def _images(results: Results) -> tuple[object, ...]:
    """Return what decides the clean error beside the network."""
    data, clean = results.data, results.clean
    which = data.get("sha256") or data["name"].rstrip("/").rsplit("/", 1)[-1]
    adapted, images = results.model.get("adapted"), None if clean is None else clean.images
    return which, data["split"], data["label"], data["classes"], data.get("framing"), images, adapted


def _facts(group: Sequence[Entered]) -> dict[str, str]:
    """Return the setting of a group as names and texts."""
    one = group[0]
    if one.setting is not None:
        adapted = {"Batch norms": one.setting.adapted} if one.setting.adapted else {}
        return dict(one.setting.summary()) | adapted
    data = one.results.data
    return {
        "Data": data["label"],
        "Images": f"{data['images']} ({data['split']} split)",
        "Classes": str(len(data["classes"])),
        "Corruptions": "none, clean images only",
    }


def _names(groups: Sequence[Sequence[Entered]]) -> list[str]:
    """Name each group by its data, and where several have the same by what they differ in."""
    every = [_facts(group) for group in groups]
    names = []
    for at, facts in enumerate(every):
        others = [other for i, other in enumerate(every) if i != at and other["Data"] == facts["Data"]]
        differ = [
            f"{name.lower()}: {text}"
            for name, text in facts.items()
            if any(other.get(name) != text for other in others)
        ]
        names.append(", ".join([facts["Data"], *differ]))
    return [_unlike(name, groups, names, at) for at, name in enumerate(names)]


def _unlike(name: str, groups: Sequence[Sequence[Entered]], names: Sequence[str], at: int) -> str:
    """Return a name that no other group has: with the fields that differ from the first of its name."""
    first = groups[names.index(name)][0].setting
    own = groups[at][0].setting
    if names.index(name) == at or first is None or own is None:
        return name if names.index(name) == at else f"{name} ({at + 1})"
    fields_ = [f.name for f in fields(Setting) if getattr(first, f.name) != getattr(own, f.name)]
    return f"{name}, other {', '.join(field.replace('_', ' ') for field in fields_)} ({at + 1})"


def _part(name: str, group: Sequence[Entered], folder: Path) -> dict[str, Any]:
    """Return what the template shows of one group: facts, rows with the best marked, a chart a metric."""
    figures = [(row, one) for one in group for row in one.rows]
    order = list(dict.fromkeys(row.metric for row, _ in figures))
    charts, rows = {}, []
    for metric in order:
        of = [(row, one) for row, one in figures if row.metric == metric]
        lower = of[0][0].column.lower_is_better
        of.sort(key=lambda pair: pair[0].value if lower else -pair[0].value)
        best = f"{of[0][0].value:.1f}"
        if len(of) > 1:
            charts[metric] = _chart([(one.results.created, row) for row, one in of], lower)
        for row, one in of:
            rows.append(
                {
                    "cells": (row.task, printable(name), row.metric, f"{row.value:.1f}", row.model),
                    "metric": row.metric,
                    "value": row.value,
                    "model": row.model,
                    "best": f"{row.value:.1f}" == best,
                    "created": printable(one.results.created),
                    "day": printable(one.results.created[:10]),
                    "report": _report(one, folder),
                }
            )
    return {"name": printable(name), "facts": all_printable(_facts(group)), "rows": rows, "charts": charts}


def _report(one: Entered, folder: Path) -> str | None:
    """Return the address, from the page, of a result's report, beside or above it; None without."""
    beside = one.path.parent
    above = [place for up in list(beside.parents)[:_ABOVE] for place in (up, up / "report")]
    for place in (beside, beside / "report", *above):
        if (place / _REPORT).is_file() and (place not in above or _is_of(place, one)):
            return quote(os.path.relpath(place / _REPORT, folder).replace(os.sep, "/"))
    return None


def _is_of(place: Path, one: Entered) -> bool:
    """Whether the report in a folder is of a result's network (by its weights, if known) and images."""
    try:
        said = json.loads((place / "comparison.json").read_text(encoding="utf-8"))
        model, setting = one.results.model, one.setting
        keys = ("weights_sha256",) if model["weights_sha256"] else ("name", "stem", "seed")
        same = setting is None or (said["setting"]["data"], said["setting"]["images"]) == (
            setting.data,
            setting.images,
        )
        models = [shown for row in said["rows"] for shown in row["models"]]
        return same and any(all(shown[key] == model[key] for key in keys) for shown in models)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _chart(figures: Sequence[tuple[str, TaskRow]], lower: bool) -> dict[str, Any]:
    """Return a metric over time: all results, the best so far as corners of steps, the ends of the axes."""
    dated = sorted(_dated(figures), key=lambda one: one[0])
    days, values = [when for when, _, _ in dated], [row.value for _, _, row in dated]
    low, high = min(values), max(values)
    low, high = (low, high) if high - low > 0.05 else (low - 0.5, high + 0.5)

    def x(when: float) -> float:
        span = days[-1] - days[0]
        share = (when - days[0]) / span if span else 0.5
        return round(_LEFT + 8 + share * (_WIDTH - _LEFT - _RIGHT - 16), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    steps, best = [], values[0]
    for when, _, row in dated:
        steps.append(f"{x(when)},{y(best)}")
        best = min(best, row.value) if lower else max(best, row.value)
        steps.append(f"{x(when)},{y(best)}")
    points = [
        {"x": x(when), "y": y(row.value), "text": f"{row.model}: {row.value:.1f}, {text[:10]}"}
        for when, text, row in dated
    ]
    length = 10 if dated[0][1][:10] != dated[-1][1][:10] else 16
    ends = (dated[0][1][:length].replace("T", " "), dated[-1][1][:length].replace("T", " "))
    times = ends if ends[0] != ends[1] else ("", ends[1])
    return {"points": points, "steps": " ".join(steps), "times": times, "ends": (f"{low:.1f}", f"{high:.1f}")}


def _dated(figures: Sequence[tuple[str, TaskRow]]) -> Iterator[tuple[float, str, TaskRow]]:
    for text, row in figures:
        try:
            when = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            when = 0.0
        yield when, printable(text), row
