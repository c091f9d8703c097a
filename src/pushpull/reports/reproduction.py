"""A table by one command: its runs one after another, whatever happens to one of them, and its report."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pushpull.corruptions.textures import ENVIRONMENT_VARIABLE, frost_texture_source
from pushpull.data import DataConfig, DataSplits, ImageSplit, load_data
from pushpull.data.decode import usable_cores
from pushpull.data.subsets import read_class_list
from pushpull.errors import InputError, Interrupted, integer, say, signal_of
from pushpull.evaluation.images import stratified_positions
from pushpull.evaluation.results import Results
from pushpull.files import RESULTS, FolderGoneError, InUseError, UnwrittenError, writable_folder, write_text
from pushpull.files.registry import loaded_plugins
from pushpull.reports.comparable import Entry
from pushpull.reports.comparison import Comparison, compare_twins
from pushpull.reports.markup import few, print_tables
from pushpull.reports.report_files import write_table
from pushpull.reports.table_file import TableFile, TableRow, checked_seeds, packaged_table, read_table
from pushpull.reports.table_runs import DRY_RUN, FOLDER, Clock, Run, measured, runs_of, seeds_in
from pushpull.training.callbacks import OutOfTime

_DRY_STEPS, _DRY_BATCH, _DRY_TEST_IMAGES = 2, 8, 2


def reproduce(
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
    size: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
    workers: int | None = None,
    accelerator: str | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> Comparison | None:
    """Make a table: train what is missing, evaluate it on 15 corruptions x 5 severities, compare.

    It may be killed at any moment; the same command continues it. Several processes may share an
    output folder: no two of them work on one run.

    Args:
        table: a table file, or one that comes with the package: cifar10, cifar10-small, cifar10-resnet8,
            cifar10-resnet18, cifar10-offset, cifar10-variants, cifar10-confirm, imagenette-stem,
            imagenet100, imagenet200, imagenet1k.
        rows: only these rows, by name ("AugMix + PP3") or folder (augmix-pp3). By default all but those that
            the table has on request.
        seeds: one network of each row is trained for each; by default the table's.
        minutes: stop cleanly after this many, in the middle of a training too, and say what remains.
        output: folder for the runs and the table; by default runs/tables/NAME.
        data: another place of the data than the table's: a folder or a hub name.
        label: what the table calls the data.
        classes: a text file with one class name or wnid per line: only these classes. Tables of a part of
            ImageNet need one.
        limit: evaluate at most this many test images, the same share of every class; by default the table's.
        epochs: another number of epochs than the table's; rows that have a number of their own keep it.
        size: side in pixels that the networks get their images in; by default the table's.
        resize: shorter side in pixels that images are brought to for evaluation; by default the table's.
        crop: side in pixels of the square that is kept of the middle after that; by default the table's.
        workers: processes that decode images which do not fit in memory; by default the table's.
        accelerator: auto, cpu, cuda or mps; by default the table's.
        dry_run: two steps of every row and the whole evaluation of two images (or --limit), in a folder of
            its own: does everything work? It continues and stops as the real table does.
        quiet: show no progress of trainings and evaluations.

    Returns:
        What stands in the table; None where nothing is measured yet.

    Raises:
        InputError: a mistake in what was given; or runs failed, after the table of the others is written.

    Example:
        pushpull reproduce cifar10-small --minutes 30
    """
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes={minutes} must be above 0; leave it out for no limit")
    remedy = "give a number of images, or leave it out"
    if limit is not None and integer("limit", limit, remedy) < 1:
        raise InputError(f"limit={limit} is below 1; {remedy}")
    clock, path = Clock(minutes), packaged_table(table)
    changes: dict[str, Any] = {"data": data, "label": label, "classes": classes, "epochs": epochs}
    changes |= {"workers": workers, "accelerator": accelerator, "size": size, "resize": resize, "crop": crop}
    file = _changed(read_table(path), changes)
    file = shortened(file) if dry_run else file
    folder = writable_folder(Path(output or f"runs/tables/{path.stem}") / ("dry-run" if dry_run else "."))
    asked = map(file.row, rows) if rows else (row for row in file.rows if not row.on_request)
    chosen = list({row.name: row for row in asked}.values())
    numbers = checked_seeds(seeds, "seeds") if seeds else file.seeds
    config = _data(file, chosen, folder, dry_run)
    splits, most = load_data(config), file.limit if limit is None else limit
    splits = _few_images(splits, most) if dry_run else splits
    there = len(splits.required("test"))
    extent = (None, there) if most is None or most >= there else (most, most)
    rows_there = {
        row.name: replace(row, recipe=replace(row.recipe, data=config))
        for row in file.rows
        if row.recipe.data == chosen[0].recipe.data
    }
    runs = runs_of([rows_there[row.name] for row in chosen], numbers, folder, extent)
    every_seed = sorted({*file.seeds, *numbers, *seeds_in(folder)})
    every = runs_of(list(rows_there.values()), every_seed, folder, extent)
    changes |= {"rows": rows, "seeds": seeds, "limit": limit, "minutes": minutes, "output": output}
    sitting = _Sitting(file, runs, every, folder, _command(table, changes, dry_run))
    sitting.check_textures()
    return sitting.report(sitting.work(splits, clock, progress=not quiet))


def _command(table: str, options: Mapping[str, Any], dry_run: bool) -> str:
    """Return the command that makes, or continues, the table; options that were not given are left out."""
    words = ["pushpull", "reproduce", table]
    for key, value in options.items():
        if value is not None:
            words += [f"--{key}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    words += [word for plugin in loaded_plugins() for word in ("--plugins", plugin)]
    return shlex.join([*words, *(["--dry-run"] if dry_run else [])])


def _changed(file: TableFile, changes: Mapping[str, Any]) -> TableFile:
    """Return the table with what is changed in every recipe; rows with epochs of their own keep them."""
    given = {key: value for key, value in changes.items() if value is not None}
    usual, epochs = file.rows[0].recipe.epochs, given.pop("epochs", None)
    names = {"data": "name"} | {name: name for name in ("label", "classes", "resize", "crop")}
    of_data = {own: given.pop(key) for key, own in names.items() if key in given}

    def changed(row: TableRow) -> TableRow:
        length = {"epochs": epochs} if epochs is not None and row.recipe.epochs == usual else {}
        data = replace(row.recipe.data, **of_data)
        return replace(row, recipe=replace(row.recipe, data=data, **given, **length))

    title = file.title if epochs in (None, usual) else f"{file.title} (--epochs {epochs})"
    return replace(file, rows=tuple(map(changed, file.rows)), title=title)


def _data(file: TableFile, rows: Sequence[TableRow], folder: Path, dry_run: bool) -> DataConfig:
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
            f"{file.title} needs a list of {file.classes} classes, which does not come with this package; "
            "give one with --classes FILE, one wnid per line"
        )
    names = load_data(config).classes[: file.classes]
    say(f"Dry run without --classes: the first {len(names)} classes of {config.name} take their place.")
    return replace(config, classes=str(write_text(folder / "classes.txt", "\n".join(names) + "\n")))


def shortened(table: TableFile) -> TableFile:
    """Return the table with one seed, two test images, and one epoch of two small batches; all else stays."""
    rows = (replace(row, recipe=replace(row.recipe, epochs=1, batch_size=_DRY_BATCH)) for row in table.rows)
    return replace(table, rows=tuple(rows), seeds=table.seeds[:1], limit=_DRY_TEST_IMAGES)


def _few_images(splits: DataSplits, limit: int | None) -> DataSplits:
    """Return the data with images for the steps of a dry run, of the test split where need be."""

    def few(split: ImageSplit, count: int | None) -> ImageSplit:
        if count is None or count >= len(split):
            return split
        return split.subset(stratified_positions(split, count))

    test, label = splits.required("test"), f"{splits.label} ({DRY_RUN})"
    train = few(splits.train or test, _DRY_STEPS * _DRY_BATCH)
    validation = few(splits.validation or test, _DRY_BATCH)
    return replace(
        splits, train=train, validation=validation, test=few(test, limit), note=DRY_RUN, label=label
    )


class _Sitting:
    """The work on a table in an output folder: `runs` are to be done; `every`, reported where it is done."""

    def __init__(
        self, file: TableFile, runs: Sequence[Run], every: Sequence[Run], folder: Path, command: str
    ) -> None:
        self.file, self.runs, self.folder, self.command = file, runs, folder, command
        self.asked = {run.name for run in runs}
        self.stopped: tuple[str, int] | None = None  # where a signal ended the sitting, and which
        self.every = [*runs, *(run for run in every if run.name not in self.asked)]

    def check_textures(self) -> None:
        """Refuse to measure frost with other textures than those in the folder: no table could have both."""
        there, lacking = set(), False
        for run in self.every:
            done = False
            with suppress(InputError):  # `work` or `measured` says it
                results = run.results()
                if results is not None and "frost" in results.corrupted:
                    there.add(results.corruption["frost_textures"])
                done = run.name in self.asked and run.done()
            lacking = lacking or (run.name in self.asked and not done)
        now = frost_texture_source() if there and lacking else None
        if now is not None and now not in there:
            earlier = " and ".join(map(repr, sorted(there)))
            files = self.folder / FOLDER / "*/seed*" / RESULTS
            raise InputError(
                f"frost in {self.folder} was measured with textures {earlier}, but {now!r} would be used "
                f"now; name the folder of the earlier ones ({ENVIRONMENT_VARIABLE}), give another --output, "
                f"or remove {files} to measure everything again"
            )

    def work(self, splits: DataSplits, clock: Clock, *, progress: bool) -> dict[str, str]:
        """Do what is missing, run by run, until the time is over; return which runs failed, and why."""
        failed = {}
        for number, run in enumerate(self.runs, 1):
            said = f"[{number}/{len(self.runs)}] {run.name}"
            try:
                if run.done():
                    continue
                with run.locked():
                    for text in run.complete(splits, clock, progress=progress):
                        say(f"{said}: {text}")
            except InUseError:
                say(f"{said}: another process works on it")
            except OutOfTime:
                say(f"{said}: stopped, the time is over")
                break
            except KeyboardInterrupt as stopped:
                how_far = f"; {said}: {stopped.how_far}" if isinstance(stopped, Interrupted) else ""
                self.stopped = (how_far, signal_of(stopped))
                break
            except (UnwrittenError, FolderGoneError):
                raise  # the others could not be kept either, nor the table
            except InputError as error:
                say(f"{said}: failed: {error}")
                failed[run.name] = str(error)
        return failed

    def report(self, failed: Mapping[str, str]) -> Comparison | None:
        """Write and print the table of all that is done, and what remains; raise where runs failed.

        Args:
            failed: run -> why, of this sitting.
        """
        found, problems = measured(self.every)
        shown = {*found, *(run.row.name for run in self.runs)}
        rows = [row for row in self.file.rows if row.name in shown]
        about = self._about(rows) | self._remains(found, {**failed, **problems})
        comparison = self._comparison(rows, found)
        paths = write_table(comparison, self.folder, about)
        if comparison is not None and comparison.note == DRY_RUN:
            names = ", ".join(row.label for row in comparison.rows)
            say(f"The dry run works for {names}. Errors on so few images mean nothing; the files hold them.")
        elif comparison is not None:
            print_tables(comparison)
        self._say(about, failed)
        say(f"Written: {', '.join(map(str, paths))}")
        if self.stopped is not None:
            done = f"{len(self.runs) - len(about['missing'])} of {len(self.runs)} runs are in {paths[0]}"
            raise Interrupted(f"{done}{self.stopped[0]}", self.stopped[1], go_on=self.command)
        bad = [name for name in about["problems"] if name in about["missing"]]
        if bad:
            raise InputError(f"{len(bad)} of {len(self.runs)} runs failed ({few(bad)}); {paths[0]} says why")
        return comparison

    def _comparison(
        self, rows: Sequence[TableRow], found: Mapping[str, Mapping[int, Results]]
    ) -> Comparison | None:
        entries = [
            Entry(
                row.name, tuple(of for _, of in sorted(seeds.items())), str(self.folder / FOLDER / row.slug)
            )
            for row in rows
            if (seeds := found.get(row.name))
        ]
        if not entries:
            return None
        twins, baseline = {row.name: row.twin for row in rows}, self.file.rows[0].name
        return compare_twins(entries, twins, baseline, title=self.file.title, commands=[self.command])

    def _about(self, rows: Sequence[TableRow]) -> dict[str, Any]:
        """Return what stands beside the figures of these rows, as in table.json."""
        recipes = [row.recipe for row in rows]
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{usable_cores()} cores"
        return {
            "title": self.file.title,
            "facts": [
                ("Network", ", ".join(sorted({recipe.model.name for recipe in recipes}))),
                ("Epochs", ", ".join(map(str, sorted({recipe.epochs for recipe in recipes})))),
                ("Training precision", ", ".join(sorted({recipe.precision for recipe in recipes}))),
                ("Written on", f"{device}; torch {torch.__version__}, Python {platform.python_version()}"),
            ],
            "notes": self.file.notes,
            "command": self.command,
            "recipes": {row.name: row.recipe.to_dict() for row in rows},
        }

    def _remains(
        self, found: Mapping[str, Mapping[int, Results]], problems: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return what of the table is not in it: asked for, tried in vain, and not asked for."""
        lacking = [run for run in self.every if run.recipe.seed not in found.get(run.row.name, {})]
        missing = [run.name for run in lacking if run.name in self.asked]
        others = [run for run in lacking if run.name not in self.asked and not run.row.on_request]
        return {
            "missing": missing,
            "problems": {run.name: problems[run.name] for run in lacking if run.name in problems},
            "unasked": [run.name for run in others if run.recipe.seed in self.file.seeds],
            "complete": not missing,
        }

    def _say(self, about: Mapping[str, Any], failed: Mapping[str, str]) -> None:
        """Print what remains to be done and how to go on, and what `work` has not said of problems."""
        for name, reason in about["problems"].items():
            if name not in failed:
                say(f"{name} is not in the table: {reason}")
        names = [name for name in about["missing"] if name not in about["problems"]]
        if names:
            count = f"{len(names)} of {len(self.runs)}"
            say(f"{count} runs remain ({few(names)}). Go on with:\n  {self.command}")
        if about["unasked"]:
            say(f"{len(about['unasked'])} more runs of the table are not done ({few(about['unasked'])}).")
