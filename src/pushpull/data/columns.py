"""Which column of a table has the images, and which the labels: found by what is in them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pushpull.data.images import ImageSplit, TableSource
from pushpull.data.raw import UNLABELLED, RawData
from pushpull.errors import InputError

_PROBED_ROWS = 8
_LABEL_NAME = re.compile(r"(.*_)?(labels?|targets?|class|category|y|digit)(_id)?", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """The image column, the label column, the classes' names (None where the table has none), and why."""

    image: str
    label: str
    classes: list[str] | None
    remarks: tuple[str, ...]


def tables_to_raw(tables: dict[str, Any], origin: str) -> RawData:
    """Return the splits of a data set that is one Hugging Face table a split.

    Args:
        tables: "train", "validation", "test" -> `datasets.Dataset`.
        origin: what errors call the data set.

    Raises:
        InputError: no image or label column, splits that disagree on the classes, labels out of range.
    """
    first = next(iter(tables.values()))
    columns = find_columns(first, origin)
    labels = {name: _labels(table, columns, f"{origin} {name}") for name, table in tables.items()}
    for name, table in tables.items():
        if columns.image not in table.column_names:
            raise InputError(
                f"the {name} split of {origin} has no column {columns.image!r} as the others have"
            )
        names = class_names(table.features.get(columns.label))
        if names is not None and names != columns.classes:
            raise InputError(
                f"the {name} split of {origin} has other class names than the first; they must agree"
            )
    top = max((int(values.max()) for values in labels.values() if len(values)), default=UNLABELLED)
    classes = columns.classes or [str(number) for number in range(top + 1)]
    if top >= len(classes):
        raise InputError(
            f"{origin} has the label {top} but {len(classes)} class names; correct the labels or names"
        )
    splits = {
        name: ImageSplit(
            name,
            classes,
            labels[name],
            torch.arange(len(table)),
            TableSource(table, columns.image, f"{origin} {name}"),
        )
        for name, table in tables.items()
    }
    return RawData(classes, splits, list(columns.remarks))


def class_names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel feature, None for another."""
    names = getattr(feature, "names", None)
    return list(names) if names else None


def find_columns(table: Any, origin: str) -> Columns:
    """Find the image and the label column of a `datasets.Dataset`."""
    image, image_remark = _image_column(table, origin)
    label, label_remark = _label_column(table, origin)
    remarks = tuple(remark for remark in (image_remark, label_remark) if remark)
    return Columns(image, label, class_names(table.features[label]), remarks)


def _image_column(table: Any, origin: str) -> tuple[str, str | None]:
    found = [name for name, feature in table.features.items() if _holds_images(table, name, feature)]
    if not found:
        raise InputError(
            f"{origin} has no column of images among {', '.join(table.column_names)}; "
            "one must hold encoded images (bytes, or {bytes, path})"
        )
    usual = [name for name in found if name.lower() in ("image", "img")]
    chosen = (usual or found)[0]
    return chosen, f"images from {chosen!r} of {', '.join(found)}" if len(found) > 1 else None


def _holds_images(table: Any, name: str, feature: Any) -> bool:
    from datasets import Image as ImageFeature

    if isinstance(feature, ImageFeature):
        return True
    if not (isinstance(feature, dict) and "bytes" in feature) and "binary" not in str(
        getattr(feature, "dtype", "")
    ):
        return False
    rows = table.select_columns([name]).with_format("arrow")[:_PROBED_ROWS].column(name).to_pylist()
    return any(_is_image(row["bytes"] if isinstance(row, dict) else row) for row in rows)


def _is_image(content: bytes | None) -> bool:
    try:
        Image.open(io.BytesIO(content or b"")).close()
    except (UnidentifiedImageError, OSError, ValueError):
        return False
    return True


def _label_column(table: Any, origin: str) -> tuple[str, str | None]:
    named = {name: len(names) for name, feature in table.features.items() if (names := class_names(feature))}
    if named:
        # CIFAR-100 has fine_label and coarse_label: the finer one is the benchmark's.
        chosen = max(named, key=lambda name: named[name])
        counts = ", ".join(f"{name} ({count} classes)" for name, count in named.items())
        return chosen, f"labels from {chosen!r}, the finest of {counts}" if len(named) > 1 else None
    integers = [
        name
        for name, feature in table.features.items()
        # The name counts here: a table without class names may well number its images in another column.
        if "int" in str(getattr(feature, "dtype", "")) and _LABEL_NAME.fullmatch(name)
    ]
    if not integers:
        raise InputError(
            f"{origin} has no column of labels among {', '.join(table.column_names)}; "
            "one must be a ClassLabel feature, or hold integers and be called 'label'"
        )
    sizes = {name: len(table.unique(name)) for name in integers}
    chosen = max(sizes, key=lambda name: sizes[name])
    return chosen, f"labels from {chosen!r}, the finest of {', '.join(integers)}" if len(
        integers
    ) > 1 else None


def _labels(table: Any, columns: Columns, origin: str) -> Int64[Tensor, " n"]:
    """Return a split's labels; a missing column or value is `UNLABELLED`."""
    if columns.label not in table.column_names:
        return torch.full((len(table),), UNLABELLED)
    column = table.select_columns([columns.label]).with_format("arrow")[:].column(columns.label)
    values = torch.from_numpy(column.fill_null(UNLABELLED).to_numpy().astype("int64"))
    if len(values) and int(values.min()) < UNLABELLED:
        raise InputError(
            f"{origin} has the label {int(values.min())}; labels are 0, 1, ... and -1 where there is none"
        )
    return values
