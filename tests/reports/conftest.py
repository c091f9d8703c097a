"""Synthetic results, and a table of seconds on digits, for the tests of the reports."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pushpull.corruptions import CORRUPTIONS
from pushpull.evaluation.results import Condition, Results
from pushpull.reports import reproduce

Build = Callable[..., Results]


def condition(error: float, images: int = 1000) -> Condition:
    return Condition(error, None, [error, error], images, 1.0)


def build(
    stem: str = "plain",
    seed: int | None = 0,
    *,
    clean: float | None = 0.2,
    errors: Mapping[str, Sequence[float]] | float = 0.4,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    complete: bool = True,
    images: int = 1000,
    **changes: Mapping[str, Any],
) -> Results:
    """Results with these errors; a number is the error of all 15 x 5; `changes` update a section."""
    if not isinstance(errors, Mapping):
        errors = {name: [errors] * len(severities) for name in CORRUPTIONS}
    sections: dict[str, dict[str, Any]] = {
        "model": {
            "label": f"resnet14 {stem} seed {seed}",
            "name": "resnet14",
            "stem": stem,
            "source": f"runs/{stem}/seed{seed}",
            "parameters": 175258,
            "seed": seed,
            "weights_sha256": None,
        },
        "data": {
            "name": "digits",
            "label": "digits (demonstration, not evidence)",
            "split": "test",
            "images": images,
            "image_size": [32, 32],
            "classes": [str(digit) for digit in range(10)],
            "skipped": [],
            "limit": None,
            "note": "demonstration, not evidence",
            "framing": {"resize": None, "crop": None},
            "sha256": "0" * 64,
        },
        "preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3, "size": None},
        "corruption": {"scale": "cifar", "seed": 0, "source": "in memory", "frost_textures": "procedural"},
    }
    for name, values in changes.items():
        sections[name] = {**sections[name], **values}
    return Results(
        **sections,  # type: ignore[arg-type]
        versions={"pushpull": "0.1.0", "torch": "2.6.0"},
        device="cpu",
        created="2026-01-01T00:00:00+00:00",
        clean=None if clean is None else condition(clean, images),
        corrupted={
            name: {s: condition(e, images) for s, e in zip(severities, values, strict=True)}
            for name, values in errors.items()
        },
        complete=complete,
    )


@pytest.fixture(scope="session")
def results() -> Build:
    """The builder of synthetic results."""
    return build


@pytest.fixture
def seeds(tmp_path: Path) -> Callable[..., Path]:
    """Write results of seeds 0, 1, ... of one stem below a folder and return that folder."""

    def write(stem: str, figures: Sequence[tuple[float, float]], **options: Any) -> Path:
        for seed, (clean, mean) in enumerate(figures):
            build(stem, seed, clean=clean, errors=mean, **options).save(tmp_path / stem / f"seed{seed}")
        return tmp_path / stem

    return write


TABLE = """
title: Digits
recipe:
  model: {name: resnet8}
  data: {name: digits, fraction: 0.05}
  preprocessing: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  augment: {flip: false}
  epochs: 2
  batch_size: 16
  accelerator: cpu
rows:
  - {name: baseline}
  - {name: PP3, twin: baseline, model: {stem: pp3}}
  - {name: BlurPool, twin: baseline, on_request: true, model: {stem: blurpool}}
seeds: [0]
limit: 10
"""


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "digits-table.yaml"
    path.write_text(TABLE)
    return str(path)


@pytest.fixture(scope="session")
def whole(table, tmp_path_factory):
    """The table's folder, made without interruption; nobody changes it."""
    folder = tmp_path_factory.mktemp("whole")
    reproduce(table, output=str(folder), quiet=True)
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of that folder, to be changed."""
    return shutil.copytree(whole, tmp_path / "copied")
