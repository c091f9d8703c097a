"""How every kernel is compiled: without the interpreter's lock, kept on disk, exact.

No `fastmath`: it would reorder sums and fuse products with them, and so change bits.

numba knows a kept kernel again by the date of its file, but a kernel also holds constants of other modules,
and all files of a wheel have one date. So kernels are kept in a folder named by a digest of the sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from pushpull.files import user_cache

_CONFIG: Any = numba.config
_PACKAGE = Path(__file__).parents[1]


@cache
def _folder() -> str:
    """Return the folder for kernels of these very sources."""
    digest = hashlib.sha256(numba.__version__.encode())
    sources = [*_PACKAGE.glob("native/*.py"), *_PACKAGE.glob("corruptions/*.py"), _PACKAGE / "random.py"]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    given = _CONFIG.CACHE_DIR
    return str((Path(given) if given else user_cache() / "kernels") / digest.hexdigest()[:16])


def _compiled(function: Callable[..., Any], **how: Any) -> Any:
    given, folder = _CONFIG.CACHE_DIR, _folder()
    _CONFIG.CACHE_DIR = folder  # where a kernel is kept is decided when it is declared
    how = {"nogil": True, "error_model": "numpy", **how}
    try:
        return numba.njit(cache=True, **how)(function)
    except RuntimeError:  # no folder can be written to: compiled anew by each process
        return numba.njit(**how)(function)
    finally:
        _CONFIG.CACHE_DIR = given


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first call."""
    return _compiled(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels into each of them."""
    return _compiled(function, inline="always")
