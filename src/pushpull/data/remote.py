"""Parquet files that stay where they are, on the hub or another store: read a row group at a time."""

from __future__ import annotations

import os
import re
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from pushpull.data.images import RawData, with_progress
from pushpull.data.tables import files_of_splits, tables_to_raw
from pushpull.errors import InputError, one_line

# What a process keeps of the images, and an epoch is mixed within; a row group that is larger is kept alone.
# The hub's row groups of 100 photographs have some 10 MiB: about 2,500 images.
NEAR_BYTES = 2**28
_REQUESTS = 16  # at a time, where footers and labels are read
_WAIT_SECONDS = 1.0  # before the second try
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+", re.DOTALL)
_HUB = "hf://datasets/"


def is_remote(name: str) -> bool:
    """Return whether `name` is an address (hf://datasets/OWNER/NAME) and no path."""
    return _ADDRESS.fullmatch(name) is not None


def hub_name(address: str) -> str | None:
    """Return owner/name where an address is a data set's on the hub, else None.

    >>> hub_name("hf://datasets/owner/name@main/data")
    'owner/name'
    """
    parts = address.removeprefix(_HUB).split("/")
    return f"{parts[0]}/{parts[1].partition('@')[0]}" if address.startswith(_HUB) and parts[1:] else None


def load_remote(address: str, label_column: str | None = None) -> RawData:
    """Return the splits of the parquet files at an address, whose images are fetched when they are asked for.

    Footers and labels are read now. Files belong to splits as those of a folder do. Of the hub the revision
    of now is read, whatever is changed there later; a remark names it.

    Args:
        address: hf://datasets/OWNER/NAME, with @REVISION behind the name and a folder behind that where
            wanted, or another that fsspec can list.
        label_column: as of `tables_to_raw`.

    Raises:
        InputError: not there, not reachable, no parquet files; damaged files; and as `tables_to_raw`.
    """
    with _reached(address):
        import fsspec

        system, path = fsspec.core.url_to_fs(address)
        path = _pinned(system, path)
        sizes = {name: info["size"] for name, info in system.find(path, maxdepth=2, detail=True).items()}
        if not sizes and hub_name(address) is None:
            system.info(path)  # some list nothing where they are not reached, and say so here
    root, found = PurePosixPath(path), _parquet_files(sizes, address)
    usual = [place for place in (root, root / "data") if place in found]
    places = [(place, found[place]) for place in dict.fromkeys((*usual, *found))]
    splits = files_of_splits(places, root, "parquet")
    tables = {
        split: RemoteTable(system, {system.unstrip_protocol(str(file)): sizes[str(file)] for file in files})
        for split, files in splits.items()
    }
    tables = {split: table for split, table in tables.items() if len(table)}
    if not tables:
        raise InputError(f"{address!r} has parquet files without a row; give files with images")
    # Paths of images in such a table cannot be followed: none lies below the address taken as a folder.
    raw = tables_to_raw(tables, address, Path(address), label_column)
    raw.remarks.append(f"read in place: {system.unstrip_protocol(path)}")
    return raw


def _parquet_files(names: Iterable[str], address: str) -> dict[PurePosixPath, list[PurePosixPath]]:
    """Return the parquet files of each folder, in the order of their names; at least one."""
    found: dict[PurePosixPath, list[PurePosixPath]] = {}
    for file in sorted(map(PurePosixPath, names)):
        if file.suffix == ".parquet" and not file.name.startswith("."):
            found.setdefault(file.parent, []).append(file)
    if not found:
        own = hub_name(address)
        also = f", or the hub's own conversion ({_HUB}{own}@refs%2Fconvert%2Fparquet/CONFIG)" if own else ""
        raise InputError(
            f"{address!r} has no parquet files to be read in place; give the folder that has them{also}"
        )
    return found


