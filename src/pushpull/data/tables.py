"""Tables of images and labels: parquet files in the public hub's layout, data sets of the hub."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, TypeVar

import torch
from jaxtyping import Int64
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pushpull.data.folder import SPLITS, in_class_order, is_image_name, split_called
from pushpull.data.images import UNLABELLED, ImageSplit, RawData, TableSource
from pushpull.data.labels import numbered
from pushpull.errors import InputError, choice, one_line

# Up to this size the files are read into memory; above, `load_dataset` makes its memory-mapped copy in its
# cache, once. CIFAR stays out of the cache, ImageNet out of memory. Order, labels and speed of reading an
# image are the same both ways (2,000 images of CIFAR-10: 0.14 s here, 0.17 s there).
_READ_LIMIT_BYTES = 2**30
AnyPath = TypeVar("AnyPath", bound=PurePath)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


def find_files(folder: Path, ending: str) -> dict[str, list[Path]]:
    """Return split -> files of this ending, from `folder`, its data/, or its only subfolder that has any.

    A file belongs to the split that a word of its name says, or that its folder is called.

    Args:
        folder: where to look.
        ending: "parquet", or "tar": of these all are the test split where no name says one.

    Returns:
        {} where there is none.

    Raises:
        InputError: files that belong to no split, or a shard that is missing.
    """
    places = [folder, folder / "data", *(path for path in sorted(folder.iterdir()) if path.is_dir())]
    found = [
        (place, files) for place in dict.fromkeys(places) if (files := sorted(place.glob(f"[!.]*.{ending}")))
    ]
    return files_of_splits(found, folder, ending) if found else {}


def files_of_splits(
    found: Sequence[tuple[AnyPath, list[AnyPath]]], folder: AnyPath, ending: str
) -> dict[str, list[AnyPath]]:
    """Return split -> files, of those that were found by their place; see `find_files`."""
    by_folder = {split_called(place.name): files for place, files in found if split_called(place.name)}
    if found[0][0] != folder and by_folder:
        return {split: _complete(by_folder[split]) for split in SPLITS if split in by_folder}
    place, files = found[0]
    if place not in (folder, folder / "data") and len(found) > 1:
        names = ", ".join(other.name for other, _ in found)
        raise InputError(
            f"{folder} has {ending} files in several folders ({names}); give the path of one of them"
        )
    splits = {split: [file for file in files if _split_of(file) == split] for split in SPLITS}
    splits = {split: _complete(members) for split, members in splits.items() if members}
    if not splits and ending == "tar":
        return {"test": _complete(files)}
    nowhere = [file.name for file in files if _split_of(file) is None]
    if not splits or (nowhere and ending == "tar"):
        raise InputError(
            f"{place} has no train, validation or test among {nowhere[0]}, ...; rename the files"
        )
    return splits


def _split_of(file: PurePath) -> str | None:
    """Return the split that a file's name says: "imagenet1k-train-0000.tar" is "train"."""
    return next(filter(None, map(split_called, re.split("[-_.]", file.stem))), None)


def _complete(files: list[AnyPath]) -> list[AnyPath]:
    shards = {file: match for file in files if (match := _SHARD.search(file.name))}
    if not shards:
        return files
    if len(shards) < len(files):
        other = next(file for file in files if file not in shards)
        raise InputError(
            f"{other} stands beside shards ({files[0].name}, ...) of the same split; keep one of the two"
        )
    total = int(next(iter(shards.values()))[2])
    missing = sorted(set(range(total)) - {int(match[1]) for match in shards.values()})
    if missing or len(files) != total:
        raise InputError(
            f"{files[0].parent} has {len(files)} files of a split of {total} ({files[0].name}, ...); "
            "fetch the missing ones or remove what does not belong"
        )
    return files


def load_parquet(files: dict[str, list[Path]], root: Path, label_column: str | None = None) -> RawData:
    """Return the splits in these files; see `tables_to_raw` for what is found in them and raised."""
    tables = {split: _read(paths) for split, paths in files.items()}
    tables = {split: table for split, table in tables.items() if len(table)}
    if not tables:
        raise InputError(f"{root} has parquet files without a row; give files with images")
    beside = {split: files[split][0].parent for split in tables}
    return tables_to_raw(tables, str(root), root, label_column, beside)


