"""The benchmark's five photographs of frost: their checksums, and their download into the user's cache."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TypeAlias

from pushpull.errors import InputError, one_line
from pushpull.files import atomic_path, user_cache

ADDRESS = "https://raw.githubusercontent.com/bethgelab/imagecorruptions/master/imagecorruptions/frost/"

# Of the files in the package imagecorruptions 1.1.2. The published index never reaches its sixth.
SHA256 = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
}

_OFFLINE = ("PUSHPULL_OFFLINE", "HF_HUB_OFFLINE")
_UNASKED_SECONDS = 5.0  # what a run may wait for pictures that nobody asked for by name
_LARGEST_BYTES = 4_000_000  # the largest photograph has 1.2 MB

_Arrived: TypeAlias = "queue.SimpleQueue[tuple[str, bytes | Exception]]"


def cache_folder() -> Path:
    """Return the folder of the user's cache where the photographs are kept, which need not exist."""
    return user_cache() / "frost"


def fetch_frost(timeout_seconds: float = 60.0) -> Path:
    """Download the benchmark's five photographs of frost into the user's cache; return the folder.

    2 MB, from the public repository of the package `imagecorruptions`. Nothing is written unless all five
    have the SHA-256 of that package's files. Where the cache already has them, nothing is downloaded.

    Args:
        timeout_seconds: longest wait in all, name resolution included.

    Raises:
        InputError: the photographs cannot be had or kept, or PUSHPULL_OFFLINE or HF_HUB_OFFLINE is set.
    """
    folder = cache_folder()
    if all((folder / name).is_file() and _digest(folder / name) == SHA256[name] for name in SHA256):
        return folder
    variable = offline_variable()
    if variable:
        raise InputError(f"{variable} is set, so the photographs of frost are not downloaded; unset it")
    for name, content in _contents(timeout_seconds).items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return folder


@cache
def fetch_unasked() -> None:
    """Try `fetch_frost` once in this process, for 5 s at most; where it fails, warn and go on."""
    try:
        fetch_frost(_UNASKED_SECONDS)
    except InputError as error:
        warnings.warn(
            f"frost is drawn with procedural textures: {error}; for the benchmark's photographs install the "
            "package imagecorruptions, or set PUSHPULL_FROST_DIR to a folder that has them",
            stacklevel=2,
        )


def offline_variable() -> str | None:
    """Return the environment variable that forbids downloads, if one does."""
    no = ("", "0", "false", "no", "off")
    return next((name for name in _OFFLINE if os.environ.get(name, "").strip().lower() not in no), None)


def _contents(timeout_seconds: float) -> dict[str, bytes]:
    """Return the five files' contents, verified, or raise within the time.

    Each in a thread of its own: where there is no network, resolving a name can hang for a minute, and cannot
    be interrupted. A thread that comes too late is heard by nobody: only this one writes files.
    """
    arrived: _Arrived = queue.SimpleQueue()
    end = time.monotonic() + timeout_seconds
    for name in SHA256:
        threading.Thread(target=_get, args=(name, timeout_seconds, arrived), daemon=True).start()
    contents: dict[str, bytes] = {}
    while len(contents) < len(SHA256):
        try:
            name, content = arrived.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise InputError(
                f"{ADDRESS} did not send the photographs within {timeout_seconds:g} s; try again"
            ) from None
        if isinstance(content, Exception):
            raise InputError(f"{ADDRESS}{name} cannot be had ({one_line(content)}); try again") from content
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise InputError(f"{ADDRESS}{name} is not the benchmark's photograph: its SHA-256 is another")
        contents[name] = content
    return contents


def _get(
    name: str, timeout_seconds: float, arrived: queue.SimpleQueue[tuple[str, bytes | Exception]]
) -> None:
    from urllib.request import urlopen

    try:
        with urlopen(ADDRESS + name, timeout=timeout_seconds) as answer:
            arrived.put((name, answer.read(_LARGEST_BYTES)))
    except Exception as error:  # the network fails in many ways; the caller says how
        arrived.put((name, error))


def is_benchmark(paths: tuple[Path, ...]) -> bool:
    """Say whether five files are the benchmark's photographs, in order, by their SHA-256."""
    return tuple(_digest(path) for path in paths) == tuple(SHA256.values())


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
