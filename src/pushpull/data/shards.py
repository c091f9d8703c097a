"""WebDataset shards: tar files that are read in place, as if their members were files of a folder."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pushpull.data.decode import decoding_threads
from pushpull.data.folder import is_image_name, split_called, subfolders
from pushpull.data.images import RawData
from pushpull.data.subsets import read_class_list
from pushpull.data.tables import LABEL_NAME, find_files, tables_to_raw
from pushpull.errors import InputError, one_line

# One pass over the headers, then random access: order, subsets, ranks, workers and going on within an epoch
# are those of a folder of files. No stream has them: `webdataset` and `datasets` read a tar from its start
# and shuffle in a buffer. 1,280 photographs of 90 KiB: 0.12 s to open, 0.28 ms to read one in any order;
# `datasets` streaming 0.07 s, 0.40 ms in its own order; its table 0.76 s, 0.10 ms, and all bytes once more in
# its cache (one core, benchmarks/scale.py has the photographs; `webdataset`, which would be one more
# dependency, was not measured).
_LONGEST = {"cls": 2**10, "json": 2**20}  # bytes of a label
_PACKED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4)|tgz|tbz2?|txz)$", re.IGNORECASE)
_PACKED_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_TAIL_BYTES = 2**20  # behind the mark of the end there are zeros, up to the end of a record
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_APART = "the files of a sample must follow one another: pack them with tar --sort=name"


class _Member(NamedTuple):
    """A regular file in a tar.

    Args:
        name: of the file.
        key: its part before the first dot, which names the sample.
        plain: whether only an ending follows.
        kind: "cls", "json" or "image".
        offset, size: where its bytes lie.
    """

    name: str
    key: str
    plain: bool
    kind: str
    offset: int
    size: int


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """Return split -> tar files, in `folder` or in subfolders; {} if there are none, or folders beside them.

    A file belongs to the split that its name or folder says; where no name says one, all are the test split.

    Raises:
        InputError: names of which only some say a split, a shard that is missing, or compressed tars.
    """
    for place in (folder, *(path for path in subfolders(folder) if split_called(path.name))):
        packed = sorted(path for path in place.iterdir() if _PACKED.search(path.name))
        if packed and not subfolders(place):
            raise InputError(_compressed(packed[0]))
    files = find_files(folder, "tar")
    places = {file.parent for members in files.values() for file in members}
    # What ImageNet's folders were unpacked from may still lie beside them.
    return {} if any(map(subfolders, places)) else files


def load_shards(files: dict[str, list[Path]], root: Path, label: str | None = None) -> RawData:
    """Return the splits in these tars; row i is the i-th image, by the tar's name and the place in it.

    A sample is the members with one name up to the first dot: an image and its label, NAME.cls, or NAME.json
    with a field that is called `label`, by default "cls", "label", ... Labels are whole numbers or words. A
    classes.txt, SOMETHING.classes.txt or classnames.txt beside the tars, or in `root`, names the classes in
    their order. A test split beside others may be without labels.

    Raises:
        InputError: a tar that is damaged or compressed, a member that is no regular file, a sample without a
            label or with two images, and as `tables_to_raw`.
    """
    tables = {split: _table(paths, label) for split, paths in files.items()}
    for split, table in tables.items():
        if not len(table):
            raise InputError(
                f"{files[split][0]} has no image with a label, nor have the shards beside it; add labels"
            )
        row = table["label"].combine_chunks().is_null().index(True).as_py()
        unlabelled = split == "test" and len(tables) > 1 and table["label"].null_count == len(table)
        if row >= 0 and not unlabelled:
            image = table["image"][row].as_py()
            tar = files[split][0].with_name(image["tar"])
            raise InputError(
                f"{tar} has {image['path']!r} without a label (NAME.cls, or a field of NAME.json); {_APART}"
            )
    beside = {split: paths[0].parent for split, paths in files.items()}
    known = _class_list((*beside.values(), root))
    return tables_to_raw(_with_types(tables, root), str(root), beside=beside, known=known)


def rows_in_shard(path: Path) -> set[int]:
    """Return the row numbers that the samples of a shard are called by, where `pushpull corrupt` wrote it."""
    return {int(member.key) for member in _members(path) if member.kind == "cls"}


def _table(paths: list[Path], field: str | None) -> Any:
    """Return one row per image: its name, tar, offset and size, and the text of its label."""
    import pyarrow as pa

    with ThreadPoolExecutor(decoding_threads()) as pool:  # for disks and file servers; parsing takes turns
        return pa.concat_tables(pool.map(lambda path: _index(path, field), paths))


def _index(path: Path, field: str | None) -> Any:
    """Return the table of one tar."""
    import pyarrow as pa

    images, labels = [], []
    with _opened(path) as file:
        for _, sample in groupby(_members(path), key=lambda member: member.key):
            found = _sample(path, sample)
            if "image" in found:
                images.append((found["image"].name, path.name, found["image"].offset, found["image"].size))
                labels.append(_label(path, file, found, field))
            elif "cls" in found:
                raise InputError(f"{path} has {found['cls'].name!r} without an image; {_APART}")
    columns = list(zip(*images, strict=True)) or [()] * 4
    types = {"path": pa.string(), "tar": pa.string(), "offset": pa.int64(), "size": pa.int64()}
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types.values(), strict=True)]
    return pa.table(
        {"image": pa.StructArray.from_arrays(arrays, list(types)), "label": pa.array(labels, pa.string())}
    )


def _sample(path: Path, members: Iterable[_Member]) -> dict[str, _Member]:
    """Return kind -> member of one sample; NAME.jpg comes before NAME.mask.jpg.

    Raises:
        InputError: two of a kind, none of which is the plainer.
    """
    found: dict[str, _Member] = {}
    for member in members:
        before = found.get(member.kind)
        if before is not None and member.plain == before.plain:
            raise InputError(
                f"{path} has {before.name!r} and {member.name!r} in one sample; names of samples must differ "
                "before their first dot"
            )
        if before is None or member.plain:
            found[member.kind] = member
    return found


def _label(path: Path, file: BinaryIO, found: Mapping[str, _Member], field: str | None) -> str | None:
    """Return the text of a sample's label, None where it has none."""
    member = found.get("cls") if field in (None, "cls") else None
    member = member or found.get("json")
    if member is None:
        return None
    if member.size > _LONGEST[member.kind]:
        raise InputError(f"{path}: {member.name!r} has {member.size} bytes, too many for a label; remove it")
    file.seek(member.offset)
    content = file.read(member.size)
    try:
        if member.kind == "cls":
            return content.decode().strip() or None
        fields = json.loads(content)
        fields = fields if isinstance(fields, dict) else {}
    except (ValueError, RecursionError) as error:
        reason = one_line(error)
        raise InputError(f"{path}: {member.name!r} is not a label in UTF-8 ({reason}); correct it") from error
    names = [name for name in fields if (LABEL_NAME.fullmatch(name) if field is None else name == field)]
    value = fields[min(names, key=lambda name: name not in ("label", "cls"))] if names else None
    if value is not None and not isinstance(value, str | int):
        raise InputError(
            f"{path}: {member.name!r} has the label {value!r:.40}; give a whole number or a word"
        )
    return None if value is None else str(value).strip() or None


