"""Runs side by side: every figure of every row, its spread over seeds, its difference to another row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.errors import InputError
from pushpull.evaluation.results import Results
from pushpull.reports import columns as define
from pushpull.reports.columns import NET_REDUCTION, Column, Errors, Estimate, seeds_text, value
from pushpull.reports.comparable import (
    Entry,
    Run,
    Setting,
    as_list,
    common_setting,
    load_entry,
    measured_columns,
    unique_labels,
)
from pushpull.reports.shown import Shown, footnotes, image_notes, pairing, seed_notes, twin_notes

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA = "pushpull-comparison/1"
FRAME_COLUMNS = ("row", "minus", "figure", "convention", "unit", "seeds", "mean", "std", "low95", "high95")

# One result's errors; those that are subtracted from them; those of the baseline that R_net is against.
_Trial = tuple[Errors, Errors | None, Errors | None]
# What all rows share: columns, the baseline's mean over its seeds, and its label.
_Frame = tuple[Setting, Sequence[Column], Errors | None, str]


@dataclass(frozen=True)
class Row:
    """One model, or one row of a table.

    Args:
        label: what tables call it; unique in a comparison.
        source: where its results came from.
        is_baseline: whether R_net, and in `compare` the differences, are against it.
        pairing: how its seeds were set against the other row's, in words.
        models: what ran, one per seed (the `model` section of results.json).
        preprocessing: the network's mean, std and size.
        versions: package versions, one set per seed.
        values: column key -> figure over all seeds, errors as fractions in [0, 1]; a column that is not
            defined is absent.
        differences: column key -> figure minus that of `against`, over `paired_seeds`; empty without one.
        curves: "mean", family and corruption -> one error per severity.
        against: label of the row that the differences are against; None: there are none.
        paired_seeds: seeds that the differences are over.
        baseline_seeds: seeds that R_net is over.
        entry: the results that it was made from; in no file.
    """

    label: str
    source: str
    is_baseline: bool
    pairing: str
    models: tuple[Mapping[str, Any], ...]
    preprocessing: Mapping[str, Any]
    versions: tuple[Mapping[str, str], ...]
    values: dict[str, Estimate]
    differences: dict[str, Estimate]
    curves: dict[str, tuple[Estimate, ...]]
    against: str | None = None
    paired_seeds: tuple[int | None, ...] = ()
    baseline_seeds: tuple[int | None, ...] = ()
    entry: Entry | None = None

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The training seed of each result; None where it has none."""
        return tuple(model["seed"] for model in self.models)


