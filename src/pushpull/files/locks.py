"""One process at a time writes into a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushpull.errors import InputError

LOCK = ".pushpull.lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder`, which exists, against every other process; a process that ends gives it back.

    The lock is the operating system's on a file of the folder, which is removed in the end: what a killed
    process leaves of it holds nobody up.

    Raises:
        InputError: another live process holds it; says which, and since when.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = path.read_text(encoding="utf-8") if path.is_file() else ""
        who = f" ({holder})" if holder else ""
        raise InputError(
            f"another run writes into {folder}{who}; wait for it, or give another folder"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        path.write_text(f"process {os.getpid()} since {since}", encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: the next one makes a file of its own
        lock.release()
