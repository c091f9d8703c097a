"""The runs of a table: where each lies, what it still lacks, who works on it, and doing what it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pushpull.corruptions import CORRUPTIONS
from pushpull.data import DataSplits
from pushpull.errors import InputError
from pushpull.evaluation.results import SEVERITIES, Results
from pushpull.evaluation.runner import evaluate
from pushpull.files import LAST, RECIPE, RESULTS, WEIGHTS, folder_lock
from pushpull.models.network import load_run
from pushpull.reports.comparable import Setting, require_same, setting_of
from pushpull.reports.table_file import TableRow
from pushpull.training.callbacks import OutOfTime
from pushpull.training.folder import check_folder, file_digest, is_finished, read_checkpoint
from pushpull.training.recipe import Recipe
from pushpull.training.run import train

DRY_RUN = "dry run, not results"
FOLDER = "runs"


class Clock:
    """How much of the `minutes` is over; None: no limit."""

    def __init__(self, minutes: float | None) -> None:
        self.start = time.monotonic()
        self.seconds = None if minutes is None else 60 * minutes

    def over(self) -> bool:
        """Whether the time is over."""
        return self.seconds is not None and time.monotonic() - self.start >= self.seconds

    def before_next(self) -> Callable[[], bool]:
        """Return a question to ask before each of several pieces: is there no time for one like the longest?

        The first is always done, so that every sitting gets on, however short.
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


class Run:
    """One network of a table: its row, its recipe with a seed, where it lies.

    `extent`: at most how many test images are evaluated (None: all), and how many that is.
    """

    def __init__(
        self, row: TableRow, recipe: Recipe, folder: Path, extent: tuple[int | None, int] = (None, 0)
    ) -> None:
        self.row, self.recipe, self.folder, self.extent = row, recipe, folder, extent

    @property
    def name(self) -> str:
        """`PP3 seed 0`."""
        return f"{self.row.name} seed {self.recipe.seed}"

    def results(self) -> Results | None:
        """Return what was measured so far, None where nothing was."""
        return Results.load(self.folder) if (self.folder / RESULTS).is_file() else None

    def whole_results(self) -> Results | None:
        """Return what was measured if that is all 15 x 5 on as many images as are asked for, else None."""
        results = self.results()
        if results is None or not results.complete or results.clean is None:
            return None
        whole = all(set(results.corrupted.get(name, {})) == set(SEVERITIES) for name in CORRUPTIONS)
        same = (results.data["limit"], results.data["images"]) == self.extent
        return results if whole and same else None

    def done(self) -> bool:
        """Whether nothing is left to do: a run that is measured needs no weights any more."""
        return is_finished(self.folder, self.recipe, weights=False) and self.whole_results() is not None

    def locked(self) -> AbstractContextManager[None]:
        """Keep every other process from this run; `InUseError` where another has it.

        The lock lies beside the folder, which training may make and clear.
        """
        return folder_lock(self.folder, self.folder.with_suffix(".lock"))

    def check_recipe(self) -> None:
        """Raise `InputError` where the folder's run is not of this recipe, or its recipe is lost."""
        remedy = f"give another --output, or remove {self.folder}"
        if not (self.folder / RECIPE).is_file():
            raise InputError(f"{self.folder} holds a run without its {RECIPE}; restore it, {remedy}")
        try:
            check_folder(self.folder, self.recipe, resume=True, overwrite=False)
        except InputError as error:
            raise error.with_remedy(remedy) from error

    def resumes(self) -> tuple[bool, str | None]:
        """Return whether training goes on from the checkpoint, and a line to print where something is lost.

        Raises:
            InputError: the folder's run is of another recipe or its recipe is lost; or the checkpoint cannot
                be opened.
        """
        held = {name for name in (WEIGHTS, RESULTS, LAST) if (self.folder / name).exists()}
        if not held:
            return False, None
        self.check_recipe()
        if LAST not in held:
            return False, f"no {LAST} to go on from: trained again from the start"
        epochs_done = _epochs_done(self.folder)
        if epochs_done is None:
            return False, f"{LAST} is not readable, as after a kill: trained again from the start"
        if epochs_done and WEIGHTS not in held:
            return False, f"{WEIGHTS} is gone: trained again from the start"
        return True, None

    def complete(self, splits: DataSplits, clock: Clock, *, progress: bool) -> Iterator[str]:
        """Train and evaluate what is missing; yield a line for each thing done.

        Raises:
            OutOfTime: the time is over; what was done is on disk.
            InputError: as `resumes`, `train` and `evaluate`.
        """
        begun = time.monotonic()
        if not is_finished(self.folder, self.recipe):
            resume, why = self.resumes()
            if why is not None:
                yield why
            how: dict[str, Any] = {"resume": resume, "overwrite": not resume, "progress": progress}
            train(self.recipe, self.folder, splits=splits, stop=clock.over, **how)
            done = "trained to the end" if resume else f"trained {self.recipe.epochs} epochs"
            yield f"{done} in {_seconds(time.monotonic() - begun)}"
        if self.whole_results() is None:
            yield self._evaluate(splits, clock, progress)

    def _evaluate(self, splits: DataSplits, clock: Clock, progress: bool) -> str:
        begun, recipe = time.monotonic(), self.recipe
        try:
            results = evaluate(
                load_run(self.folder),
                splits,
                limit=self.extent[0],
                device="cpu" if recipe.accelerator == "cpu" else "auto",
                workers=recipe.workers,
                channels_last=recipe.channels_last,
                output=str(self.folder),
                progress=progress,
                stop=clock.before_next(),
            )
        except InputError as error:
            remedy = f"give another --output, or remove {self.folder / RESULTS} to measure again"
            raise error.with_remedy(remedy) from error
        if not results.complete:
            raise OutOfTime
        dry = results.data["note"] == DRY_RUN  # errors of two images mean nothing
        said = "evaluated" if dry else f"clean error {results.clean_error:.1%};"
        took = _seconds(time.monotonic() - begun)
        return f"{said} {results.data['images']} images in 76 conditions in {took}"


