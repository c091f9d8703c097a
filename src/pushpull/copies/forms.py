"""The forms that a corrupted copy is written in: image folders, parquet files, .npy files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from pushpull.copies.encode import encoded, suffix
from pushpull.copies.job import Decoded, Job
from pushpull.copies.store import Store, Task
from pushpull.errors import InputError
from pushpull.evaluation.results import SEVERITIES

CLASS_LIST, FILE_LIST = "classes.txt", "files.txt"
_ROW_GROUP = 100  # rows: what a reader has to fetch to see one image


class Form(Protocol):
    """How tasks become files."""

    def check(self, conditions: Sequence[tuple[str, int]]) -> None:
        """Raise `InputError` where (corruption, severity) in this choice cannot be had in this form."""

    def begin(self, job: Job, store: Store) -> None:
        """Write what stands beside the images."""

    def write(self, job: Job, store: Store, task: Task, decoded: Decoded, batches: Iterator[Tensor]) -> None:
        """Write a task's images, given corrupted, some at a time, in the order of `decoded`."""

    def finish(self, job: Job, store: Store, corruption: str) -> None:
        """Complete a corruption whose tasks are all done."""

    def files(self, record: dict[str, Any], root: Path) -> Iterable[Path]:
        """Return all files that a copy with this manifest may have, but for the manifest."""


def _condition_folder(store: Store, task: Task) -> Path:
    return store.root / task.corruption / str(task.severity)


def _conditions(record: dict[str, Any]) -> Iterator[str]:
    for name in record["corruptions"]:
        for severity in record["severities"]:
            yield f"{name}/{severity}"


def _lines(path: Path) -> list[str]:
    """Return the lines of a list that `begin` wrote; "\n" alone ends one."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n") if path.is_file() else []


class FolderForm:
    """ImageNet-C's layout: corruption/severity/class/file.

    Beside it classes.txt has the class folders in the order of the labels, as `--classes` takes it, since
    folders in alphabetical order may be another; files.txt has the images' paths below corruption/severity.
    """

    def check(self, conditions: Sequence[tuple[str, int]]) -> None:
        """Every choice can be had."""

    def begin(self, job: Job, store: Store) -> None:
        """Write both lists."""
        ending = suffix(job.jpeg_quality)
        store.put(store.root / CLASS_LIST, "".join(f"{name}\n" for name in job.folders).encode())
        store.put(store.root / FILE_LIST, "".join(f"{name}{ending}\n" for name in job.names).encode())

    def write(self, job: Job, store: Store, task: Task, decoded: Decoded, batches: Iterator[Tensor]) -> None:
        """Write a file an image."""
        folder, ending = _condition_folder(store, task), suffix(job.jpeg_quality)
        # A class without an image has its folder too: the others' numbers in alphabetical order stay theirs.
        for name in job.folders if task.shard == 0 else ():
            store.folder(folder / name)
        positions = iter(decoded.positions.tolist())
        for batch in batches:
            for image in batch:
                path = folder / f"{job.names[next(positions)]}{ending}"
                store.put(path, encoded(image, job.jpeg_quality))

    def finish(self, job: Job, store: Store, corruption: str) -> None:
        """Nothing is left to do."""

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return both lists and what the list of files says."""
        names = _lines(root / FILE_LIST)
        for condition in _conditions(record):
            yield from (root / condition / name for name in names)
        yield from (root / CLASS_LIST, root / FILE_LIST)


