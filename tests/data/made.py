"""Small data sets on disk for the tests of this folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image


def picture(value: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """Return a uniform grey RGB image of `size` (height, width) px."""
    return Image.new("RGB", (size[1], size[0]), (value, value, value))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return the file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def noisy_jpeg(size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a JPEG that is long enough to be cut in two."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG")


def image_folder(root: Path, layout: Mapping[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    """Write `count` images into each folder of `layout` ("train/cat" -> 3); image i is grey level i."""
    for folder, count in layout.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number:03}.png").write_bytes(encoded(picture(number, size)))
    return root


def table(labels: Sequence[int], names: Sequence[str] | None = None, **more: Any) -> Dataset:
    """Return a table as the hub stores it: row i is an image of grey level i."""
    rows = {
        "img": [
            {"bytes": encoded(picture(number)), "path": f"{number}.png"} for number in range(len(labels))
        ],
        "label": list(labels),
    }
    label = ClassLabel(names=list(names)) if names else Value("int64")
    return Dataset.from_dict(
        rows, features=Features({"img": ImageFeature(decode=False), "label": label}), **more
    )


def parquet_folder(root: Path, tables: Mapping[str, Dataset]) -> Path:
    """Write each table to `root`/NAME.parquet."""
    for name, rows in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(root / f"{name}.parquet")
    return root


def tar(path: Path, members: Mapping[str, bytes | str | int]) -> Path:
    """Write NAME -> content into a tar; a text or number is stored as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else str(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def shard(path: Path, labels: Sequence[str | int], first: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    """Write a WebDataset shard: sample i has the label i and an image of grey level first + i."""
    members: dict[str, bytes | str | int] = {}
    for number, label in enumerate(labels, first):
        members |= {f"{number:04}.cls": label, f"{number:04}.png": encoded(picture(number, size))}
    return tar(path, members)