def _members(path: Path) -> Iterator[_Member]:
    """Yield the images and labels in a tar in their order, without reading what is in them.

    Raises:
        InputError: a tar that is compressed, cut short or damaged; such a member that is no regular file.
    """
    last = "its beginning"
    try:
        with _opened(path) as file:
            if file.read(8).startswith(_PACKED_MAGIC):
                raise InputError(_compressed(path))
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (info := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                    if info.size < 0:
                        raise tarfile.ReadError("a negative size")
                    last = info.name
                    match = _KEY.fullmatch(last)
                    kind = _kind(match[2].lower()) if match else None
                    if match and kind and not info.isdir():
                        _check_member(path, info)
                        plain = "." not in match[2]
                        yield _Member(last, match[1], plain, kind, info.offset_data, info.size)
                file.seek(tar.offset)
                tail = file.read(_TAIL_BYTES)
        # Python takes a header that it cannot read, and the end of the file, for the end of the tar.
        if len(tail) < tarfile.BLOCKSIZE or tail.strip(b"\0"):
            raise tarfile.ReadError("no end of the archive there")
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is cut short or damaged after {last!r} ({one_line(error)}); fetch it again"
        ) from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); fetch it again") from error


@lru_cache(maxsize=64)
def _kind(ending: str) -> str | None:
    """Return what a member with this ending is: "cls", "json" or "image"; None for what is not looked at."""
    last = ending.rsplit(".", 1)[-1]
    return last if last in _LONGEST else "image" if is_image_name(f"x.{last}") else None


def _check_member(path: Path, info: tarfile.TarInfo) -> None:
    """Raise `InputError` where the bytes do not lie there in one piece, or the name is not UTF-8."""
    if not info.isreg() or info.issparse():
        raise InputError(
            f"{path}: {info.name!r} is a link, a sparse or a special file; pack the file itself "
            "(tar --dereference --hard-dereference)"
        )
    try:
        info.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: {info.name!a} is not UTF-8, as names must be; rename it") from None


def _compressed(path: Path) -> str:
    return (
        f"{path} is compressed, so that nothing in it can be read alone; take the compression off (gunzip, "
        "unzstd): images hardly gain from it"
    )


def _class_list(folders: Iterable[Path]) -> list[str] | None:
    """Return the names of the classes where a list lies in one of these folders, the first that has any."""
    for folder in folders:
        found = sorted(
            [*folder.glob("classes.txt"), *folder.glob("*.classes.txt"), *folder.glob("classnames.txt")]
        )
        if len(found) > 1:
            raise InputError(
                f"{folder} has {found[0].name} and {found[1].name}; keep one list of the classes"
            )
        if found:
            return read_class_list(found[0])
    return None


def _with_types(tables: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return tables with labels as numbers where they are numbers in all of them, else as words."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset

    numbers = all(
        pc.all(pc.match_substring_regex(table["label"], "^-?[0-9]+$")).as_py() is not False
        for table in tables.values()
    )
    try:
        typed = {
            split: table.set_column(1, "label", table["label"].cast(pa.int64() if numbers else pa.string()))
            for split, table in tables.items()
        }
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{root} has labels out of range ({one_line(error)}); number the classes 0, 1, ..."
        ) from error
    return {split: Dataset(table.combine_chunks()) for split, table in typed.items()}