@dataclass(frozen=True)
class Comparison(Shown):
    """Rows and columns, with what was measured and what a reader must know.

    Args:
        title: heading of the report.
        setting: data and corruptions, the same for every row.
        note: "demonstration, not evidence" where the data is only that, else None.
        columns: those that are defined here, in table order.
        rows: in the order given; of `compare`, the baseline first.
        footnotes: conventions, and why a column is missing.
        commands: the commands that made it, for the report.
        intervals: whether tables print 95 % intervals, and differences in tables of their own; else standard
            deviations.
        lead: what the page says first, a sentence each.
        per_severity: whether tables of each row's errors by corruption and severity are shown too.
    """

    title: str
    setting: Setting
    note: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]
    commands: tuple[str, ...] = ()
    intervals: bool = False
    lead: tuple[str, ...] = ()
    per_severity: bool = False

    def group(self, *groups: str) -> tuple[Column, ...]:
        """Return the columns of these groups ("main", "family", "corruption", "extra")."""
        return tuple(column for column in self.columns if column.group in groups)

    def best(self, column: Column) -> frozenset[str]:
        """Return the labels of the rows with a column's best printed value (one decimal), all in a tie."""
        key, of = column.key, {row.label: row.values for row in self.rows if column.key in row.values}
        values = {label: round(estimates[key].mean * column.factor, 1) for label, estimates in of.items()}
        best = (min if column.lower_is_better else max)(values.values(), default=None)
        return frozenset(label for label, value in values.items() if value == best)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; no NaN."""
        bare = replace(self, rows=tuple(replace(row, entry=None) for row in self.rows))
        values = asdict(bare)
        for row in values["rows"]:
            del row["entry"]
        return {"schema": SCHEMA, **values}

    def to_dataframe(self) -> DataFrame:
        """Return one line for each figure, and one for each difference, as a pandas data frame.

        Returns:
            Columns row, minus (empty, or the row that is subtracted), figure (a column's key), convention,
            unit (fraction, ratio or percent), seeds, mean, std, low95 and high95, the 95 % interval of the
            mean by Student's t; these three are NaN for a single seed.
        """
        import pandas  # a third of a second

        lines: list[tuple[object, ...]] = []
        for row in self.rows:
            kinds = ("", row.seeds, row.values), (row.against or "", row.paired_seeds, row.differences)
            for minus, seeds, estimates in kinds:
                for column in (column for column in self.columns if column.key in estimates):
                    of = row.baseline_seeds if column is NET_REDUCTION and not minus else seeds
                    names = row.label, minus, column.key, column.metric, column.unit, seeds_text(of)
                    one = estimates[column.key]
                    half, std = (math.nan if x is None else x for x in (one.half_width(), one.std))
                    lines.append((*names, one.mean, std, one.mean - half, one.mean + half))
        return pandas.DataFrame(lines, columns=list(FRAME_COLUMNS))


def compare(
    baseline: Run,
    runs: Sequence[Run] | Run,
    *,
    title: str | None = None,
    commands: Sequence[str] = (),
    adapted: bool = False,
) -> Comparison:
    """Compare models with a baseline, figure by figure.

    Figures of several seeds are their mean and sample standard deviation. R_net and the differences are
    computed seed by seed: against the baseline's result of the same seed where both have the same seeds,
    else against the baseline's mean over seeds. mCE and relative mCE vs baseline always divide by that mean.
    `pushpull.evaluation.metrics` has the formulas and their sources.

    Args:
        baseline: a run folder, a results.json, a folder of run folders (seeds of one model), `Results`,
            or an `Entry`.
        runs: the same, at least one.
        title: heading of the report; by default it names the models.
        commands: commands that made the results, printed in the report.
        adapted: networks that were adapted to the test images (`evaluate(..., adapt="bn")`) may stand beside
            others.

    Returns:
        The rows, the baseline first; for `to_dataframe()`, `write_report` and the like.

    Raises:
        InputError: a result is not complete, two were not measured in the same way, or one is named twice.
        MissingFileError: a path holds no results.

    >>> both = compare("runs/plain", ["runs/pp3"])  # doctest: +SKIP
    >>> both.rows[1].differences["fog"].text(signed=True)  # doctest: +SKIP
    '−2.3 ± 0.4'
    """
    runs = as_list(runs)
    if not runs:
        raise InputError("only a baseline was given; name at least one run: pushpull compare BASELINE RUN...")
    return side_by_side([baseline, *runs], title=title, commands=commands, adapted=adapted)


def side_by_side(
    runs: Sequence[Run],
    *,
    title: str | None = None,
    commands: Sequence[str] = (),
    adapted: bool = False,
) -> Comparison:
    """Do what `compare` does, the first run being the baseline; of a single run its own figures alone.

    Args:
        runs: at least one.
        title, commands, adapted: as for `compare`.
    """
    entries = [load_entry(run) for run in runs]
    labels = unique_labels(entries)
    named = ((f"{entry.source} ({result.label})", result) for entry in entries for result in entry.results)
    setting = common_setting(named, adapted=adapted)
    first = entries[0]
    mean = _errors(first.results)
    every = [_against_baseline(entry, first, mean) for entry in entries]
    columns, omitted = _defined_columns(setting, [trial for trials in every for trial in trials], mean)
    epochs = {result.label: result.model.get("epochs") for entry in entries for result in entry.results}
    unfinished = [f"{label} is not finished: {done} epochs" for label, done in epochs.items() if done]
    rows = (
        _row(entry, label, trials, labels[0], pairing(first, entry), (setting, columns, mean, labels[0]))
        for entry, label, trials in zip(entries, labels, every, strict=True)
    )
    over_images = image_notes(entries, labels)
    others = ", ".join(labels[1:]) if len(labels) < 5 else f"{len(labels) - 1} models"
    return Comparison(
        title=title or (f"{others} against {labels[0]}" if others else f"How robust is {labels[0]}?"),
        setting=setting,
        note="; ".join(filter(None, [first.results[0].data["note"], *unfinished])) or None,
        columns=columns,
        rows=tuple(rows),
        footnotes=footnotes(setting, columns, entries, [*omitted, *seed_notes(entries), *over_images]),
        commands=tuple(commands),
    )


def compare_twins(
    entries: Sequence[Entry],
    twins: Mapping[str, str | None],
    baseline: str,
    *,
    title: str = "",
    commands: Sequence[str] = (),
) -> Comparison:
    """Set each row of a table against its twin, seed by seed, over the seeds that both have.

    R_net is against the baseline, over the seeds that the row and the baseline have, but for those where the
    baseline makes no error, which R_net divides by. All figures have 95 % intervals.

    Args:
        entries: the rows, by their labels; each with complete results of the 15 corruptions x 5 severities.
        twins: label -> label of the row that it is paired with, or None.
        baseline: label of the row that R_net is against; need not be among the entries.
        title: heading.
        commands: what makes the table.

    Returns:
        One row for each entry, in their order.

    Raises:
        InputError: no entry, or two results were not measured in the same way.
    """
    if not entries:
        raise InputError("no results; train and evaluate a row first")
    setting = common_setting(
        (f"{entry.label} seed {seed}", result)
        for entry in entries
        for seed, result in zip(entry.seeds, entry.results, strict=True)
    )
    against_mean = (define.MCE_BASELINE, define.RELATIVE_MCE_BASELINE)
    columns = [column for column in measured_columns(setting)[0] if column not in against_mean]
    rows = _twin_rows(entries, twins, (setting, columns, None, baseline))
    notes = twin_notes({row.label: (row.seeds, row.baseline_seeds) for row in rows}, baseline)
    note, said = entries[0].results[0].data["note"], footnotes(setting, columns, entries, notes)
    return Comparison(title, setting, note, tuple(columns), rows, said, tuple(commands), intervals=True)


def _twin_rows(entries: Sequence[Entry], twins: Mapping[str, str | None], frame: _Frame) -> tuple[Row, ...]:
    errors = {entry.label: _errors_by_seed(entry) for entry in entries}
    bases = {seed: base for seed, base in errors.get(frame[-1], {}).items() if base[1]}
    rows = []
    for entry in entries:
        twin = twins.get(entry.label)
        of_twin = errors.get(twin or "", {})
        trials = [(own, of_twin.get(seed), bases.get(seed)) for seed, own in errors[entry.label].items()]
        said = "paired by seed" if any(partner for _, partner, _ in trials) else ""
        rows.append(_row(entry, entry.label, trials, twin, said, frame))
    return tuple(rows)


def _row(
    entry: Entry, label: str, trials: Sequence[_Trial], against: str | None, said: str, frame: _Frame
) -> Row:
    setting, columns, mean, baseline = frame
    values, differences = _estimates(columns, trials, mean, label == baseline)
    paired, based = (
        tuple(seed for seed, trial in zip(entry.seeds, trials, strict=True) if trial[of] is not None)
        for of in (1, 2)
    )
    return Row(
        label=label,
        source=entry.source,
        is_baseline=label == baseline,
        pairing=said,
        models=tuple(dict(result.model) for result in entry.results),
        preprocessing=dict(entry.results[0].preprocessing),
        versions=tuple(dict(result.versions) for result in entry.results),
        values=values,
        differences=differences,
        curves=_curves(setting, [own for own, _, _ in trials]),
        against=against if paired else None,
        paired_seeds=paired,
        baseline_seeds=based,
        entry=entry,
    )


def _estimates(
    columns: Sequence[Column], trials: Sequence[_Trial], mean: Errors | None, is_baseline: bool
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return the values and the differences of one row, by column."""
    values, differences = {}, {}
    for column in columns:
        reduction = column is NET_REDUCTION
        with_base = [trial for trial in trials if trial[2] is not None or not reduction]
        found = [value(column, own, base, mean) for own, _, base in with_base]
        if found:
            # Zero by definition: a spread of 0.0 beside it would look like a measurement.
            of_itself = reduction and is_baseline
            values[column.key] = Estimate(0.0, None, len(found)) if of_itself else Estimate.of(found)
        pairs = [(own, partner, base) for own, partner, base in trials if partner is not None]
        # Over the seeds of the other differences, or not at all.
        if pairs and not (reduction and any(base is None for _, _, base in pairs)):
            differences[column.key] = Estimate.of(
                value(column, own, base, mean) - value(column, partner, base, mean)
                for own, partner, base in pairs
            )
    return values, differences


def _errors(results: Sequence[Results]) -> Errors:
    """The errors of one result, or the means of several that were measured in the same way."""
    every = [result.errors() for result in results]
    errors = {
        name: [fmean(values) for values in zip(*(one[name] for one in every), strict=True)]
        for name in every[0]
    }
    clean = None if results[0].clean is None else fmean(result.clean_error for result in results)
    return errors, clean


def _against_baseline(entry: Entry, baseline: Entry, mean: Errors) -> list[_Trial]:
    """Each result against the baseline's of the same seed where both have the same seeds, else its mean."""
    own = [_errors([result]) for result in entry.results]
    if entry is baseline:
        return [(one, None, one) for one in own]
    partners = _errors_by_seed(baseline) if entry.is_paired_with(baseline) else {}
    others = [partners.get(seed, mean) for seed in entry.seeds]
    return [(one, other, other) for one, other in zip(own, others, strict=True)]


def _errors_by_seed(entry: Entry) -> dict[int | None, Errors]:
    return {seed: _errors([result]) for seed, result in zip(entry.seeds, entry.results, strict=True)}


def _defined_columns(
    setting: Setting, trials: Sequence[_Trial], mean: Errors
) -> tuple[tuple[Column, ...], list[str]]:
    """The columns that are defined for all trials, and one sentence for each kind that is left out."""
    candidates, reasons = measured_columns(setting)
    if all(base is None or base is own for own, _, base in trials):  # no row but the baseline
        candidates = [column for column in candidates if column not in define.AGAINST_BASELINE]
    chosen = []
    for column in candidates:
        try:
            for own, _, base in trials:
                value(column, own, base, mean)
            chosen.append(column)
        except InputError as error:
            reasons.append(f"{column.title} is not shown: {error}.")
    return tuple(chosen), reasons


def _curves(setting: Setting, every: Sequence[Errors]) -> dict[str, tuple[Estimate, ...]]:
    """Errors by severity: of corruptions, of families that were measured whole, and "mean" (all 15)."""
    sets: dict[str, tuple[str, ...]] = {name: (name,) for name in setting.corruptions}
    sets |= {**FAMILIES, "mean": CORRUPTIONS}
    return {
        name: tuple(
            Estimate.of([fmean(errors[member][severity - 1] for member in members) for errors, _ in every])
            for severity in setting.severities
        )
        for name, members in sets.items()
        if set(members) <= set(setting.corruptions)
    }
