"""A baseline and other models side by side: every figure of the table, with its spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pushpull.errors import InputError
from pushpull.reports.columns import NET_REDUCTION, Column
from pushpull.reports.entries import UNNAMED, Entry, load_entry
from pushpull.reports.estimate import Estimate
from pushpull.reports.measures import Trial, curves, select_columns, trials, value
from pushpull.reports.notes import footnotes, pairing
from pushpull.reports.setting import Setting, both, require_same, setting_of

SCHEMA = "pushpull-comparison/1"


@dataclass(frozen=True)
class Row:
    """One model.

    Args:
        label: what tables call it; unique in a comparison.
        source: where its results came from.
        is_baseline: whether the others are compared with it.
        pairing: how its seeds were set against the baseline's.
        models: what ran, one a seed (the `model` section of results.json).
        preprocessing: the network's mean, std and size.
        versions: package versions, one set a seed.
        values: column key -> figure, errors as fractions in [0, 1]; a column that is not defined is absent.
        differences: column key -> figure minus the baseline's, empty for the baseline.
        curves: "mean", family and corruption -> one error a severity.
    """

    label: str
    source: str
    is_baseline: bool
    pairing: str
    models: tuple[dict[str, Any], ...]
    preprocessing: dict[str, Any]
    versions: tuple[dict[str, str], ...]
    values: dict[str, Estimate]
    differences: dict[str, Estimate]
    curves: dict[str, tuple[Estimate, ...]]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The training seed of each result; None where it has none."""
        return tuple(model["seed"] for model in self.models)


@dataclass(frozen=True)
class Comparison:
    """Rows (the baseline first) and columns, with what was measured and what a reader must know.

    Args:
        title: heading of the report.
        setting: data and corruptions, the same for every row.
        note: "demonstration, not evidence" where the data is only that, else None.
        columns: those that are defined here, in table order.
        rows: the baseline, then the runs in the order given.
        footnotes: conventions, and why a column is missing.
        commands: the commands that made it, for the report.
    """

    title: str
    setting: Setting
    note: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]
    commands: tuple[str, ...] = field(default=())

    def group(self, *groups: str) -> tuple[Column, ...]:
        """The columns of these groups ("main", "family", "corruption", "extra")."""
        return tuple(column for column in self.columns if column.group in groups)

    def best(self, column: Column) -> frozenset[str]:
        """Labels of the rows with the best printed value (one decimal) of a column; several in a tie."""
        values = {row.label: round(row.values[column.key].mean * column.factor, 1) for row in self.rows}
        best = min(values.values()) if column.lower_is_better else max(values.values())
        return frozenset(label for label, value in values.items() if value == best)

    def to_json(self) -> dict[str, Any]:
        """JSON values of everything; no NaN."""
        return {"schema": SCHEMA, **asdict(self)}


def compare(
    baseline: Entry | Path | str,
    runs: Sequence[Entry | Path | str],
    *,
    title: str | None = None,
    commands: Sequence[str] = (),
) -> Comparison:
    """Set models against a baseline, figure by figure.

    Figures of several seeds are their mean and sample standard deviation. R_net and the differences are
    computed a seed at a time: against the baseline's result of the same seed where both have the same seeds,
    else against the baseline's mean over seeds. mCE and relative mCE vs baseline always divide by that mean.

    Args:
        baseline: a run folder, a results.json, a folder of run folders (seeds of one model), or an `Entry`.
        runs: the same, at least one.
        title: heading of the report; by default it names the models.
        commands: commands that made the results, printed in the report.

    Raises:
        InputError: a result is not complete, two were not measured alike, or something is named twice.
        MissingFileError: a path holds no results.
    """
    entries = [entry if isinstance(entry, Entry) else load_entry(entry) for entry in (baseline, *runs)]
    if len(entries) < 2:
        raise InputError("only a baseline was given; name at least one run: pushpull compare BASELINE RUN...")
    labels = _unique_labels(entries)
    setting = _common_setting(entries)
    every = [trials(entries[0], entry) for entry in entries]
    columns, omitted = select_columns(setting, [trial for group in every for trial in group])
    return Comparison(
        title=title
        or f"{', '.join(labels[1:]) if len(labels) < 5 else f'{len(labels) - 1} models'} against {labels[0]}",
        setting=setting,
        note=entries[0].results[0].data["note"],
        columns=columns,
        rows=_rows(entries, labels, every, columns, setting),
        footnotes=footnotes(setting, columns, omitted, entries),
        commands=tuple(commands),
    )


_Figures = tuple[dict[str, Estimate], dict[str, Estimate], dict[str, tuple[Estimate, ...]]]


def _figures(
    columns: Sequence[Column], setting: Setting, group: Sequence[Trial], is_baseline: bool
) -> _Figures:
    """Values, differences and curves of one row."""
    values = {column.key: Estimate.of([value(column, trial) for trial in group]) for column in columns}
    differences = {}
    if is_baseline:
        # Zero by definition: a spread of 0.0 beside it would look like a measurement.
        if NET_REDUCTION.key in values:
            values[NET_REDUCTION.key] = Estimate(0.0, None, len(group))
    else:
        differences = {
            column.key: Estimate.of(
                [value(column, trial) - value(column, trial.of_baseline()) for trial in group]
            )
            for column in columns
        }
    by_severity = {
        name: tuple(Estimate.of(of_trials) for of_trials in points)
        for name, points in curves(setting, group).items()
    }
    return values, differences, by_severity


def _rows(
    entries: Sequence[Entry],
    labels: Sequence[str],
    every: Sequence[Sequence[Trial]],
    columns: Sequence[Column],
    setting: Setting,
) -> tuple[Row, ...]:
    baseline = entries[0]
    return tuple(
        _row(baseline, entry, label, _figures(columns, setting, group, entry is baseline))
        for entry, label, group in zip(entries, labels, every, strict=True)
    )


def _row(baseline: Entry, entry: Entry, label: str, figures: _Figures) -> Row:
    values, differences, by_severity = figures
    first = entry.results[0]
    return Row(
        label=label,
        source=entry.source,
        is_baseline=entry is baseline,
        pairing=pairing(baseline, entry),
        models=tuple(dict(result.model) for result in entry.results),
        preprocessing=dict(first.preprocessing),
        versions=tuple(dict(result.versions) for result in entry.results),
        values=values,
        differences=differences,
        curves=by_severity,
    )


def _common_setting(entries: Sequence[Entry]) -> Setting:
    """The setting that all results share; others are refused, the first difference named."""
    named = []
    for entry in entries:
        for result in entry.results:
            name = f"{entry.source} ({result.label})"
            named.append((name, setting_of(result, name)))
            # Not against the first alone: two runs in memory must agree though a set on disk came first.
            for earlier_name, earlier in named[:-1]:
                require_same(earlier, earlier_name, named[-1][1], name)
    common = named[0][1]
    for _, setting in named[1:]:
        common = both(common, setting)
    return common


def _unique_labels(entries: Sequence[Entry]) -> list[str]:
    """Labels, with the source where two rows would be called the same; a source given twice is refused."""
    sources = [entry.source for entry in entries]
    twice = [source for source in sources if sources.count(source) > 1 and source != UNNAMED]
    if twice:
        raise InputError(f"{twice[0]} was given more than once; name the baseline and each run once")
    labels = [entry.label for entry in entries]
    unique = [
        f"{entry.label} ({entry.source})" if labels.count(entry.label) > 1 else entry.label
        for entry in entries
    ]
    if len(set(unique)) < len(unique):
        raise InputError(f"two rows are called {max(unique, key=unique.count)!r}; give them different labels")
    return unique
