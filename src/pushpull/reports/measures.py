"""The value of each column for one result, set against the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.errors import InputError
from pushpull.evaluation import metrics
from pushpull.evaluation.results import SEVERITIES, Results
from pushpull.reports import columns as define
from pushpull.reports.columns import Column
from pushpull.reports.entries import Entry
from pushpull.reports.setting import Setting


@dataclass(frozen=True)
class Measured:
    """Top-1 errors of one result, or their means over several, in [0, 1]; NaN where not measured."""

    errors: Mapping[str, Sequence[float]]
    clean: float | None

    @classmethod
    def of(cls, results: Sequence[Results]) -> Measured:
        """The errors of one result, or the mean of several that were measured alike."""
        every = [result.errors() for result in results]
        errors = {
            name: [fmean(values) for values in zip(*(one[name] for one in every), strict=True)]
            for name in every[0]
        }
        clean = None if results[0].clean is None else fmean(result.clean_error for result in results)
        return cls(errors, clean)


@dataclass(frozen=True)
class Trial:
    """One result and what it is set against.

    Args:
        own: its errors.
        paired: the baseline's of the same seed, where both have the same seeds; else the baseline's mean.
        mean: the baseline's mean over its seeds.
    """

    own: Measured
    paired: Measured
    mean: Measured

    def of_baseline(self) -> Trial:
        """The same trial with the baseline in the result's place."""
        return Trial(self.paired, self.paired, self.mean)


def is_paired(baseline: Entry, entry: Entry) -> bool:
    """Whether both have the same seeds, all of them known."""
    return None not in baseline.seeds and sorted(map(str, baseline.seeds)) == sorted(map(str, entry.seeds))


def trials(baseline: Entry, entry: Entry) -> list[Trial]:
    """One trial for each result of `entry`; the baseline's own are each set against themselves."""
    mean = Measured.of(baseline.results)
    if entry is baseline:
        alone = [Measured.of([result]) for result in entry.results]
        return [Trial(one, one, mean) for one in alone]
    pairs: dict[int | None, Measured] = {}
    if is_paired(baseline, entry):
        pairs = {result.model["seed"]: Measured.of([result]) for result in baseline.results}
    return [
        Trial(Measured.of([result]), pairs.get(result.model["seed"], mean), mean) for result in entry.results
    ]


def value(column: Column, trial: Trial) -> float:
    """The stored value of a column: a fraction, a ratio, or for R_net percent.

    Raises:
        InputError: it is not defined for these errors.
    """
    if column.key in _MAIN:
        return _MAIN[column.key](trial)
    if column.group == "family":
        return metrics.mean_corruption_error(trial.own.errors, FAMILIES[column.title])
    return fmean(error for error in trial.own.errors[column.key] if not math.isnan(error))


def _clean(measured: Measured) -> float:
    if measured.clean is None:
        raise InputError("the clean images were not measured")
    return measured.clean


def _net_reduction(trial: Trial) -> float:
    own, base = trial.own, trial.paired
    mean, base_mean = metrics.mean_corruption_error(own.errors), metrics.mean_corruption_error(base.errors)
    return metrics.net_reduction(_clean(own), mean, _clean(base), base_mean)


# The ratios divide by the baseline's mean over seeds, not by one seed's errors: a small error of one seed in
# a denominator would make them wild.
_MAIN: dict[str, Callable[[Trial], float]] = {
    define.CLEAN_ERROR.key: lambda trial: _clean(trial.own),
    define.MEAN_CORRUPTION_ERROR.key: lambda trial: metrics.mean_corruption_error(trial.own.errors),
    define.MEAN_OF_SET.key: lambda trial: metrics.mean_corruption_error(trial.own.errors, trial.own.errors),
    define.MCE_ALEXNET.key: lambda trial: metrics.mce(trial.own.errors, "alexnet"),
    define.MCE_BASELINE.key: lambda trial: metrics.mce(trial.own.errors, trial.mean.errors),
    define.RELATIVE_MCE_BASELINE.key: lambda trial: metrics.relative_mce(
        trial.own.errors, _clean(trial.own), trial.mean.errors, _clean(trial.mean)
    ),
    define.NET_REDUCTION.key: _net_reduction,
}


def select_columns(setting: Setting, every: Sequence[Trial]) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns that are defined for all trials, and one sentence for each kind that is left out."""
    candidates, reasons = _candidates(setting)
    chosen = []
    for column in candidates:
        try:
            for trial in every:
                value(column, trial)
        except InputError as error:
            reasons.append(f"{column.title} is not shown: {error}.")
        else:
            chosen.append(column)
    return tuple(chosen), tuple(reasons)


def _candidates(setting: Setting) -> tuple[list[Column], list[str]]:
    """Columns by what was measured, with the reasons for those that cannot be there."""
    found: list[Column] = list(define.MAIN_COLUMNS)
    reasons = []
    if setting.clean_images is None:
        found = [column for column in found if column not in _NEED_CLEAN]
        reasons.append("E, relative mCE and R_net are not shown: the clean images were not measured.")
    whole = setting.severities == SEVERITIES
    if not whole or not set(CORRUPTIONS) <= set(setting.corruptions):
        found = [column for column in found if column is define.CLEAN_ERROR]
        count = len(set(CORRUPTIONS) & set(setting.corruptions))
        reasons.append(
            "Mean corruption error, mCE and R_net are not shown: means need all 15 x 5; measured were "
            f"{count} of the 15 corruptions at severity {', '.join(map(str, setting.severities))}."
        )
    elif not is_imagenet(setting):
        found.remove(define.MCE_ALEXNET)
        reasons.append(
            "mCE vs AlexNet is not shown: it is defined for ImageNet-C only (severity scale imagenet, "
            f"1000 classes); here the scale is {setting.scale} and there are {len(setting.classes)} classes."
        )
    if whole and not set(CORRUPTIONS) & set(setting.corruptions):
        found.append(define.MEAN_OF_SET)
    if whole:
        found += [
            define.family_column(name) for name in FAMILIES if set(FAMILIES[name]) <= set(setting.corruptions)
        ]
    found += [define.corruption_column(name, setting.severities) for name in setting.corruptions]
    return found, reasons


_NEED_CLEAN = (define.CLEAN_ERROR, define.RELATIVE_MCE_BASELINE, define.NET_REDUCTION)


def is_imagenet(setting: Setting) -> bool:
    """Whether dividing by AlexNet's errors means anything."""
    return setting.scale == "imagenet" and len(setting.classes) == 1000


def curves(setting: Setting, every: Sequence[Trial]) -> dict[str, list[list[float]]]:
    """Errors by severity: name -> one list for each severity, with one value a trial.

    The names are the corruptions, the families of which all members were measured, and "mean" (all 15).
    """
    sets: dict[str, tuple[str, ...]] = {name: (name,) for name in setting.corruptions}
    sets |= {**FAMILIES, "mean": CORRUPTIONS}
    return {
        name: [
            [fmean(trial.own.errors[member][severity - 1] for member in members) for trial in every]
            for severity in setting.severities
        ]
        for name, members in sets.items()
        if set(members) <= set(setting.corruptions)
    }
