"""Small corrupted sets on disk, laid out as the published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data.made import encoded, table

Make = Callable[[int, int], np.ndarray]
LEVELS = (1, 2, 3, 4, 5)


def grey(severity: int, number: int, side: int = 32) -> np.ndarray:
    """Return image `number` at a severity, (side, side, 3): a level that tells which it is."""
    return np.full((side, side, 3), 40 * severity + number, np.uint8)


def folder_set(
    root: Path,
    corruptions: Iterable[str],
    classes: Sequence[str],
    *,
    per_class: int = 2,
    levels: Sequence[int] = LEVELS,
    side: int = 32,
    make: Make | None = None,
) -> Path:
    """Write corruption/severity/class/file; image i counts through the classes; PNG keeps values."""
    for name in corruptions:
        for level in levels:
            for number in range(per_class * len(classes)):
                folder = root / name / str(level) / classes[number // per_class]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = make(level, number) if make else grey(level, number, side)
                (folder / f"{number:04}.png").write_bytes(encoded(Image.fromarray(pixels)))
    return root


def array_set(
    root: Path, corruptions: Iterable[str], labels: Sequence[int], *, repeat: bool = True, make: Make = grey
) -> Path:
    """Write CORRUPTION.npy of five severities, and labels.npy, five times over or once."""
    root.mkdir(parents=True, exist_ok=True)
    for name in corruptions:
        rows = [make(level, number) for level in LEVELS for number in range(len(labels))]
        np.save(root / f"{name}.npy", np.stack(rows))
    np.save(root / "labels.npy", np.tile(labels, 5 if repeat else 1).astype(np.uint8))
    return root


def parquet_set(
    root: Path, corruptions: Iterable[str], labels: Sequence[int], classes: Sequence[str]
) -> Path:
    """Write corruption/severity/test-00000-of-00001.parquet; all severities have the same images."""
    for name in corruptions:
        for level in LEVELS:
            folder = root / name / str(level)
            folder.mkdir(parents=True, exist_ok=True)
            table(labels, classes).to_parquet(folder / "test-00000-of-00001.parquet")
    return root
