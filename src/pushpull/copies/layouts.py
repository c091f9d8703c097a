"""The layouts of a corrupted copy on disk: image folders, parquet files, tar shards, .npy files.

The unit of work is a whole file, which is there or not: a kill loses the files in hand and no others.
"""

from __future__ import annotations

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from pushpull.copies.plan import CopyPlan, Decoded
from pushpull.data import UnreadableImageError
from pushpull.data.published import CLASS_LIST, LABELS, SEVERITIES
from pushpull.data.shards import rows_in_shard
from pushpull.errors import InputError
from pushpull.files import UnwrittenError, atomic_path

FILE_LIST = "files.txt"
_ROW_GROUP = 100  # rows: what a reader has to fetch to see one image
# On corrupted photographs of 224 px level 6 takes 2 to 4 times as long for files 1 to 12 % smaller.
_PNG_LEVEL = 1

Decode = Callable[[int], Decoded]
Corrupted = Callable[[str, int, Tensor, list[int]], Iterable[Tensor]]  # reports its batches as they are taken


class Task(NamedTuple):
    """What is made together: some shards of the images, corrupted in one way at some severities."""

    corruption: str
    severities: tuple[int, ...]
    shards: tuple[int, ...]

    def images(self, plan: CopyPlan) -> int:
        """Return how many images it has."""
        return len(self.severities) * sum(len(plan.positions(shard)) for shard in self.shards)


class Layout(ABC):
    """How corrupted images become files."""

    def check(self, conditions: Sequence[tuple[str, int]]) -> None:  # noqa: B027  # mostly, all can be had
        """Raise `InputError` where (corruption, severity) in this choice cannot be had in this layout."""

    def tasks(self, plan: CopyPlan) -> list[Task]:
        """Return all that is to be made, the tasks of a shard one after another."""
        shards = range(plan.shards)
        return [Task(name, (severity,), (shard,)) for shard in shards for name, severity in plan.conditions]

    def begin(self, plan: CopyPlan, root: Path, decode: Decode) -> list[UnreadableImageError]:
        """Write what stands beside the images; return the errors of those that were found unreadable."""
        return []

    @abstractmethod
    def is_done(self, plan: CopyPlan, root: Path, task: Task) -> bool:
        """Whether a task's files are there."""

    def made(self, plan: CopyPlan, root: Path, task: Task) -> int:
        """Return how many of a task's images are there."""
        return task.images(plan) if self.is_done(plan, root, task) else 0

    @abstractmethod
    def absent(self, plan: CopyPlan, root: Path, task: Task) -> Collection[int]:
        """Return the places of images that are not in a task's files, or may not be: unreadable ones."""

    @abstractmethod
    def write(self, plan: CopyPlan, root: Path, task: Task, decode: Decode, corrupted: Corrupted) -> None:
        """Write a task's files that are not there."""

    @abstractmethod
    def files(self, record: dict[str, Any], root: Path) -> Iterable[Path]:
        """Return all files that a copy with this manifest may have, but for the manifest."""


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """As `atomic_path`, with an error that names the file and says that the work can be continued."""
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except InputError:
        raise
    except OSError as error:
        raise UnwrittenError(path, error) from error


def encoded(image: Tensor, jpeg_quality: int | None) -> bytes:
    """Return a (3, H, W) uint8 image as the bytes of a PNG, or of a JPEG (4:2:0) of `jpeg_quality` in 1..100.

    The same pixels always give the same bytes; the JPEG decodes to `corrupt(..., jpeg_quality=...)`.
    """
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    buffer = io.BytesIO()
    if jpeg_quality is None:
        picture.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    else:
        picture.save(buffer, "JPEG", quality=jpeg_quality, subsampling="4:2:0")
    return buffer.getvalue()


def _condition_folder(root: Path, task: Task) -> Path:
    return root / task.corruption / str(task.severities[0])


def _conditions(record: dict[str, Any]) -> Iterator[str]:
    return (f"{name}/{severity}" for name in record["corruptions"] for severity in record["severities"])


def _write_list(file: Path, lines: Iterable[str]) -> None:
    with written(file) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())


