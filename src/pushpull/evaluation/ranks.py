"""The little that an evaluation needs of torch.distributed, and peers that end before their time."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from pushpull.errors import InputError

T = TypeVar("T")


def rank() -> int:
    """Return this process's number, 0 without torch.distributed."""
    return dist.get_rank() if world_size() > 1 else 0


def world_size() -> int:
    """Return the number of processes, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of every rank's `values`; they must be on a device that the process group can use."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def from_first_rank(make: Callable[[], T]) -> T:
    """Return what rank 0's `make()` returns, on every rank; what it raises is raised on every rank.

    For files: only one process reads and writes, and none goes on before or without it.
    """
    if world_size() == 1:
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
    if world_size() == 1:
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
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


_LOOK_S = 1.0
_GRACE_S = 15.0  # until a process that hangs since another has ended is ended too
_SETTLE_S = 3.0  # until one that is ending has ended
_met: dict[int, int] = {}  # rank -> process, of the others on this machine


class PeerEndedError(InputError):
    """Another process of the run has ended before its time.

    Args:
        text: which.
        silent: another one that is left says it.
    """

    def __init__(self, text: str, *, silent: bool = False) -> None:
        super().__init__(text)
        self.silent = silent


def meet() -> None:
    """Learn which processes are the other ranks; all ranks call it. Other machines cannot be seen."""
    _met.clear()
    if world_size() > 1:
        places = from_all_ranks((socket.gethostname(), os.getpid()))
        here = places[rank()][0]
        others = {number: pid for number, (host, pid) in enumerate(places) if host == here}
        _met.update({number: pid for number, pid in others.items() if pid != os.getpid() and _runs(pid)})


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait to be noticed by the one that started it."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # another user's; or no /proc here
        return not Path("/proc/self").exists() or Path(f"/proc/{pid}").exists()
    return state not in "ZX"


def _error(peers: Mapping[int, int]) -> PeerEndedError | None:
    """Return what says which processes have ended, None while all run."""
    gone = [number for number, pid in peers.items() if not _runs(pid)]
    if not gone:
        return None
    names = " and ".join(f"rank {number} (process {peers[number]})" for number in gone)
    mine = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    mine = rank() if dist.is_initialized() else mine
    return PeerEndedError(
        f"{names} ended before the others, which stop too; what is on disk stays: start it again to go on",
        silent=any(number < mine for number in peers if number not in gone),
    )


@contextmanager
def named_when_ended() -> Iterator[None]:
    """Say which process has ended, where that is why this one fails.

    Raises:
        PeerEndedError: in place of what the communication with it has raised.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:
        until = time.monotonic() + (_SETTLE_S if _met else 0)
        said = _error(_met)
        while said is None and time.monotonic() < until:
            time.sleep(0.1)
            said = _error(_met)
        if said is None:
            raise
        raise said from error


@contextmanager
def watched(children: Callable[[], Iterable[int]]) -> Iterator[None]:
    """End this process where it waits in vain for one that has ended, with a line that names it.

    Args:
        children: returns the processes that this one has started as ranks 1, 2, ...
    """
    left = threading.Event()

    def watch() -> None:
        since = None
        while not left.wait(_LOOK_S):
            said = _error(_met or dict(enumerate(children(), 1)))
            since = since or (time.monotonic() if said else None)
            if said is not None and since is not None and time.monotonic() - since > _GRACE_S:
                if not said.silent:
                    print(f"pushpull: error: {said}", file=sys.stderr, flush=True)
                os._exit(2)

    threading.Thread(target=watch, daemon=True).start()
    try:
        with named_when_ended():
            yield
    finally:
        left.set()
        _met.clear()
