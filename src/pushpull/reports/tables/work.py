"""Doing what a run lacks, within the time that there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pushpull.data import DataSplits
from pushpull.errors import InputError
from pushpull.evaluation.options import EvaluationOptions
from pushpull.evaluation.runner import evaluate
from pushpull.files.names import RESULTS
from pushpull.models.network import load_run
from pushpull.reports.tables.runs import Extent, Run
from pushpull.reports.tables.start import start_of
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
        extent: how many test images to evaluate.
        clock: of this sitting.
        progress: show how training and evaluation get on.
    """

    splits: DataSplits
    extent: Extent
    clock: Clock
    progress: bool


def complete(run: Run, means: Means) -> Iterator[str]:
    """Train and evaluate what is missing of a run; yield a line for each thing done.

    Raises:
        OutOfTime: the time is over; what was done is on disk.
        InputError: as `start_of`, `train` and `evaluate`.
    """
    if not run.trained():
        yield from _train(run, means)
    if run.whole_results(means.extent) is None:
        yield _evaluate(run, means)


def _train(run: Run, means: Means) -> Iterator[str]:
    begun, start = time.monotonic(), start_of(run)
    if start.why is not None:
        yield start.why
    train(
        run.recipe,
        run.folder,
        resume=start.resume,
        overwrite=not start.resume,
        progress=means.progress,
        splits=means.splits,
        stop=means.clock.over,
    )
    how = "trained to the end" if start.resume else f"trained {run.recipe.epochs} epochs"
    yield f"{how} in {_seconds(time.monotonic() - begun)}"


def _evaluate(run: Run, means: Means) -> str:
    begun, recipe = time.monotonic(), run.recipe
    try:
        options = EvaluationOptions(
            limit=means.extent.limit,
            device="cpu" if recipe.accelerator == "cpu" else "auto",
            workers=recipe.workers,
            channels_last=recipe.channels_last,
            output=str(run.folder),
        )
        results = evaluate(
            load_run(run.folder),
            means.splits,
            options,
            progress=means.progress,
            stop=means.clock.before_next(),
        )
    except InputError as error:
        raise error.with_remedy(
            f"give another --output, or remove {run.folder / RESULTS} to measure again"
        ) from error
    if not results.complete:
        raise OutOfTime
    return (
        f"clean error {results.clean_error:.1%}; {results.data['images']} images in 76 conditions "
        f"in {_seconds(time.monotonic() - begun)}"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