class FolderLayout(Layout):
    """ImageNet-C's layout: corruption/severity/class/file.

    Beside it classes.txt has the class folders in the order of the labels, as `--classes` takes it, since
    folders in alphabetical order may be another; files.txt has the images' paths below corruption/severity.
    """

    def begin(self, plan: CopyPlan, root: Path, decode: Decode) -> list[UnreadableImageError]:
        """Write both lists, and the class folders: of classes without an image too, so that numbers stay."""
        lists = {CLASS_LIST: plan.folders, FILE_LIST: [f"{name}{plan.suffix}" for name in plan.names]}
        for file, lines in lists.items():
            _write_list(root / file, lines)
        for name, severity in plan.conditions:
            for folder in plan.folders:
                (root / name / str(severity) / folder).mkdir(parents=True, exist_ok=True)
        return []

    def is_done(self, plan: CopyPlan, root: Path, task: Task) -> bool:
        """Whether all its images are there; unreadable ones never are, and are tried again."""
        return not self.absent(plan, root, task)

    def made(self, plan: CopyPlan, root: Path, task: Task) -> int:
        """Return how many have a file."""
        return task.images(plan) - len(self.absent(plan, root, task))

    def absent(self, plan: CopyPlan, root: Path, task: Task) -> list[int]:
        """Return the images without a file."""
        positions = plan.positions(task.shards[0])
        return [at for at in positions if not self._path(plan, root, task, at).is_file()]

    def write(self, plan: CopyPlan, root: Path, task: Task, decode: Decode, corrupted: Corrupted) -> None:
        """Write a file per image."""
        wanted = set(self.absent(plan, root, task))
        images, positions, _ = decode(task.shards[0])
        kept = [number for number, position in enumerate(positions) if position in wanted]
        left = [positions[number] for number in kept]
        places = iter(left)
        for batch in corrupted(task.corruption, task.severities[0], images[kept], left):
            for image in batch:
                with written(self._path(plan, root, task, next(places))) as temporary:
                    temporary.write_bytes(encoded(image, plan.jpeg_quality))

    def _path(self, plan: CopyPlan, root: Path, task: Task, position: int) -> Path:
        return _condition_folder(root, task) / f"{plan.names[position]}{plan.suffix}"

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return both lists and what the list of files says."""
        listed = root / FILE_LIST
        text = listed.read_text(encoding="utf-8").removesuffix("\n") if listed.is_file() else ""
        names = text.split("\n") if text else []  # "\n" alone ends a line, which names may have others of
        for condition in _conditions(record):
            yield from (root / condition / name for name in names)
        yield from (root / CLASS_LIST, listed)


class FilesLayout(Layout):
    """A data set per condition, a file per shard: corruption/severity/test-00000-of-00001 and the ending."""

    ending: str

    @abstractmethod
    def rows(self, file: Path) -> Collection[int]:
        """Return the rows in the source split of a file's images."""

    @abstractmethod
    def write_file(self, plan: CopyPlan, file: Path, positions: list[int], images: Iterator[bytes]) -> None:
        """Write the encoded images of these places of the split."""

    def is_done(self, plan: CopyPlan, root: Path, task: Task) -> bool:
        """Whether its file is there."""
        return self._path(plan, root, task).is_file()

    def absent(self, plan: CopyPlan, root: Path, task: Task) -> set[int]:
        """Return the images that are not in the file."""
        rows = self.rows(self._path(plan, root, task))
        return {at for at in plan.positions(task.shards[0]) if int(plan.split.index[at]) not in rows}

    def write(self, plan: CopyPlan, root: Path, task: Task, decode: Decode, corrupted: Corrupted) -> None:
        """Write one file."""
        images, positions, _ = decode(task.shards[0])
        batches = corrupted(task.corruption, task.severities[0], images, positions)
        content = (encoded(image, plan.jpeg_quality) for batch in batches for image in batch)
        with written(self._path(plan, root, task)) as temporary:
            self.write_file(plan, temporary, positions, content)

    def _path(self, plan: CopyPlan, root: Path, task: Task) -> Path:
        return _condition_folder(root, task) / self._name(plan.role, task.shards[0], plan.shards)

    def _name(self, role: str, shard: int, shards: int) -> str:
        return f"{role}-{shard:05d}-of-{shards:05d}.{self.ending}"

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return the shards."""
        for condition in _conditions(record):
            for shard in range(record["shards"]):
                yield root / condition / self._name(record["role"], shard, record["shards"])


class ParquetLayout(FilesLayout):
    """The public hub's layout: parquet files."""

    ending = "parquet"

    def rows(self, file: Path) -> set[int]:
        """Return its column index."""
        import pyarrow.parquet as pq

        return set(pq.read_table(file, columns=["index"])["index"].to_pylist())

    def write_file(self, plan: CopyPlan, file: Path, positions: list[int], images: Iterator[bytes]) -> None:
        """Write the columns image {bytes, path}, label, index (the row in the source split)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        paths = [f"{plan.names[position].rsplit('/', 1)[1]}{plan.suffix}" for position in positions]
        columns = {
            "image": [{"bytes": data, "path": path} for data, path in zip(images, paths, strict=True)],
            "label": plan.split.labels[positions].tolist(),
            "index": plan.split.index[positions].tolist(),
        }
        pq.write_table(
            pa.table(columns, schema=_schema(plan.split.classes)),
            file,
            row_group_size=_ROW_GROUP,
            compression="none",  # the images are compressed already
            use_dictionary=False,
            write_statistics=["label", "index"],
        )


class WebDatasetLayout(FilesLayout):
    """WebDataset shards: a tar of ROW.cls and ROW.png (or .jpg), by the row in the source split.

    Beside the tars of each condition classes.txt has the classes in the order of the labels.
    """

    ending = "tar"

    def begin(self, plan: CopyPlan, root: Path, decode: Decode) -> list[UnreadableImageError]:
        """Write the lists of classes."""
        for name, severity in plan.conditions:
            _write_list(root / name / str(severity) / CLASS_LIST, plan.folders)
        return []

    def rows(self, file: Path) -> set[int]:
        """Return what its samples are called by."""
        return rows_in_shard(file)

    def write_file(self, plan: CopyPlan, file: Path, positions: list[int], images: Iterator[bytes]) -> None:
        """Write a tar without times, owners or anything else of this machine."""
        rows, labels = plan.split.index[positions].tolist(), plan.split.labels[positions].tolist()
        digits = len(str(int(plan.split.index.max())))
        with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row, label, image in zip(rows, labels, images, strict=True):
                for ending, content in ((".cls", str(label).encode()), (plan.suffix, image)):
                    member = tarfile.TarInfo(f"{row:0{digits}}{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return the shards and the lists."""
        yield from super().files(record, root)
        yield from (root / condition / CLASS_LIST for condition in _conditions(record))


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


