"""Which runs of a table are done, and may stand in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.evaluation.results import Results
from pushpull.files.names import RESULTS
from pushpull.reports.setting import Setting, require_same, setting_of
from pushpull.reports.tables.runs import Extent, Run
from pushpull.reports.tables.start import check_recipe


@dataclass(frozen=True)
class Measured:
    """What there is to report.

    Args:
        results: row -> seed -> what was measured, of the 15 x 5; all comparable.
        problems: name of a run -> why it is not among them, though there is something of it.
    """

    results: dict[str, dict[int, Results]]
    problems: dict[str, str]

    def has(self, run: Run) -> bool:
        """Whether a run is among the results."""
        return run.recipe.seed in self.results.get(run.row.name, {})


class _Done(NamedTuple):
    """A run, its results in the benchmark, and what they were measured with."""

    run: Run
    results: Results
    setting: Setting


def measured(runs: Sequence[Run], extent: Extent) -> Measured:
    """Return what is done of `runs`; of results that cannot be compared, the largest part that can."""
    done: list[_Done] = []
    problems: dict[str, str] = {}
    for run in runs:
        try:
            results = _results_of(run, extent)
            if results is not None:
                results = _of_the_benchmark(results)
                done.append(_Done(run, results, setting_of(results, run.name)))
        except InputError as error:
            problems[run.name] = str(error)
    kept, left_out = _comparable(done)
    by_row: dict[str, dict[int, Results]] = {}
    for one in kept:
        by_row.setdefault(one.run.row.name, {})[one.run.recipe.seed] = one.results
    return Measured(by_row, problems | left_out)


def _results_of(run: Run, extent: Extent) -> Results | None:
    """Return the results of a run that is done, else None; one of another recipe is an `InputError`."""
    if run.trained():
        return run.whole_results(extent)
    if (run.folder / RESULTS).is_file():
        check_recipe(run)
    return None


def frost_textures_of(runs: Iterable[Run]) -> set[str]:
    """Return the textures that frost was laid on with, in whatever of these runs is measured."""
    found = set()
    for run in runs:
        with suppress(InputError):  # `measured` says it
            results = run.results()
            if results is not None and "frost" in results.corrupted:
                found.add(results.corruption["frost_textures"])
    return found


def _of_the_benchmark(results: Results) -> Results:
    """Return results without corruptions that `pushpull evaluate` has added to a run's."""
    return replace(results, corrupted={name: results.corrupted[name] for name in CORRUPTIONS})


def _comparable(done: Sequence[_Done]) -> tuple[Sequence[_Done], dict[str, str]]:
    """Return the most runs that were measured alike (of equally many, the first), and why not the others."""
    alike: list[list[_Done]] = []
    for one in done:
        for group in alike:
            if _difference(group[0], one) is None:
                group.append(one)
                break
        else:
            alike.append([one])
    if not alike:
        return (), {}
    kept = max(alike, key=len)
    others = [one for group in alike if group is not kept for one in group]
    return kept, {one.run.name: str(_difference(kept[0], one)) for one in others}


def _difference(first: _Done, second: _Done) -> InputError | None:
    """Return what keeps two results from one table, with what to do; None where nothing does."""
    try:
        require_same(first.setting, first.run.name, second.setting, second.run.name)
    except InputError as error:
        return error.with_remedy(f"to measure it again, remove {second.run.folder / RESULTS}")
    return None
