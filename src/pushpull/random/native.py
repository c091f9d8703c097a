"""Loops compiled by numba for the CPU, where tensors would make many passes over memory.

An accelerator, never another result: each kernel does the exact operations of the tensors that it stands for
(integers; +, -, *, / and square roots in the same order and precision), and the tests compare bit for bit.
Without numba, with `PUSHPULL_NATIVE=0`, for gradients and on other devices the tensors are used.

A kernel is `kernel(start, stop, *arrays)` and does the images start .. stop - 1. It is compiled at its first
call, without the interpreter's lock, and kept on disk. No `fastmath`: it would reorder sums and fuse products
with them, and so change bits.

numba knows a kept kernel again by the date of its file, but a kernel also holds constants of other modules,
and all files of a wheel have one date. So kernels are kept in a folder named by a digest of the sources.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushpull.errors import one_line
from pushpull.files import own_cache

ENVIRONMENT_VARIABLE = "PUSHPULL_NATIVE"

# What random words are made of: numbers that `Draws` and its compiled loops share.
GOLDEN = 0x9E3779B9 - (1 << 32)  # 2**32 / golden ratio, odd: spreads consecutive counters
ODD = 0x846CA68B - (1 << 32)  # of Wellons' "lowbias32"
MAGNITUDE = 0x7FFFFFFF  # all bits of a word but the sign
SEGMENT_BITS = 6  # of a float's mantissa name a segment of `Draws.normal`, the others a place in it
PART_BITS = 23 - SEGMENT_BITS
FIRST_SEGMENT = 126 << SEGMENT_BITS  # of the float 0.5
BITS = 23  # of a word that become a number: then (k + 1/2) / 2**23 is exact in float32, and under 1

Kernel = Callable[..., None]

_DECLARING = threading.Lock()  # numba's setting is the whole process'


@cache
def installed() -> bool:
    """Whether numba is there, and can be imported."""
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        importlib.import_module("numba")
    except Exception as error:  # beside a numpy or LLVM that it was not made for it fails in many ways
        warnings.warn(
            f"numba does not work here ({one_line(error)}): corruptions are slower, with the same results; "
            f"repair it, or set {ENVIRONMENT_VARIABLE}=0",
            stacklevel=2,
        )
        return False
    return True


def applies(*tensors: Tensor) -> bool:
    """Whether kernels may work on these tensors: real ones on the CPU, without gradients."""
    return (
        not torch.compiler.is_compiling()
        and os.environ.get(ENVIRONMENT_VARIABLE) != "0"
        and all(type(x) is Tensor and x.device.type == "cpu" for x in tensors)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))
        # Within torch.func.grad and the like a tensor is a wrapper without memory of its own.
        and not torch._C._are_functorch_transforms_active()
        and installed()
    )


def run(function: Kernel, count: int, out: Tensor, *arguments: Any) -> None:
    """Do `count` images by a kernel, shared by as many threads as torch uses; tensors are given as arrays.

    `out` is written to: it must be contiguous, a copy would be lost.
    """
    assert out.is_contiguous()
    arrays = [x.detach().contiguous().numpy() if isinstance(x, Tensor) else x for x in (out, *arguments)]
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        function(0, count, *arrays)
        return
    bounds = [count * part // threads for part in range(threads + 1)]
    pool = _pool(torch.get_num_threads(), os.getpid())
    tasks = [pool.submit(function, *part, *arrays) for part in pairwise(bounds)]
    for task in tasks:
        task.result()


def made(kernel: Kernel, dtype: torch.dtype, x: Tensor, *arguments: Any) -> Tensor:
    """Return what a kernel makes of x, the same shape; (N, values) each.

    Further tensors of x's size are given as (N, values) too.
    """
    out = torch.empty(x.shape, dtype=dtype, device="cpu")
    count = len(x)
    flat = [
        y.reshape(count, -1) if isinstance(y, Tensor) and y.shape == x.shape else y for y in (x, *arguments)
    ]
    run(kernel, count, out.view(count, -1), *flat)
    return out


def images_by(kernel: Kernel, x: Tensor, *arguments: Any) -> Tensor:
    """Return what a kernel makes of x, the same shape, image by image.

    Python's floats are given as float32, also those in tuples.
    """
    out = torch.empty(x.shape, dtype=x.dtype, device="cpu")
    run(kernel, len(x), out, x, *map(_numbers, arguments))
    return out


def _numbers(argument: Any) -> Any:
    if isinstance(argument, tuple):
        return tuple(map(_numbers, argument))
    return np.float32(argument) if isinstance(argument, float) else argument


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(threads, thread_name_prefix="pushpull")


def tables_on_the_host() -> AbstractContextManager[Any]:
    """Undo `torch.set_default_device`: what names no device inside is a table of the CPU."""
    # Not get_default_device, which fails in torch 2.6 after set_default_device(None). The context only where
    # it is needed: it slows every operation down.
    return torch.device("cpu") if torch.empty(0).device.type != "cpu" else nullcontext()


@cache
def _folder() -> str | None:
    """Return the folder for kernels of these very sources, which exists; None where there can be none.

    None for a user without a home: a kept kernel is code, and anyone may write to the temporary folder.
    """
    import numba

    package = Path(__file__).parents[1]
    digest = hashlib.sha256(numba.__version__.encode())
    sources = [*package.glob("random/*.py"), *package.glob("corruptions/*.py")]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    config: Any = numba.config
    chosen, home = config.CACHE_DIR, own_cache()
    kept = Path(chosen) if chosen else home and home / "kernels"
    if kept is None:
        return None
    folder = kept / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return str(folder)


def kernel(function: Callable[..., Any], **how: Any) -> Any:
    """Compile a kernel at its first call."""
    import numba

    config: Any = numba.config
    how = {"nogil": True, "error_model": "numpy", **how}
    with _DECLARING:
        folder = _folder()
        # numba would look for another folder, such as the sources' own, where only dates tell kernels apart.
        if folder is None:
            return numba.njit(**how)(function)
        given, config.CACHE_DIR = config.CACHE_DIR, folder  # where it is kept is decided here
        try:
            return numba.njit(cache=True, **how)(function)
        finally:
            config.CACHE_DIR = given


inlined = partial(kernel, inline="always")
"""Compile a part of kernels into each of them."""
