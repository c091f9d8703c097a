"""A table's work and its report: run by run, whatever happens to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushpull.corruptions.textures import ENVIRONMENT_VARIABLE, frost_texture_source
from pushpull.errors import InputError
from pushpull.files.names import RESULTS
from pushpull.reports.tables.measured import Measured, frost_textures_of, measured
from pushpull.reports.tables.runs import FOLDER, Busy, Run
from pushpull.reports.tables.spec import Row, TableFile
from pushpull.reports.tables.statistics import table_figures
from pushpull.reports.tables.text import Remains, few, tables
from pushpull.reports.tables.work import Means, complete
from pushpull.reports.tables.write import about, write_table
from pushpull.training.callbacks import OutOfTime


@dataclass(frozen=True)
class Job:
    """The runs of a table in an output folder.

    Args:
        table: the table.
        runs: those to be done.
        others: further ones of the table: reported where they are done.
        means: what they are done with.
        folder: where the table goes.
        command: what makes or continues it.
    """

    table: TableFile
    runs: Sequence[Run]
    others: Sequence[Run]
    means: Means
    folder: Path
    command: str

    def check_textures(self) -> None:
        """Refuse to measure frost with other textures than those in the folder: no table could have both."""
        there = frost_textures_of((*self.runs, *self.others))
        if not there or not any(self._lacks_something(run) for run in self.runs):
            return
        now = frost_texture_source()
        if now not in there:
            earlier = " and ".join(map(repr, sorted(there)))
            files = self.folder / FOLDER / "*/seed*" / RESULTS
            raise InputError(
                f"frost in {self.folder} was measured with textures {earlier}, and would be with {now!r} "
                f"now; name the earlier ones ({ENVIRONMENT_VARIABLE}), give another --output, or remove "
                f"{files} to measure all again"
            )

    def work(self) -> dict[str, str]:
        """Do what is missing, run by run, until the time is over; return which runs failed, and why."""
        failed = {}
        for number, run in enumerate(self.runs, 1):
            said = f"[{number}/{len(self.runs)}] {run.name}"
            try:
                if run.done(self.means.extent):
                    continue
                with run.locked():
                    for text in complete(run, self.means):
                        print(f"{said}: {text}", flush=True)
            except Busy:
                print(f"{said}: another process works on it", flush=True)
            except OutOfTime:
                print(f"{said}: stopped, the time is over", flush=True)
                break
            except InputError as error:
                print(f"{said}: failed: {error}", flush=True)
                failed[run.name] = str(error)
        return failed

    def report(self, failed: Mapping[str, str]) -> None:
        """Write the table of all that is done in the folder; print it, and what remains.

        Args:
            failed: run -> why, of this sitting.

        Raises:
            InputError: runs that were to be done failed, or cannot be compared; after the table is written.
        """
        found = measured((*self.runs, *self.others), self.means.extent)
        rows = [row for row in self.table.rows if self._is_reported(row, found)]
        remains = self._remains(found, failed)
        figures = table_figures(
            {row.name: found.results.get(row.name, {}) for row in rows},
            {row.name: row.twin for row in rows},
            self.table.rows[0].name,
        )
        recipes = {row.name: row.recipe.to_dict() for row in rows}
        paths = write_table(self.folder, figures, about(self.table, rows, remains, self.command), recipes)
        if figures is not None:
            print("\n" + "\n\n".join(tables(figures)) + "\n")
        self._say(remains, failed)
        print(f"Written: {', '.join(map(str, paths))}")
        bad = [name for name, _ in remains.problems if name in remains.missing]
        if bad:
            raise InputError(f"{len(bad)} of {len(self.runs)} runs failed ({few(bad)}); {paths[0]} says why")

    def _is_reported(self, row: Row, found: Measured) -> bool:
        return row.name in found.results or any(run.row.name == row.name for run in self.runs)

    def _remains(self, found: Measured, failed: Mapping[str, str]) -> Remains:
        """Return what of the table is not in it."""
        problems = {**failed, **found.problems}
        lacking = [run for run in (*self.runs, *self.others) if not found.has(run)]
        asked = {run.name for run in self.runs}
        return Remains(
            missing=tuple(run.name for run in lacking if run.name in asked),
            problems=tuple((run.name, problems[run.name]) for run in lacking if run.name in problems),
            unasked=tuple(
                run.name
                for run in lacking
                if run.name not in asked and not run.row.on_request and run.recipe.seed in self.table.seeds
            ),
        )

    def _say(self, remains: Remains, failed: Mapping[str, str]) -> None:
        """Print what remains to be done and how to go on, and what `work` has not said of problems."""
        why = dict(remains.problems)
        for name, reason in remains.problems:
            if name not in failed:
                print(f"{name} is not in the table: {reason}")
        names = [name for name in remains.missing if name not in why]
        if names:
            print(
                f"{len(names)} of {len(self.runs)} runs remain ({few(names)}). Go on with:\n  {self.command}"
            )
        if remains.unasked:
            print(f"{len(remains.unasked)} more runs of the table are not done ({few(remains.unasked)}).")

    def _lacks_something(self, run: Run) -> bool:
        try:
            return not run.done(self.means.extent)
        except InputError:
            return True