class ParquetForm:
    """The public hub's layout, a data set a condition: corruption/severity/test-00000-of-00001.parquet."""

    def check(self, conditions: Sequence[tuple[str, int]]) -> None:
        """Every choice can be had."""

    def begin(self, job: Job, store: Store) -> None:
        """Nothing stands beside the images."""

    def write(self, job: Job, store: Store, task: Task, decoded: Decoded, batches: Iterator[Tensor]) -> None:
        """Write one file: columns image {bytes, path}, label, index (the row in the source split)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        positions, ending = decoded.positions, suffix(job.jpeg_quality)
        content = (encoded(image, job.jpeg_quality) for batch in batches for image in batch)
        paths = [f"{job.names[position].rsplit('/', 1)[1]}{ending}" for position in positions.tolist()]
        columns = {
            "image": [{"bytes": data, "path": path} for data, path in zip(content, paths, strict=True)],
            "label": job.split.labels[positions].tolist(),
            "index": job.split.index[positions].tolist(),
        }
        path = _condition_folder(store, task) / _shard_name(job.role, task.shard, job.shards)
        with store.placing(path) as temporary:
            pq.write_table(
                pa.table(columns, schema=_schema(job.split.classes)),
                temporary,
                row_group_size=_ROW_GROUP,
                compression="none",  # the images are compressed already
                use_dictionary=False,
                write_statistics=["label", "index"],
            )

    def finish(self, job: Job, store: Store, corruption: str) -> None:
        """Nothing is left to do."""

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return the shards."""
        for condition in _conditions(record):
            for shard in range(record["shards"]):
                yield root / condition / _shard_name(record["role"], shard, record["shards"])


def _shard_name(role: str, shard: int, shards: int) -> str:
    return f"{role}-{shard:05d}-of-{shards:05d}.parquet"


def _schema(classes: list[str]) -> Any:
    """Return the schema with what makes `datasets` see images and class names."""
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "index": {"dtype": "int64", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64()), ("index", pa.int64())])
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


class NpyForm:
    """CIFAR-10-C's files: NAME.npy, the five severities one after another, and labels.npy."""

    def check(self, conditions: Sequence[tuple[str, int]]) -> None:
        """Refuse fewer than five severities."""
        missing = sorted(set(SEVERITIES) - {severity for _, severity in conditions})
        if missing:
            raise InputError(
                f"severities lacks {', '.join(map(str, missing))}: an .npy file of this form holds all five; "
                "leave --severities out, or take --format parquet or folder"
            )

    def begin(self, job: Job, store: Store) -> None:
        """labels.npy comes last: only then is it known which images can be read."""

    def write(self, job: Job, store: Store, task: Task, decoded: Decoded, batches: Iterator[Tensor]) -> None:
        """Write the images of a task, (m, H, W, 3), to a file of their own until the corruption is done."""
        parts = [batch.permute(0, 2, 3, 1).contiguous().numpy() for batch in batches]
        images = np.concatenate(parts) if parts else np.empty((0, *job.size, 3), np.uint8)
        _save(store, _part(store, task), images)
        if not _labels_part(store, task.shard).is_file():
            _save(store, _labels_part(store, task.shard), job.split.labels[decoded.positions].numpy())

    def finish(self, job: Job, store: Store, corruption: str) -> None:
        """Join the parts to NAME.npy, and write labels.npy."""
        labels = [np.load(_labels_part(store, shard), allow_pickle=False) for shard in range(job.shards)]
        once = np.concatenate(labels).astype(np.int64)
        tasks = [Task(corruption, level, shard) for level in SEVERITIES for shard in range(job.shards)]
        path = store.root / f"{corruption}.npy"
        if not path.is_file():
            shape = (len(SEVERITIES) * len(once), *job.size, 3)
            with store.placing(path) as temporary, temporary.open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for task in tasks:
                    file.write(np.load(_part(store, task), allow_pickle=False).reshape(-1).data)
        if not (store.root / "labels.npy").is_file():
            _save(store, store.root / "labels.npy", np.tile(once, len(SEVERITIES)))
        for task in tasks:
            _part(store, task).unlink(missing_ok=True)

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return the arrays."""
        yield from (root / f"{name}.npy" for name in (*record["corruptions"], "labels"))


def _part(store: Store, task: Task) -> Path:
    return store.parts / f"{task.key}.npy"


def _labels_part(store: Store, shard: int) -> Path:
    return store.parts / f"labels-{shard:05d}.npy"


def _save(store: Store, path: Path, array: np.ndarray) -> None:
    """Write what `np.save` would, but with the system's reason where it fails: a full disk."""
    with store.placing(path) as temporary, temporary.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(array).reshape(-1).data)


FORMS: dict[str, Form] = {"parquet": ParquetForm(), "folder": FolderForm(), "npy": NpyForm()}
