"""The runs of a table: where each lies, what it still lacks, and who works on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.evaluation.results import SEVERITIES, Results
from pushpull.files.names import RESULTS
from pushpull.reports.tables.spec import Row
from pushpull.training.folder import is_finished
from pushpull.training.recipe import Recipe

FOLDER = "runs"


class Busy(Exception):  # noqa: N818 - no error: another process does the work
    """Another process works on the run."""


@dataclass(frozen=True)
class Extent:
    """How many test images are evaluated.

    Args:
        limit: at most so many; None: all.
        images: how many that is.
    """

    limit: int | None
    images: int


@dataclass(frozen=True)
class Run:
    """One network of a table.

    Args:
        row: its row.
        recipe: with its seed.
        folder: where it lies.
    """

    row: Row
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """`PP3 seed 0`."""
        return f"{self.row.name} seed {self.recipe.seed}"

    def trained(self) -> bool:
        """Whether the network is trained to its end."""
        return is_finished(self.folder, self.recipe)

    def results(self) -> Results | None:
        """Return what was measured so far, None where nothing was."""
        return Results.load(self.folder) if (self.folder / RESULTS).is_file() else None

    def whole_results(self, extent: Extent) -> Results | None:
        """Return what was measured if that is all 15 x 5 on so many images, else None."""
        results = self.results()
        if results is None or not results.complete or results.clean is None:
            return None
        whole = all(set(results.corrupted.get(name, {})) == set(SEVERITIES) for name in CORRUPTIONS)
        same = (results.data["limit"], results.data["images"]) == (extent.limit, extent.images)
        return results if whole and same else None

    def done(self, extent: Extent) -> bool:
        """Whether nothing is left to do."""
        return self.trained() and self.whole_results(extent) is not None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from this run; the system frees the lock when the process ends, however.

        Raises:
            Busy: another process has it.
        """
        lock = FileLock(self.folder.with_suffix(".lock"))
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise Busy from error
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"{self.folder.parent} cannot be locked ({reason}); give another --output"
            ) from error
        try:
            yield
        finally:
            lock.release()


def runs_of(rows: Sequence[Row], seeds: Sequence[int], output: Path) -> list[Run]:
    """Return the runs, seed by seed, so that an unfinished table has rows that can be compared."""
    return [
        Run(row, replace(row.recipe, seed=seed), output / FOLDER / row.slug / f"seed{seed}")
        for seed in seeds
        for row in rows
    ]


def seeds_in(output: Path) -> list[int]:
    """Return the seeds of which an output folder holds runs."""
    names = {path.name.removeprefix("seed") for path in (output / FOLDER).glob("*/seed*") if path.is_dir()}
    return sorted(int(name) for name in names if name.isdecimal())
