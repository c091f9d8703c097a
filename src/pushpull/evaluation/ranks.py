"""The little that an evaluation needs of torch.distributed; without it, one rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from pushpull.errors import InputError

T = TypeVar("T")


def rank() -> int:
    """Return this process's number, 0 without torch.distributed."""
    return dist.get_rank() if _running() else 0


def world_size() -> int:
    """Return the number of processes, 1 without torch.distributed."""
    return dist.get_world_size() if _running() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of every rank's `values`; they must be on a device that the process group can use."""
    if not _running():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def from_first_rank(make: Callable[[], T]) -> T:
    """Return what rank 0's `make()` returns, on every rank; what it raises is raised on every rank.

    For files: only one process reads and writes, and none goes on before or without it.
    """
    if not _running():
        return make()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome = [make(), None]
        except (InputError, OSError) as error:
            outcome = [None, error]
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def on_all_ranks(make: Callable[[], T]) -> T:
    """Return what this rank's `make()` returns; where it raises `InputError` on any rank, raise on every one.

    For work that ranks do apart: the others would wait for ever for one that has stopped.
    """
    if not _running():
        return make()
    made: list[T] = []
    error: InputError | None = None
    try:
        made.append(make())
    except InputError as caught:
        error = caught
    texts = [text for text in from_all_ranks(None if error is None else str(error)) if text is not None]
    if texts:
        raise error or InputError(texts[0])
    return made[0]


def from_all_ranks(value: T) -> list[T]:
    """Return every rank's `value`, in the order of ranks."""
    if not _running():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()
