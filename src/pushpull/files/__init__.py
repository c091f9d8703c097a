"""Files written whole or not at all, folders that one process at a time writes into, the user's cache."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pushpull.errors import InputError, MissingFileError

_STEM_BYTES = 200
_MOST_LEVELS = 50  # of JSON; ours has six
HALF_WRITTEN = re.compile(r"\..*\.[0-9a-f]{12}(\.[^.]*)?", re.DOTALL)  # names that `atomic_path` makes


LOCK = ".pushpull.lock"
_HELD: set[Path] = set()  # what this process has locked
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InUseError(InputError):
    """Another live process works in a folder."""


def user_path(text: Path | str) -> Path:
    """Return a path with ~ and ~name replaced by the home folder of the user, or of that user.

    Args:
        text: the path as it was given.

    Raises:
        InputError: there is no such user, or the path holds the character NUL, which no file name may hold.
    """
    try:
        return _no_nul(text).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{text}: there is no home folder of that user; for a name that begins with ~, give ./{text}"
        ) from error


def _no_nul(path: Path | str) -> Path:
    if "\0" in str(path):
        raise InputError(f"the path {str(path)!r} holds the character NUL; give another")
    return Path(path)


class UnwrittenError(InputError):
    """A file could not be written; what was there before is as it was.

    Args:
        path: of the file.
        error: the system's.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        # pyarrow's has no strerror, and a long text.
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        remedy = "make room, then" if error.errno in FULL else "once it can,"
        super().__init__(
            f"{path} cannot be written ({reason}); finished work is kept: {remedy} give the same command "
            "again (train: with --resume auto)"
        )

    def __reduce__(self) -> Any:
        """Travel between processes as the message."""
        return InputError, (str(self),)


class FolderGoneError(InputError):
    """A folder was removed while this process wrote into it."""


def held_elsewhere(folder: Path | str) -> None:
    """Note that the process that started this one has locked `folder`, so that `check_held` looks there."""
    _HELD.add((Path(folder) / LOCK).absolute())


def check_held(path: Path | str) -> None:
    """Raise `FolderGoneError` where `path` lies in a folder that this process locked and that is gone."""
    path = Path(path).absolute()
    for lock in list(_HELD):
        if path.is_relative_to(lock.parent) and not lock.exists():
            raise FolderGoneError(
                f"{lock.parent} was removed while it was written to; what it held is lost: start again"
            )


