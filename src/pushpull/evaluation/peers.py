"""The other processes of a distributed run: where they are, and that one of them has ended."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from pushpull.errors import InputError
from pushpull.evaluation.ranks import from_all_ranks, rank, world_size

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
