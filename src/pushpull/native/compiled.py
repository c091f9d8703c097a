"""How every kernel is compiled: without the interpreter's lock, kept on disk, exact.

No `fastmath`: it would reorder sums and fuse products with them, and so change bits.
"""

from __future__ import annotations

from typing import Any

import numba

kernel: Any = numba.njit(cache=True, nogil=True, error_model="numpy")
inlined: Any = numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
