"""A folder of parquet files in the public hub's layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pushpull.data.columns import tables_to_raw
from pushpull.data.raw import SPLITS, RawData, split_called
from pushpull.errors import InputError

# Up to this size the files are read into memory; above, the library makes its memory-mapped copy in its
# cache, once. CIFAR stays out of the cache, ImageNet out of memory.
_READ_LIMIT_BYTES = 2**30
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """Return split -> files, from `folder`, its data/, or its only subfolder that has any; {} if none.

    A file belongs to the split that its name starts with, or that its folder is called.

    Raises:
        InputError: parquet files that belong to no split, or a shard that is missing.
    """
    places = [folder, folder / "data", *(path for path in sorted(folder.iterdir()) if path.is_dir())]
    found = [
        (place, files) for place in dict.fromkeys(places) if (files := sorted(place.glob("[!.]*.parquet")))
    ]
    if not found:
        return {}
    by_folder = {split_called(place.name): files for place, files in found if split_called(place.name)}
    if found[0][0] != folder and by_folder:
        return {split: _complete(by_folder[split]) for split in SPLITS if split in by_folder}
    place, files = found[0]
    if place not in (folder, folder / "data") and len(found) > 1:
        names = ", ".join(other.name for other, _ in found)
        raise InputError(
            f"{folder} has parquet files in several folders ({names}); give the path of one of them"
        )
    splits = {split: [file for file in files if split_called(file.name) == split] for split in SPLITS}
    splits = {split: _complete(members) for split, members in splits.items() if members}
    if not splits:
        raise InputError(
            f"{place} has no train, validation or test among {files[0].name}, ...; rename the files"
        )
    return splits


def _complete(files: list[Path]) -> list[Path]:
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


def load_parquet(files: dict[str, list[Path]], origin: str) -> RawData:
    """Return the splits in these files; see `tables_to_raw` for what is found in them and raised."""
    tables = {split: _read(paths) for split, paths in files.items()}
    tables = {split: table for split, table in tables.items() if len(table)}
    if not tables:
        raise InputError(f"{origin} has parquet files without a row; give files with images")
    return tables_to_raw(tables, origin)


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
