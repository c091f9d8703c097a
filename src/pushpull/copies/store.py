"""The folder that a corrupted copy is written into: whole files, and a record of what is done."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pushpull.errors import InputError

HIDDEN = ".pushpull"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Task(NamedTuple):
    """One shard of the images, corrupted in one way."""

    corruption: str
    severity: int
    shard: int

    @property
    def key(self) -> str:
        """Return its name in the record."""
        return f"{self.corruption}-{self.severity}-{self.shard:05d}"


class Skipped(NamedTuple):
    """An image that could not be read: its name, and what the decoder said."""

    name: str
    reason: str


class Store:
    """A destination folder.

    A task is done once its mark is there, which is made after its files: a kill between leaves files that are
    written again. Files come to be under a temporary name in one hidden folder, so that what a kill leaves
    half written is found without a search.

    Args:
        root: the folder; made where it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hidden = root / HIDDEN
        self.temporary, self.marks = self.hidden / "tmp", self.hidden / "done"
        self.parts = self.hidden / "parts"

    def prepare(self) -> None:
        """Make the hidden folders, and remove what a kill left half written."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in (self.temporary, self.marks):
            self.folder(folder)

    def folder(self, path: Path) -> None:
        """Make a folder and those above it."""
        with _written(path):
            path.mkdir(parents=True, exist_ok=True)

    def forget(self) -> None:
        """Remove the record of what is done, and what is not in its final place."""
        for folder in (self.marks, self.parts):
            shutil.rmtree(folder, ignore_errors=True)
        self.prepare()

    def clean(self) -> None:
        """Remove the hidden folder."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    @contextmanager
    def placing(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path; on a clean exit its file takes the place of `path`, else it is removed.

        Raises:
            InputError: the system does not let it be written.
        """
        temporary = self.temporary / f"{secrets.token_hex(8)}{path.suffix}"
        try:
            with _written(path):
                yield temporary
                try:
                    os.replace(temporary, path)
                except FileNotFoundError:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def put(self, path: Path, content: bytes) -> None:
        """Write a file whole."""
        with self.placing(path) as temporary:
            temporary.write_bytes(content)

    def mark(self, task: Task, skipped: list[Skipped]) -> None:
        """Record that a task is done, and which images it lacks."""
        self.put(self.marks / task.key, json.dumps(skipped).encode())

    def done(self) -> set[str]:
        """Return the keys of the tasks that are done."""
        return set(os.listdir(self.marks))

    def skipped(self, keys: set[str]) -> list[Skipped]:
        """Return the images that these tasks lack, each once."""
        found = {}
        for key in sorted(keys):
            for name, reason in json.loads((self.marks / key).read_text(encoding="utf-8")):
                found[name] = Skipped(name, reason)
        return list(found.values())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run, where the system has file locks.

        Raises:
            InputError: another run writes into it now.
        """
        try:
            import fcntl
        except ImportError:  # Windows: two runs of the same job write the same bytes twice, no more
            yield
            return
        self.hidden.mkdir(parents=True, exist_ok=True)
        with (self.hidden / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"another run writes into {self.root}; wait for it, or give another folder"
                ) from error
            yield


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn the system's error in writing `path` into one that names it."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        # pyarrow's has no strerror, and a long text.
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        remedy = "make room there, then" if error.errno in _FULL else "when it can,"
        raise InputError(
            f"{path} cannot be written ({reason}); what is done stays: {remedy} run the same command again"
        ) from error
