"""The tasks of a corrupted copy, done in this process or in several."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushpull.copies.layouts import LAYOUTS, Task
from pushpull.copies.plan import CopyPlan, Decoded
from pushpull.data import UnreadableImageError
from pushpull.errors import InputError
from pushpull.files import held_elsewhere
from pushpull.files.registry import Plugins

_LOOK_SECONDS = 0.25  # between two looks at what is done
_UNITS_PER_WORKER = 3  # more: a better balance; fewer: a shard is decoded less often

Steps = Generator[tuple[int, list[UnreadableImageError]], None, None]


class _StoppedError(Exception):
    """The run ends: what is in hand is dropped."""


def run_tasks(plan: CopyPlan, root: Path, tasks: list[Task], workers: int, batch_size: int) -> Steps:
    """Do the tasks; yield, again and again, how many images are done and which were newly found unreadable.

    Raises:
        InputError: a task's own, or that a worker process was killed.
    """
    units = _units(tasks, workers)
    if min(workers, len(units)) > 1:
        return _in_processes(plan, root, units, workers, batch_size)
    return _here(plan, root, units, batch_size)


def _units(tasks: list[Task], workers: int) -> list[list[Task]]:
    """Return the tasks in lists of the same shards, enough of them to keep all workers busy."""
    together: dict[tuple[int, ...], list[Task]] = {}
    for task in tasks:
        together.setdefault(task.shards, []).append(task)
    parts = -(-_UNITS_PER_WORKER * workers // len(together)) if together and workers > 1 else 1
    # Every parts-th task: corruptions differ in cost far more than neighbours in the list.
    return [some[first::parts] for some in together.values() for first in range(min(parts, len(some)))]


def _run(
    plan: CopyPlan, root: Path, unit: list[Task], batch_size: int, report: Callable[[int], None]
) -> Generator[list[UnreadableImageError], None, None]:
    """Do the tasks of a unit, whose shards are decoded once where there is one; yield after each."""
    skipped: list[UnreadableImageError] = []

    @functools.lru_cache(maxsize=1)
    def decode(shard: int) -> Decoded:
        decoded = plan.decode(shard)
        skipped.extend(decoded[2])
        return decoded

    def corrupted(name: str, severity: int, images: Tensor, positions: list[int]) -> Iterable[Tensor]:
        for batch in plan.corrupted(name, severity, images, positions, batch_size):
            yield batch
            report(len(batch))

    for task in unit:
        LAYOUTS[plan.layout].write(plan, root, task, decode, corrupted)
        yield skipped
        skipped.clear()


def _here(plan: CopyPlan, root: Path, units: list[list[Task]], batch_size: int) -> Steps:
    """Do the units in this process, on one thread as everywhere."""
    done = 0

    def report(images: int) -> None:
        nonlocal done
        done += images

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for unit in units:
            for skipped in _run(plan, root, unit, batch_size, report):
                yield done, skipped
    finally:
        torch.set_num_threads(before)


def _in_processes(
    plan: CopyPlan, root: Path, units: list[list[Task]], workers: int, batch_size: int
) -> Steps:
    """Do the units in new processes; yields several times a second."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    stopped, done = context.Event(), context.Value("q", 0)
    pool = ProcessPoolExecutor(
        min(workers, len(units)),
        mp_context=context,
        initializer=_begin_worker,
        initargs=(Plugins(), plan, root, batch_size, stopped, done),
    )
    try:
        pending = {pool.submit(_run_in_worker, unit) for unit in units}
        while pending:
            finished, pending = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED)
            yield done.value, [UnreadableImageError(*error) for task in finished for error in task.result()]
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended early; what is done stays: run it again, with fewer --workers if memory "
            "was short. In a script, workers above 1 need the call below if __name__ == '__main__':"
        ) from error
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


_worker: dict[str, Any] = {}  # what a worker process keeps from unit to unit


def _begin_worker(_: Plugins, plan: CopyPlan, root: Path, batch_size: int, stopped: Any, done: Any) -> None:
    """Prepare a new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears it, and stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    held_elsewhere(root)
    # Whether frost's photographs can be had is settled: no download here.
    os.environ["PUSHPULL_OFFLINE"] = "1"
    torch.set_num_threads(1)  # the processes share the cores; and sums have one order

    def report(images: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        with done.get_lock():
            done.value += images

    _worker["run"] = lambda unit: _run(plan, root, unit, batch_size, report)


def _run_in_worker(unit: list[Task]) -> list[tuple[str, str]]:
    """Do one unit; return name and reason of the images that could not be read."""
    found: dict[str, str] = {}
    with closing(_worker["run"](unit)) as steps:
        for skipped in steps:
            found |= {error.name: error.reason for error in skipped}
    return list(found.items())


def _end_with_parent() -> None:
    """Leave at once when the main process is killed: nobody would read or stop this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
