"""The work of a corrupted copy, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import ClassVar

import torch
from torch import Tensor

from pushpull.copies.forms import FORMS
from pushpull.copies.job import Decoded, Job
from pushpull.copies.store import Store, Task
from pushpull.errors import InputError

_LOOK_SECONDS = 0.25  # between two looks at what is done
_UNITS_A_WORKER = 3  # more: a better balance; fewer: a shard is decoded less often


class _StoppedError(Exception):
    """The run ends: what is in hand is dropped."""


@dataclass(frozen=True)
class Shop:
    """What a worker needs.

    Args:
        job: what is made.
        store: where.
        batch_size: images that are corrupted at a time.
    """

    job: Job
    store: Store
    batch_size: int

    def run(self, unit: list[Task], stopped: Event | None = None) -> Iterator[None]:
        """Do tasks of one shard, which is decoded once; yield after each."""
        decoded = self.job.decode(unit[0].shard)
        for task in unit:
            batches = self._batches(task, decoded, stopped)
            FORMS[self.job.form].write(self.job, self.store, task, decoded, batches)
            self.store.mark(task, decoded.skipped)
            yield

    def _batches(self, task: Task, decoded: Decoded, stopped: Event | None) -> Iterator[Tensor]:
        for batch in self.job.corrupted(task, decoded, self.batch_size):
            if stopped is not None and stopped.is_set():
                raise _StoppedError
            yield batch


def run_here(shop: Shop, units: list[list[Task]]) -> Generator[None, None, None]:
    """Do the units in this process, on one thread as everywhere; yield after each task."""
    with _one_thread():
        for unit in units:
            yield from shop.run(unit)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_in_processes(shop: Shop, units: list[list[Task]], workers: int) -> Generator[None, None, None]:
    """Do the units in new processes; yield several times a second.

    Raises:
        InputError: a worker's own, or that one was killed.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    stopped = context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(units)), mp_context=context, initializer=_Worker.begin, initargs=(shop, stopped)
    )
    try:
        pending = {pool.submit(_Worker.run, unit) for unit in units}
        while pending:
            done, pending = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED)
            for future in done:
                future.result()
            yield
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended early; what is done stays: run it again, with fewer --workers if memory "
            "was short. In a script, workers above 1 need the call below if __name__ == '__main__':"
        ) from error
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def units_of(job: Job, done: set[str], workers: int) -> list[list[Task]]:
    """Return the tasks that are left in lists of one shard each, enough to keep all workers busy."""
    left = [[task for task in job.tasks(shard) if task.key not in done] for shard in range(job.shards)]
    left = [tasks for tasks in left if tasks]
    parts = -(-_UNITS_A_WORKER * workers // len(left)) if left and workers > 1 else 1
    # Every parts-th task: corruptions differ in cost far more than neighbours in the list.
    return [tasks[first::parts] for tasks in left for first in range(min(parts, len(tasks)))]


class _Worker:
    """What a worker process keeps from unit to unit."""

    shop: ClassVar[Shop]
    stopped: ClassVar[Event]

    @classmethod
    def begin(cls, shop: Shop, stopped: Event) -> None:
        """Prepare a new process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears it, and stops the others
        threading.Thread(target=_end_with_parent, daemon=True).start()
        # Whether frost's photographs can be had is settled: no download here.
        os.environ["PUSHPULL_OFFLINE"] = "1"
        torch.set_num_threads(1)  # the processes share the cores; and sums have one order
        cls.shop, cls.stopped = shop, stopped

    @classmethod
    def run(cls, unit: list[Task]) -> None:
        """Do one unit."""
        for _ in cls.shop.run(unit, cls.stopped):
            pass


def _end_with_parent() -> None:
    """Leave at once when the main process is killed: nobody would read or stop this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