class NpyLayout(Layout):
    """CIFAR-10-C's files: NAME.npy, the five severities one after another, and labels.npy."""

    def check(self, conditions: Sequence[tuple[str, int]]) -> None:
        """Refuse fewer than five severities."""
        missing = sorted(set(SEVERITIES) - {severity for _, severity in conditions})
        if missing:
            raise InputError(
                f"severities lacks {', '.join(map(str, missing))}: an .npy file of this form holds all five; "
                "leave --severities out, or take --format parquet or folder"
            )

    def tasks(self, plan: CopyPlan) -> list[Task]:
        """Return a task per corruption."""
        names = dict.fromkeys(name for name, _ in plan.conditions)
        return [Task(name, SEVERITIES, tuple(range(plan.shards))) for name in names]

    def begin(self, plan: CopyPlan, root: Path, decode: Decode) -> list[UnreadableImageError]:
        """Write labels.npy, for which every image is decoded once: how many there are decides all files."""
        if (root / LABELS).is_file():
            return []
        kept: list[int] = []
        skipped: list[UnreadableImageError] = []
        for shard in range(plan.shards):
            _, positions, errors = decode(shard)
            kept += positions
            skipped += errors
        labels = np.tile(plan.split.labels[kept].numpy().astype(np.int64), len(SEVERITIES))
        with written(root / LABELS) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array(file, labels, version=(1, 0))
        return skipped

    def is_done(self, plan: CopyPlan, root: Path, task: Task) -> bool:
        """Whether its file is there."""
        return (root / f"{task.corruption}.npy").is_file()

    def absent(self, plan: CopyPlan, root: Path, task: Task) -> range:
        """Return all images where some are left out: an array does not say which."""
        return range(0 if self._count(root) == len(plan.split) else len(plan.split))

    def write(self, plan: CopyPlan, root: Path, task: Task, decode: Decode, corrupted: Corrupted) -> None:
        """Write the images of all severities, (5 m, H, W, 3), shard by shard into their places."""
        count, (height, width) = self._count(root), plan.size
        shape = (len(SEVERITIES) * count, height, width, 3)
        with written(root / f"{task.corruption}.npy") as temporary, temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            start, before = file.tell(), 0
            for shard in task.shards:
                images, positions, _ = decode(shard)
                for number, severity in enumerate(task.severities):
                    file.seek(start + (number * count + before) * height * width * 3)
                    for batch in corrupted(task.corruption, severity, images, positions):
                        file.write(batch.permute(0, 2, 3, 1).contiguous().numpy().reshape(-1).data)
                before += len(positions)

    def _count(self, root: Path) -> int:
        """Return how many readable images there are."""
        return len(np.load(root / LABELS, mmap_mode="r", allow_pickle=False)) // len(SEVERITIES)

    def files(self, record: dict[str, Any], root: Path) -> Iterator[Path]:
        """Return the arrays."""
        yield from (root / f"{name}.npy" for name in (*record["corruptions"], "labels"))


LAYOUTS: dict[str, Layout] = {
    "parquet": ParquetLayout(),
    "folder": FolderLayout(),
    "npy": NpyLayout(),
    "webdataset": WebDatasetLayout(),
}