def _read(paths: list[Path]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset
    from datasets.exceptions import DatasetsError

    try:
        if sum(path.stat().st_size for path in paths) > _READ_LIMIT_BYTES:
            return Dataset.from_parquet([str(path) for path in paths])
        return Dataset(pa.concat_tables([pq.read_table(path) for path in paths]))
    except (pa.ArrowException, DatasetsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{paths[0]} cannot be read as parquet ({reason}); fetch the file again") from error


_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")


def is_hub_name(name: str) -> bool:
    """Return whether `name` has the form owner/name or owner/name:configuration."""
    return _NAME.fullmatch(name) is not None


def load_hub(name: str, label_column: str | None = None) -> RawData:
    """Fetch a data set (into the library's cache) and return its splits.

    Raises:
        InputError: not there, not reachable, not allowed, or not a table of images with labels.
    """
    from datasets import config, load_dataset

    path, _, configuration = name.partition(":")
    try:
        found = load_dataset(path, configuration or None)
    except Exception as error:
        # Not found, gated, offline, no disk, a script: the library and its HTTP client share no base class.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name!r} is not a folder here and cannot be fetched from the hub ({reason}); "
            "check the name and the connection, or give a folder of parquet files"
        ) from error
    tables = {split: found[key] for key in found if (split := split_called(key)) and len(found[key])}
    if not tables:
        raise InputError(
            f"{name!r} has no train, validation or test split among {', '.join(found)}; give other data"
        )
    ordered = {split: tables[split] for split in SPLITS if split in tables}
    raw = tables_to_raw(ordered, name, Path(config.HF_CACHE_HOME), label_column)
    others = [key for key in found if not split_called(key)]
    if others:
        raw.remarks.append(f"not a split of ours, not used: {', '.join(others)}")
    return raw


_PROBED_ROWS = 8
# What labels may be stored as: whole numbers, words, yes and no.
_LABEL_TYPE = re.compile(r"u?int\d+|bool|(large_)?string(_view)?")
_LABELS_ARE = "labels are whole numbers, words, or True and False"
LABEL_NAME = re.compile(r"(.*_)?(labels?|targets?|class|cls|category|y|digit)(_id)?", re.IGNORECASE)


def tables_to_raw(
    tables: dict[str, Any],
    origin: str,
    root: Path | None = None,
    label_column: str | None = None,
    beside: Mapping[str, Path] | None = None,
    known: list[str] | None = None,
) -> RawData:
    """Return the splits of a data set that is one Hugging Face table per split.

    Args:
        tables: "train", "validation", "test" -> `datasets.Dataset`.
        origin: what errors call the data set.
        root: the folder that paths of images must not leave; None: they were listed here.
        label_column: the column with the labels; None: found by name and type.
        beside: split -> the folder that relative paths of images start from.
        known: the names of the classes, where they are not the tables' own.

    Raises:
        InputError: no image or label column, splits that disagree on the classes, labels out of range.
    """
    first = next(iter(tables.values()))
    image, image_remark = _image_column(first, origin)
    label, label_remark = _label_column(first, origin, label_column)
    known = known or class_names(first.features[label]) or _words(first, label)
    labels = {name: _labels(table, label, known, f"{origin} {name}") for name, table in tables.items()}
    _check_columns(tables, origin, image, label, known)
    top = max((int(values.max()) for values in labels.values() if len(values)), default=UNLABELLED)
    classes = known or numbered(labels.values(), origin)
    if top >= len(classes):
        raise InputError(
            f"{origin} has the label {top} but {len(classes)} class names; correct the labels or names"
        )
    splits = {}
    for name, table in tables.items():
        source = TableSource(table, image, f"{origin} {name}", root, (beside or {}).get(name))
        splits[name] = ImageSplit(name, classes, labels[name], torch.arange(len(table)), source)
    return RawData(classes, splits, [remark for remark in (image_remark, label_remark) if remark])


def _check_columns(
    tables: dict[str, Any], origin: str, image: str, label: str, known: list[str] | None
) -> None:
    """Raise where a split has no such image column, or other classes than the first split."""
    for name, table in tables.items():
        if image not in table.column_names:
            raise InputError(f"the {name} split of {origin} has no column {image!r} as the others have")
        names = class_names(table.features.get(label))
        if names is not None and names != known:
            raise InputError(
                f"the {name} split of {origin} has other class names than the first; they must agree"
            )


def class_names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel feature, None for another."""
    names = getattr(feature, "names", None)
    return list(names) if names else None


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
    in_struct = isinstance(feature, dict) and feature.keys() & {"bytes", "path"}
    if not in_struct and "binary" not in str(getattr(feature, "dtype", "")):
        return False
    rows = table.select_columns([name]).with_format("arrow")[:_PROBED_ROWS].column(name).to_pylist()
    for row in rows:
        content = row.get("bytes") if isinstance(row, dict) else row
        if content is None and isinstance(row, dict) and is_image_name(row.get("path") or ""):
            return True
        with suppress(UnidentifiedImageError, OSError, ValueError):
            Image.open(io.BytesIO(content or b"")).close()
            return True
    return False


def _label_column(table: Any, origin: str, asked: str | None) -> tuple[str, str | None]:
    """Return the column with the labels, and a remark where there were several."""
    types = {name: str(getattr(feature, "dtype", "")) for name, feature in table.features.items()}
    if asked is not None:
        name = choice("label_column", asked, table.column_names)
        if class_names(table.features[name]) or _LABEL_TYPE.fullmatch(types[name]):
            return name, None
        raise InputError(f"column {name!r} of {origin} holds {types[name]}, no labels; {_LABELS_ARE}")
    named = {name: len(names) for name, feature in table.features.items() if (names := class_names(feature))}
    # The name counts here: a table without class names may well number its images in another column.
    called = [name for name in types if LABEL_NAME.fullmatch(name)]
    found = list(named) or [name for name in called if _LABEL_TYPE.fullmatch(types[name])]
    if not found and called:
        raise InputError(
            f"column {called[0]!r} of {origin} holds {types[called[0]]}, no labels; {_LABELS_ARE}"
        )
    if not found:
        raise InputError(
            f"{origin} has no column of labels among {', '.join(table.column_names)}; "
            "one must be a ClassLabel feature, or hold integers and be called 'label', or be named "
            "(data.label_column, --label-column)"
        )
    # CIFAR-100 has fine_label and coarse_label: the finer one is the benchmark's.
    sizes = named or {name: len(table.unique(name)) for name in found}
    plain = [name for name in found if name.lower() == "label"]
    chosen = plain[0] if plain else max(sizes, key=lambda name: sizes[name])
    counts = ", ".join(f"{name} ({count} classes)" for name, count in sizes.items())
    how = "the plain one" if plain else "the finest"
    return chosen, f"labels from {chosen!r}, {how} of {counts}" if len(found) > 1 else None


def _words(table: Any, column: str) -> list[str] | None:
    """Return the class names of a column of words, or of True and False; None for numbers."""
    kind = str(getattr(table.features[column], "dtype", ""))
    if kind == "bool":
        return ["False", "True"]
    if "string" not in kind:
        return None
    return in_class_order(word for word in table.unique(column) if word is not None)


def _labels(table: Any, column: str, words: list[str] | None, origin: str) -> Int64[Tensor, " n"]:
    """Return a split's labels; a missing column or value is `UNLABELLED`."""
    import pyarrow as pa

    if column not in table.column_names:
        return torch.full((len(table),), UNLABELLED)
    cells = table.select_columns([column]).with_format("arrow")[:].column(column)
    if "string" in str(cells.type):
        numbers = {word: number for number, word in enumerate(words or ())}
        values = cells.to_pylist()
        unknown = next((word for word in values if word is not None and word not in numbers), None)
        if unknown is not None:
            raise InputError(
                f"{origin} has the class {unknown!r}, which the first split does not have, nor a list"
            )
        return torch.tensor([UNLABELLED if word is None else numbers[word] for word in values])
    if not _LABEL_TYPE.fullmatch(str(cells.type)):
        raise InputError(f"{origin}: column {column!r} holds {cells.type}, no labels; {_LABELS_ARE}")
    try:
        found = torch.from_numpy(cells.cast(pa.int64()).fill_null(UNLABELLED).to_numpy().copy())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{origin}: column {column!r} has labels out of range ({one_line(error)})"
        ) from error
    if len(found) and int(found.min()) < UNLABELLED:
        raise InputError(
            f"{origin} has the label {int(found.min())}; labels are 0, 1, ... and -1 where there is none"
        )
    return found
