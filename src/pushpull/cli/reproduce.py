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
from pushpull.reports.tables import dry_run as dry
from pushpull.reports.tables.job import Job
from pushpull.reports.tables.runs import Extent, runs_of, seeds_in
from pushpull.reports.tables.spec import Row, TableFile, checked_seeds, packaged_table, read_table
from pushpull.reports.tables.work import Clock, Means


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
            imagenet100, imagenet200, cifar10-variants, cifar10-confirm.
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
        epochs: another number of epochs than the table's; rows that have a number of their own keep it.
        workers: processes that decode images which do not fit in memory; by default the table's.
        accelerator: auto, cpu, cuda or mps; by default the table's.
        dry_run: two steps of every row and the whole evaluation of two images (or --limit), in a folder of
            its own: does everything work? It continues and stops as the real table does.
        quiet: show no progress of trainings and evaluations.
    """
    clock, most = Clock(_positive("minutes", minutes)), _limit(limit)
    path = packaged_table(table)
    changes = _Changes(data, label, classes, epochs, workers, accelerator)
    file = changes.applied(read_table(path))
    file = dry.shortened(file) if dry_run else file
    folder = writable_folder(Path(output or f"runs/tables/{path.stem}") / ("dry-run" if dry_run else "."))
    chosen = _chosen(file, rows)
    numbers = checked_seeds(seeds, "seeds") if seeds else file.seeds
    config = _data(file, chosen, folder, dry_run)
    splits = load_data(config)
    most = file.limit if most is None else most
    splits = dry.few_images(splits, most) if dry_run else splits
    runs = runs_of([_on(config, row) for row in chosen], numbers, folder)
    alike = [_on(config, row) for row in file.rows if row.recipe.data == chosen[0].recipe.data]
    every = runs_of(alike, sorted({*file.seeds, *numbers, *seeds_in(folder)}), folder)
    words = ["pushpull", "reproduce", table, *changes.words(), *_words("rows", rows), *_words("seeds", seeds)]
    words += [*_words("limit", limit), *_words("minutes", minutes), *_words("output", output)]
    words += ["--dry-run"] if dry_run else []
    means = Means(splits, _extent(most, splits), clock, progress=not quiet)
    job = Job(file, runs, [run for run in every if run not in runs], means, folder, shlex.join(words))
    job.check_textures()
    job.report(job.work())


@dataclass(frozen=True)
class _Changes:
    """What the command line changes of every row's recipe."""

    data: str | None
    label: str | None
    classes: str | None
    epochs: int | None
    workers: int | None
    accelerator: str | None

    def applied(self, file: TableFile) -> TableFile:
        """Return the table with the changes, of which the title names those that make it another table."""
        usual = file.rows[0].recipe.epochs
        rows = tuple(self._row(row, usual) for row in file.rows)
        another = self.epochs is not None and self.epochs != usual
        return replace(
            file, rows=rows, title=f"{file.title} (--epochs {self.epochs})" if another else file.title
        )

    def _row(self, row: Row, usual: int) -> Row:
        """Return a row with the changes; one that trains longer or shorter than usual keeps its epochs."""
        named = {"name": self.data, "label": self.label, "classes": self.classes}
        config = replace(row.recipe.data, **_given(named))
        own = {"workers": self.workers, "accelerator": self.accelerator}
        own |= {"epochs": self.epochs} if row.recipe.epochs == usual else {}
        return replace(row, recipe=replace(row.recipe, data=config, **_given(own)))

    def words(self) -> list[str]:
        """Return them as words of a command line."""
        return [word for key, value in vars(self).items() for word in _words(key, value)]


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


def _chosen(file: TableFile, names: Sequence[str] | None) -> list[Row]:
    """Return the rows that are to be made, each once."""
    if not names:
        return [row for row in file.rows if not row.on_request]
    return list({row.name: row for row in map(file.row, names)}.values())


def _on(config: DataConfig, row: Row) -> Row:
    return replace(row, recipe=replace(row.recipe, data=config))


def _limit(limit: int | None) -> int | None:
    """Return how many test images were asked for, None where nothing was said."""
    remedy = "give a number of images, or leave it out"
    if limit is not None and integer("limit", limit, remedy) < 1:
        raise InputError(f"limit={limit} is below 1; {remedy}")
    return limit


def _extent(limit: int | None, splits: DataSplits) -> Extent:
    """Return how many test images that is of those that there are."""
    there = len(splits.required("test"))
    return Extent(None, there) if limit is None or limit >= there else Extent(limit, limit)


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
