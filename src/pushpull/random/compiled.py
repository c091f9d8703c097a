"""How every kernel is compiled: without the interpreter's lock, kept on disk, exact.

No `fastmath`: it would reorder sums and fuse products with them, and so change bits.

numba knows a kept kernel again by the date of its file, but a kernel also holds constants of other modules,
and all files of a wheel have one date. So kernels are kept in a folder named by a digest of the sources.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from pushpull.files import own_cache

_CONFIG: Any = numba.config
_PACKAGE = Path(__file__).parents[1]


_DECLARING = threading.Lock()  # numba's setting is the whole process'


@cache
def _folder() -> str | None:
    """Return the folder for kernels of these very sources, which exists; None where there can be none.

    None for a user without a home: a kept kernel is code, and anyone may write to the temporary folder.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    sources = [*_PACKAGE.glob("random/*.py"), *_PACKAGE.glob("corruptions/*.py")]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    cache = own_cache()
    kept = Path(_CONFIG.CACHE_DIR) if _CONFIG.CACHE_DIR else cache and cache / "kernels"
    if kept is None:
        return None
    folder = kept / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return str(folder)


def _compiled(function: Callable[..., Any], **how: Any) -> Any:
    how = {"nogil": True, "error_model": "numpy", **how}
    with _DECLARING:
        folder = _folder()
        # numba would look for another folder, such as the sources' own, where only dates tell kernels apart.
        if folder is None:
            return numba.njit(**how)(function)
        given, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, folder  # where it is kept is decided here
        try:
            return numba.njit(cache=True, **how)(function)
        finally:
            _CONFIG.CACHE_DIR = given


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first call."""
    return _compiled(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels into each of them."""
    return _compiled(function, inline="always")