def runs_of(
    rows: Sequence[TableRow], seeds: Sequence[int], output: Path, extent: tuple[int | None, int] = (None, 0)
) -> list[Run]:
    """Return the runs, seed by seed, so that an unfinished table has rows that can be compared."""
    return [
        Run(row, replace(row.recipe, seed=seed), output / FOLDER / row.slug / f"seed{seed}", extent)
        for seed in seeds
        for row in rows
    ]


def seeds_in(output: Path) -> list[int]:
    """Return the seeds of which an output folder holds runs."""
    names = {path.name.removeprefix("seed") for path in (output / FOLDER).glob("*/seed*") if path.is_dir()}
    return sorted(int(name) for name in names if name.isdecimal())


def measured(runs: Sequence[Run]) -> tuple[dict[str, dict[int, Results]], dict[str, str]]:
    """Return what is done of `runs`, or the largest part that can be compared: row -> seed -> results.

    And, by its name, why a run of which there is something is not among them.
    """
    groups: list[list[tuple[Run, Results, Setting]]] = []
    problems: dict[str, str] = {}
    for run in runs:
        try:
            trained = is_finished(run.folder, run.recipe)
            results = run.whole_results() if trained else None
            if results is None:
                if not trained and (run.folder / RESULTS).is_file():
                    run.check_recipe()
                continue
            # Without corruptions that `pushpull evaluate` has added to a run's.
            results = replace(results, corrupted={name: results.corrupted[name] for name in CORRUPTIONS})
            setting = setting_of(results, run.name)
        except InputError as error:
            problems[run.name] = str(error)
            continue
        group = next((group for group in groups if not _difference(group[0], run, setting)), None)
        if group is None:
            groups.append(group := [])
        group.append((run, results, setting))
    kept = max(groups, key=len, default=[])
    found: dict[str, dict[int, Results]] = {}
    for run, results, _ in kept:
        found.setdefault(run.row.name, {})[run.recipe.seed] = results
    others = [one for group in groups if group is not kept for one in group]
    return found, problems | {run.name: _difference(kept[0], run, setting) for run, _, setting in others}


def _difference(first: tuple[Run, Results, Setting], run: Run, setting: Setting) -> str:
    """Say what keeps a run from one table with the first, and what to do; empty where nothing does."""
    try:
        require_same(first[2], first[0].name, setting, run.name)
    except InputError as error:
        return str(error.with_remedy(f"to measure it again, remove {run.folder / RESULTS}"))
    return ""


def _epochs_done(folder: Path) -> int | None:
    """Return the whole epochs of the checkpoint, None where it is broken.

    Raises:
        InputError: its bytes cannot be had: a disk that does not answer now may answer later.
    """
    path = folder / LAST
    with suppress(InputError):
        return read_checkpoint(folder)[1] if path.stat().st_size else None
    try:
        file_digest(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be read ({reason}); make it readable, or remove it") from error
    return None


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
