"""From results to a table's figures: means over seeds, and differences between rows, paired by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.evaluation import metrics
from pushpull.evaluation.results import SEVERITIES, Results
from pushpull.reports.columns import (
    CLEAN_ERROR,
    MCE_ALEXNET,
    MEAN_CORRUPTION_ERROR,
    NET_REDUCTION,
    Column,
    corruption_column,
    family_column,
)
from pushpull.reports.estimate import Estimate
from pushpull.reports.measures import is_imagenet
from pushpull.reports.setting import Setting, require_same, setting_of

Seeds = Mapping[int, Results]


@dataclass(frozen=True)
class RowFigures:
    """The figures of one row.

    Args:
        name: what the table calls it.
        seeds: those that are measured.
        values: column key -> figure over these seeds, errors as fractions.
        twin: the row that it is paired with; None: none, or nothing of it is measured.
        paired_seeds: those that both have.
        differences: column key -> the row's figure minus its twin's of the same seed, over these seeds.
        baseline_seeds: seeds over which R_net is: those that the row and the baseline have, but for those
            where the baseline makes no error, which R_net divides by.
    """

    name: str
    seeds: tuple[int, ...]
    values: dict[str, Estimate]
    twin: str | None = None
    paired_seeds: tuple[int, ...] = ()
    differences: dict[str, Estimate] = field(default_factory=dict)
    baseline_seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableFigures:
    """All figures of a table.

    Args:
        setting: data and corruptions, the same for every row.
        note: what the data's own warning is, or None.
        columns: which figures there are, in their order.
        rows: those of which something is measured; the baseline first, where it is.
        baseline: the row that R_net is against; None: nothing of it is measured.
    """

    setting: Setting
    note: str | None
    columns: tuple[Column, ...]
    rows: tuple[RowFigures, ...]
    baseline: str | None


def table_figures(
    measured: Mapping[str, Seeds], twins: Mapping[str, str | None], baseline: str
) -> TableFigures | None:
    """Return the figures of a table, None where nothing is measured.

    Args:
        measured: row -> seed -> complete results; rows without any are left out.
        twins: row -> the row that it is paired with, or None.
        baseline: the row that R_net is against.

    Raises:
        InputError: two results were not measured alike.
    """
    measured = {name: dict(sorted(seeds.items())) for name, seeds in measured.items() if seeds}
    if not measured:
        return None
    setting = _setting(measured)
    columns = _columns(setting)
    single = {
        name: {seed: _figures(results, is_imagenet(setting)) for seed, results in seeds.items()}
        for name, seeds in measured.items()
    }
    rows = tuple(_row(name, single, twins.get(name), baseline) for name in single)
    some = next(iter(next(iter(measured.values())).values()))
    return TableFigures(setting, some.data["note"], columns, rows, baseline if baseline in single else None)


def _columns(setting: Setting) -> tuple[Column, ...]:
    alexnet = (MCE_ALEXNET,) if is_imagenet(setting) else ()
    families = map(family_column, ("noise", "blur", "weather", "digital"))
    every = (corruption_column(name, SEVERITIES) for name in CORRUPTIONS)
    return (CLEAN_ERROR, MEAN_CORRUPTION_ERROR, NET_REDUCTION, *alexnet, *families, *every)


def _figures(results: Results, alexnet: bool) -> dict[str, float]:
    """Return the figures of one network, all but R_net, which is against another."""
    errors = results.errors()
    figures = {
        CLEAN_ERROR.key: results.clean_error,
        MEAN_CORRUPTION_ERROR.key: metrics.mean_corruption_error(errors),
        **{family_column(name).key: error for name, error in metrics.family_errors(errors).items()},
        **{name: fmean(errors[name]) for name in CORRUPTIONS},
    }
    if alexnet:
        figures[MCE_ALEXNET.key] = metrics.mce(errors, "alexnet")
    return figures


_Figures = Mapping[str, Mapping[int, Mapping[str, float]]]


def _row(name: str, single: _Figures, twin: str | None, baseline: str) -> RowFigures:
    own = single[name]
    values = _over(own.values())
    of_baseline = {
        seed: figures for seed, figures in single.get(baseline, {}).items() if figures[CLEAN_ERROR.key] > 0
    }
    both = tuple(seed for seed in own if seed in of_baseline)
    if both and baseline == name:
        values[NET_REDUCTION.key] = Estimate(0.0, None, len(both))  # zero by definition, not by measurement
    elif both:
        reductions = [_net_reduction(own[seed], of_baseline[seed]) for seed in both]
        values[NET_REDUCTION.key] = Estimate.of(reductions)
    of_twin = single.get(twin, {}) if twin is not None else {}
    paired = tuple(seed for seed in own if seed in of_twin)
    differences = {}
    if paired:
        differences = _over(
            {key: own[seed][key] - of_twin[seed][key] for key in own[seed]} for seed in paired
        )
        if both and set(paired) <= set(both) and twin is not None:
            steps = [
                _net_reduction(own[seed], of_baseline[seed])
                - _net_reduction(of_twin[seed], of_baseline[seed])
                for seed in paired
            ]
            differences[NET_REDUCTION.key] = Estimate.of(steps)
    return RowFigures(
        name=name,
        seeds=tuple(own),
        values=values,
        twin=twin if paired else None,
        paired_seeds=paired,
        differences=differences,
        baseline_seeds=both,
    )


def _net_reduction(own: Mapping[str, float], base: Mapping[str, float]) -> float:
    clean, mean = CLEAN_ERROR.key, MEAN_CORRUPTION_ERROR.key
    return metrics.net_reduction(own[clean], own[mean], base[clean], base[mean])


def _over(figures: Iterable[Mapping[str, float]]) -> dict[str, Estimate]:
    """Return the estimate of each figure over several networks."""
    every = list(figures)
    return {key: Estimate.of([one[key] for one in every]) for key in every[0]}


def _setting(measured: Mapping[str, Seeds]) -> Setting:
    """Return the setting of all results; the first that differs is refused by name."""
    first: tuple[str, Setting] | None = None
    for name, seeds in measured.items():
        for seed, results in seeds.items():
            here = f"{name} seed {seed}"
            setting = setting_of(results, here)
            if first is None:
                first = here, setting
            else:
                require_same(first[1], first[0], setting, here)
    if first is None:
        raise InputError("no results; train and evaluate a row first")
    return first[1]
