"""The command `pushpull reproduce`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pushpull.data import DataConfig, DataSplits, load_data
from pushpull.data.subsets import read_class_list
from pushpull.errors import InputError, integer
from pushpull.files import writable_folder, write_text
from pushpull.tables import dry_run as dry
from pushpull.tables.runs import Busy, Run, runs_of
from pushpull.tables.spec import Row, TableFile, checked_seeds, packaged_table, read_table
from pushpull.tables.text import tables
from pushpull.tables.work import Clock, Means, complete
from pushpull.tables.write import about, figures_of, write_table
from pushpull.training.callbacks import OutOfTime


def reproduce_command(
    table: str,
    rows: list[str] | None = None,
    seeds: list[int] | None = None,
    minutes: float | None = None,
    output: str | None = None,
    data: str | None = None,
    label: str | None = None,
    classes: str | None = None,
    limit: int | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    accelerator: str | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> None:
    """Make a table: train what is missing, evaluate it on 15 corruptions x 5 severities, compare.

    It may be killed at any moment; the same command goes on where it was. Several processes may share an
    output folder: no two of them work on one run.

    Args:
        table: a table file, or one that comes with the package: cifar10, cifar10-small, imagenet1k,
            imagenet100, imagenet200, cifar10-variants.
        rows: only these rows, by name ("AugMix + PP3") or folder (augmix-pp3). By default all but those that
            the table has on request.
        seeds: one network of each row is trained for each; by default the table's.
        minutes: stop cleanly after so many, in the middle of a training too, and say what remains.
        output: folder for the runs and the table; by default runs/tables/NAME.
        data: another place of the data than the table's: a folder or a hub name.
        label: what the table calls the data.
        classes: a text file with one class name or wnid a line: only these classes. Tables of a part of
            ImageNet need one.
        limit: evaluate at most so many test images, the same share of every class; by default the table's.
        epochs: another number of epochs than the table's.
        workers: processes that decode images which do not fit in memory; by default the table's.
        accelerator: auto, cpu, cuda or mps; by default the table's.
        dry_run: two steps of every row and the whole evaluation of two images (or --limit), in a folder of
            its own: does everything work? It continues and stops as the real table does.
        quiet: show no progress of trainings and evaluations.
    """
    clock = Clock(_positive("minutes", minutes))
    path = packaged_table(table)
    file = read_table(path)
    folder = Path(output or f"runs/tables/{path.stem}") / ("dry-run" if dry_run else ".")
    writable_folder(folder)
    chosen = [file.row(name) for name in rows] if rows else [row for row in file.rows if not row.on_request]
    numbers = checked_seeds(seeds, "seeds") if seeds else (file.seeds[:1] if dry_run else file.seeds)
    changes = _Changes(data, label, classes, epochs, workers, accelerator)
    file = replace(file, rows=tuple(map(changes.applied, file.rows)))
    chosen = [file.row(row.name) for row in chosen]
    config = _data(file, chosen, folder, dry_run)
    splits = load_data(config)
    chosen = [replace(row, recipe=replace(row.recipe, data=config)) for row in chosen]
    if dry_run:
        chosen, splits, images = dry.shortened(chosen), dry.few_images(splits, limit), None
    else:
        images = _limit(file.limit if limit is None else limit, splits)
    means = Means(splits, images, clock, progress=not quiet)
    words = ["pushpull", "reproduce", table, *changes.words(), *_words("rows", rows), *_words("seeds", seeds)]
    words += [*_words("limit", limit), *_words("minutes", minutes), *_words("output", output)]
    words += ["--dry-run"] if dry_run else []
    job = _Job(file, runs_of(chosen, numbers, folder), means, folder, shlex.join(words))
    job.work()
    job.report()


@dataclass(frozen=True)
class _Changes:
    """What the command line changes of every row's recipe."""

    data: str | None
    label: str | None
    classes: str | None
    epochs: int | None
    workers: int | None
    accelerator: str | None

    def applied(self, row: Row) -> Row:
        """Return the row with the changes."""
        named = {"name": self.data, "label": self.label, "classes": self.classes}
        config = replace(row.recipe.data, **_given(named))
        own = _given({key: getattr(self, key) for key in ("epochs", "workers", "accelerator")})
        return replace(row, recipe=replace(row.recipe, data=config, **own))

    def words(self) -> list[str]:
        """Return them as words of a command line."""
        return [word for key, value in vars(self).items() for word in _words(key, value)]