def _held_by(path: Path) -> str:
    with suppress(OSError):  # not there, or no longer
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _acquire(lock: Any, path: Path, folder: Path | str) -> None:
    """Take the lock, at once or not at all."""
    from filelock import Timeout

    said = _held_by(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = _held_by(path)
        if said and not holder:  # filelock 3 empties the file before it knows whether it is free
            holder = said
            with suppress(OSError):
                path.write_text(said, encoding="utf-8")
        who = f" ({holder})" if holder else ""
        raise InUseError(
            f"another run writes into {folder}{who}; wait for it, or give another folder"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path.parent} cannot be locked ({reason}); give another folder") from error


@contextmanager
def folder_lock(folder: Path | str, file: Path | None = None, *, again: bool = False) -> Iterator[None]:
    """Lock `folder` against every other process; a process that ends in any way releases it.

    The lock is the operating system's lock of a file, which is removed in the end: a file that a killed
    process left behind blocks nobody.

    Args:
        folder: is made if it does not exist.
        file: to lock, if it must not be in the folder; by default LOCK in it.
        again: whether a lock that this process holds already is enough.

    Raises:
        InUseError: another live process holds it; says which, and since when.
        InputError: the system refuses to lock it.
    """
    from filelock import FileLock  # a twentieth of a second

    path = _no_nul(file or Path(folder) / LOCK).absolute()
    if again and path in _HELD:
        yield
        return
    lock = FileLock(path)
    made = [place for place in (path.parent, *path.parent.parents) if not place.exists()]
    _acquire(lock, path, folder)
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError):  # no room for it: others will not know who holds it
            path.write_text(f"process {os.getpid()} since {since}", encoding="utf-8")
        _HELD.add(path)
        yield
    finally:
        _HELD.discard(path)
        path.unlink(missing_ok=True)  # while it is held: the next one makes a file of its own
        lock.release()
        with suppress(OSError):  # not empty: something was written
            for place in made:
                place.rmdir()


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`: it replaces `path` on a clean exit, else it is removed.

    Args:
        path: of the file to write; its folder is made if it does not exist.

    Raises:
        InputError: the folder cannot be made or written, or `path` is a folder.
        UnwrittenError: the disk is full, or the file cannot be written for another reason.
        FolderGoneError: the folder was removed, of those that this process has locked.
    """
    path = _no_nul(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of a file")
    check_held(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A part of a long name: file systems take 255 bytes.
        stem = path.stem.encode()[:_STEM_BYTES].decode(errors="ignore")
        temporary = path.with_name(f".{stem}.{secrets.token_hex(6)}{path.suffix}")
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path.parent} cannot be written ({reason}); give another folder") from error
    mode = os.fstat(handle).st_mode & 0o777
    os.close(handle)
    try:
        with _as_one_line(path, temporary):
            yield temporary
        temporary.chmod(mode)  # some writers make files private; a result is for whoever may read the folder
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _as_one_line(path: Path, temporary: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written, whatever the library that writes it has raised."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        check_held(path)
        if isinstance(error, OSError) and error.errno in FULL:
            raise UnwrittenError(path, error) from error
        refused = _refused(temporary)  # torch and safetensors do not say what the system has said
        if refused is not None:
            raise UnwrittenError(path, refused) from error
        raise


def _refused(path: Path) -> OSError | None:
    """Return why a file cannot grow, None where it can."""
    try:
        with path.open("ab") as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        return error
    return None


def remove_half_written(folder: Path) -> None:
    """Remove, from a folder and all below it, the temporary files that killed processes left."""
    for place, _, names in os.walk(folder):
        for name in names:
            if HALF_WRITTEN.fullmatch(name):
                Path(place, name).unlink(missing_ok=True)


def writable_folder(folder: Path | str) -> Path:
    """Return `folder` after testing, before long work, that it can be made and written; nothing stays there.

    Args:
        folder: which need not exist.

    Raises:
        InputError: it cannot be made or written to.
    """
    folder = _no_nul(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder} cannot be written ({reason}); give another folder") from error
    finally:
        with suppress(OSError):  # another process may have put something there
            for path in missing:
                path.rmdir()
    return folder


def write_text(path: Path | str, text: str) -> Path:
    """Write `text` (UTF-8) whole or not at all, and return the path; raises as `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as indented JSON, whole or not at all, and return the path; raises as `atomic_path`."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Return the JSON value of a file.

    Raises:
        MissingFileError: the file does not exist.
        InputError: it is not JSON, is null, or is nested too deeply.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; give the path of a JSON file")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); delete it or give another") from error
    except RecursionError:
        value = None
    if value is None or _levels(value) > _MOST_LEVELS:
        raise InputError(f"{path} holds null, or is nested too deeply; delete it or give another")
    return value


def _levels(value: Any) -> int:
    """How deep lists and mappings stand in each other; 0 for a plain value."""
    levels, inside = 0, [value]
    while inside := [one for one in inside if isinstance(one, dict | list)]:
        levels += 1
        inside = [inner for one in inside for inner in (one.values() if isinstance(one, dict) else one)]
    return levels


def own_cache() -> Path | None:
    """Return this package's folder in the user's cache, or None for a user without a home.

    It need not exist.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pushpull"
    except RuntimeError:
        return None


def user_cache() -> Path:
    """Return `own_cache()`, else a temporary folder, for files that can be made or fetched again.

    It need not exist. Others may write to a temporary folder: files read there must be checked.
    """
    return own_cache() or Path(tempfile.gettempdir()) / "pushpull"


RECIPE, INPUTS, WEIGHTS = "recipe.yaml", "inputs.json", "model.safetensors"
EPOCHS = "epochs.json"
LAST, LOGS, RESULTS = "last.ckpt", "logs", "results.json"
# Of a hardening.
PLAN, BEFORE, AFTER, TRAINING, POINTS = "harden.json", "before", "after", "training", "points.json"
CONFIG, MODEL_CARD = "config.json", "README.md"  # of a shared network
PREDICTIONS = "predictions.parquet"
RATES = "rates.json"  # other learning rates than it began with: from which epoch