def _pinned(system: Any, path: str) -> str:
    """Return the path with the commit of now where it is the hub's, else as it is."""
    from huggingface_hub import HfApi, HfFileSystem

    if not isinstance(system, HfFileSystem) or path.startswith("buckets/"):
        return path
    place: Any = system.resolve_path(path)
    api = HfApi(endpoint=system.endpoint, token=system.token)
    commit = api.repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision).sha
    return f"{place.repo_type}s/{place.repo_id}@{commit}/{place.path_in_repo}".rstrip("/")


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Turn what clients raise into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # fsspec's systems, their HTTP clients and pyarrow share no base class.
        own = hub_name(address)
        how = f" (hf download {own} --repo-type dataset --local-dir FOLDER)" if own else ""
        raise InputError(
            f"{address!r} cannot be read in place ({one_line(error)}); check the name and the connection and "
            f"give the command again, or fetch the files{how} and name their folder"
        ) from error


class _Near:
    """What was read last, up to `NEAR_BYTES`; several threads that want the same read it once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, tuple[Future[Any], int]] = OrderedDict()

    def get(self, key: Any, size: int, read: Callable[[], Any]) -> Any:
        """Return what `read` returns, of `size` bytes, now or earlier."""
        with self._lock:
            known = key in self._kept
            future, _ = self._kept.setdefault(key, (Future(), size))
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > NEAR_BYTES:
                self._kept.popitem(last=False)
        if not known:
            try:
                future.set_result(read())
            except BaseException as error:
                with self._lock:
                    self._kept.pop(key, None)
                future.set_exception(error)
        return future.result()


_NEAR = _Near()  # one a process, whatever the number of splits
# A lock that another thread holds while a worker is forked would never be given back there.
if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
    os.register_at_fork(after_in_child=_NEAR.__init__)  # type: ignore[misc]


class RemoteTable:
    """A split's parquet files as `tables_to_raw` and `TableSource` read a `datasets.Dataset`.

    Args:
        system: the fsspec file system.
        sizes: its files in the order of the rows, and their bytes.

    Raises:
        InputError: a file that cannot be reached or read as parquet, or has other columns than the first.
    """

    def __init__(self, system: Any, sizes: Mapping[str, int]) -> None:
        from datasets import Features

        self._sizes, files = sizes, list(sizes)
        self._made = (type(system), system.storage_args, system.storage_options)
        self._columns: tuple[str, ...] = ()
        footers = _together(self._footer, files, "reading footers")
        schema = footers[0].schema.to_arrow_schema()
        for file, footer in zip(files, footers, strict=True):
            if not footer.schema.to_arrow_schema().equals(schema):
                raise InputError(f"{file} has other columns than {files[0]}; the files of a split must agree")
        with _reached(files[0]):
            self.features: dict[str, Any] = Features.from_arrow_schema(schema)
        groups = [
            (file, foot, n)
            for file, foot in zip(files, footers, strict=True)
            for n in range(foot.num_row_groups)
        ]
        self._groups = [group for group in groups if group[1].row_group(group[2]).num_rows]
        self._starts = [0, *accumulate(foot.row_group(n).num_rows for _, foot, n in self._groups)]
        self._whole: dict[str, Any] = {}

    def _system(self) -> Any:
        """Return the file system of this process: fsspec keeps one, and none may be used after a fork."""
        kind, args, options = self._made
        return kind(*args, **options)

    def _opened(self, file: str, footer: Any = None) -> Any:
        """Return a file, from which exactly the ranges that are asked for are fetched."""
        import pyarrow.parquet as pq

        content = self._system().open(file, "rb", cache_type="none", size=self._sizes[file])
        return pq.ParquetFile(content, metadata=footer, pre_buffer=True)

    def _footer(self, file: str) -> Any:
        import pyarrow as pa

        try:
            with _reached(file):
                return self._again(lambda: self._opened(file).metadata)
        except InputError as error:
            if isinstance(error.__cause__, pa.ArrowInvalid):
                reason = one_line(error.__cause__)
                raise InputError(
                    f"{file} cannot be read as parquet ({reason}); it must be uploaded again"
                ) from error
            raise

    def _again(self, read: Callable[[], Any]) -> Any:
        """Return what `read` returns, at a second try where the first fails."""
        if "hf" in self._made[0].protocol:  # its client has five tries of its own, 23 s in all
            return read()
        try:
            return read()
        except Exception:  # see _reached
            time.sleep(_WAIT_SECONDS)
        return read()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def column_names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.features)

    def select_columns(self, names: Sequence[str]) -> RemoteTable:
        """Return the table with these columns only; they share what was read."""
        new = object.__new__(RemoteTable)
        new.__dict__ = {**self.__dict__, "_columns": tuple(names)}
        return new

    def with_format(self, _: str) -> RemoteTable:
        """Return the table: rows are Arrow's as they are."""
        return self

    def unique(self, name: str) -> list[Any]:
        """Return the values of a column, each once."""
        return self.select_columns([name])[:].column(name).unique().to_pylist()

    def __getitem__(self, rows: int | slice) -> Any:
        """Return one row, some, or all as an Arrow table; all is for labels, and is kept."""
        import pyarrow as pa

        if isinstance(rows, int):
            return self._near(bisect_right(self._starts, rows) - 1, rows, rows + 1)
        start, stop, _ = rows.indices(len(self))
        if stop - start == len(self) and len(self._columns) == 1:
            return self._all(self._columns[0])
        last = bisect_right(self._starts, max(start, stop - 1)) - 1
        return pa.concat_tables(
            self._near(n, start, stop) for n in range(bisect_right(self._starts, start) - 1, last + 1)
        )

    def _near(self, group: int, start: int, stop: int) -> Any:
        """Return the rows of a row group that lie in start..stop-1."""
        key = (*self._groups[group][::2], self._columns)
        first = self._starts[group]
        table = _NEAR.get(key, self._size(group), lambda: self._read(group))
        begin = max(0, start - first)
        return table.slice(begin, max(0, min(stop, self._starts[group + 1]) - first - begin))

    def _all(self, column: str) -> Any:
        """Return a column, read in some requests at a time, once."""
        import pyarrow as pa

        if column not in self._whole:
            read = self.select_columns([column])._read
            tables = _together(read, range(len(self._groups)), f"reading {column}")
            self._whole[column] = pa.concat_tables(tables).combine_chunks()
        return self._whole[column]

    def _read(self, group: int) -> Any:
        """Fetch the columns of a row group."""
        file, footer, number = self._groups[group]
        columns = list(self._columns)
        with _reached(file):
            return self._again(
                lambda: self._opened(file, footer).read_row_group(number, columns, use_threads=False)
            )

    def _size(self, group: int) -> int:
        """Return the bytes of a row group in memory."""
        _, footer, number = self._groups[group]
        chunks = map(footer.row_group(number).column, range(footer.num_columns))
        return sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] in self._columns
        )

    def shuffled(self, rows: Int64[Tensor, " n"], generator: torch.Generator) -> Int64[Tensor, " n"]:
        """Return the positions of `rows` in a random order that needs little at a time.

        Row groups are put into a random order and taken together up to `NEAR_BYTES`; the images of each such
        window are mixed. The order depends on the files, the rows and the generator alone.
        """
        groups = torch.searchsorted(torch.tensor(self._starts), rows, right=True) - 1
        there = groups.unique()
        window, held, number = torch.zeros(len(self._groups), dtype=torch.int64), 0, 0
        for group in there[torch.randperm(len(there), generator=generator)].tolist():
            size = self._size(group)
            if held and held + size > NEAR_BYTES:
                held, number = 0, number + 1
            held += size
            window[group] = number
        mixed = torch.randperm(len(rows), generator=generator)
        return mixed[torch.argsort(window[groups[mixed]], stable=True)]


def _together(read: Callable[[Any], Any], items: Sequence[Any], title: str) -> list[Any]:
    """Return what `read` returns of each, some at a time; the first that fails ends all."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        tasks = [pool.submit(read, item) for item in items]
        try:
            return [task.result() for task in with_progress(tasks, title)]
        finally:
            pool.shutdown(cancel_futures=True)