@dataclass(frozen=True)
class _Job:
    """The runs of a table in an output folder."""

    table: TableFile
    runs: Sequence[Run]
    means: Means
    folder: Path
    command: str

    def missing(self) -> list[Run]:
        """Return the runs that are not done."""
        return [run for run in self.runs if not run.done(self.means.limit)]

    def work(self) -> None:
        """Do what is missing, run by run, until all is done or the time is over."""
        for number, run in enumerate(self.runs, 1):
            said = f"[{number}/{len(self.runs)}] {run.name}"
            if run.done(self.means.limit):
                continue
            try:
                with run.locked():
                    for text in complete(run, self.means):
                        print(f"{said}: {text}", flush=True)
            except Busy:
                print(f"{said}: another process works on it", flush=True)
            except OutOfTime:
                print(f"{said}: stopped, the time is over", flush=True)
                return

    def report(self) -> None:
        """Write the table of what is done; print it, and what remains."""
        missing = self.missing()
        figures = figures_of(self.table, self.runs, self.means.limit)
        said = about(self.table, self.runs, missing, self.command)
        recipes = {run.row.name: run.row.recipe.to_dict() for run in self.runs}
        paths = write_table(self.folder, figures, said, recipes)
        if figures is not None:
            print("\n" + "\n\n".join(tables(figures)) + "\n")
        if missing:
            names = ", ".join(run.name for run in missing[:4]) + (", ..." if missing[4:] else "")
            print(f"{len(missing)} of {len(self.runs)} runs remain ({names}). Go on with:\n  {self.command}")
        print(f"Written: {', '.join(map(str, paths))}")


def _data(file: TableFile, rows: Sequence[Row], folder: Path, dry_run: bool) -> DataConfig:
    """Return the data, which all rows share; a table of a part of the classes needs the user's list."""
    config = rows[0].recipe.data
    if any(row.recipe.data != config for row in rows):
        raise InputError("the rows of the table name different data; a table compares on one data set")
    if file.classes is None:
        return config
    if config.classes is not None:
        count = len(read_class_list(config.classes))
        if count != file.classes:
            raise InputError(
                f"--classes {config.classes} names {count} classes; {file.title} has {file.classes}"
            )
        return config
    if not dry_run:
        raise InputError(
            f"{file.title} is on {file.classes} classes of a list that does not come with this package; "
            "give yours with --classes FILE, one wnid a line"
        )
    names = load_data(config).classes[: file.classes]
    print(f"Dry run without --classes: the first {len(names)} classes of {config.name} take their place.")
    return replace(config, classes=str(write_text(folder / "classes.txt", "\n".join(names) + "\n")))


def _limit(limit: int | None, splits: DataSplits) -> int | None:
    """Return how many test images, None for all."""
    if limit is None:
        return None
    limit = integer("limit", limit, "give a number of images, or none for all")
    if limit < 1:
        raise InputError(f"limit={limit} is below 1; give a number of images, or none for all")
    return None if limit >= len(splits.required("test")) else limit


def _positive(what: str, value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise InputError(f"{what}={value} must be above 0; leave it out for no limit")
    return value


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _words(key: str, value: Any) -> list[str]:
    """Return an option as words of a command line; nothing where it was not given."""
    if value is None:
        return []
    return [f"--{key}", *map(str, value)] if isinstance(value, list) else [f"--{key}", str(value)]
