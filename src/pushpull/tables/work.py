"""Doing what a run lacks, within the time that there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pushpull.data import DataSplits
from pushpull.evaluation.runs import evaluate_run
from pushpull.tables.runs import Run
from pushpull.training.callbacks import OutOfTime
from pushpull.training.run import train


class Clock:
    """How much of the time is over.

    Args:
        minutes: that there are; None: no limit.
    """

    def __init__(self, minutes: float | None) -> None:
        self.start = time.monotonic()
        self.seconds = None if minutes is None else 60 * minutes

    def over(self) -> bool:
        """Whether the time is over."""
        return self.seconds is not None and time.monotonic() - self.start >= self.seconds

    def before_next(self) -> Callable[[], bool]:
        """Return a question to ask before each of several like pieces: is there no time for another?

        A piece is taken to last as long as the longest before it. The first is always done, so that every
        sitting gets on, however short.
        """
        longest, begun = 0.0, None

        def too_late() -> bool:
            nonlocal longest, begun
            now = time.monotonic()
            first = begun is None
            longest = 0.0 if begun is None else max(longest, now - begun)
            begun = now
            if self.seconds is None or (first and not self.over()):
                return False
            return now + longest - self.start >= self.seconds

        return too_late


@dataclass(frozen=True)
class Means:
    """What every run is done with.

    Args:
        splits: the data.
        limit: evaluate at most so many test images; None: all.
        clock: of this sitting.
        progress: show how training and evaluation get on.
    """

    splits: DataSplits
    limit: int | None
    clock: Clock
    progress: bool


def complete(run: Run, means: Means) -> Iterator[str]:
    """Train and evaluate what is missing of a run; yield a line for each of the two.

    Raises:
        OutOfTime: the time is over; what was done is on disk.
        InputError: as `train` and `evaluate`.
    """
    recipe, start = run.recipe, time.monotonic()
    if not run.trained():
        resume = run.resumable()
        train(
            recipe,
            run.folder,
            resume=resume,
            overwrite=not resume,
            progress=means.progress,
            splits=means.splits,
            stop=means.clock.over,
        )
        how = "trained to the end" if resume else f"trained {recipe.epochs} epochs"
        yield f"{how} in {_seconds(time.monotonic() - start)}"
    start = time.monotonic()
    if not run.evaluated(means.limit):
        results = evaluate_run(
            run.folder,
            means.splits,
            limit=means.limit,
            progress=means.progress,
            device="cpu" if recipe.accelerator == "cpu" else None,
            workers=recipe.workers,
            channels_last=recipe.channels_last,
            stop=means.clock.before_next(),
        )
        if not results.complete:
            raise OutOfTime
        yield (
            f"clean error {results.clean_error:.1%}; {results.data['images']} images in 76 conditions "
            f"in {_seconds(time.monotonic() - start)}"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
