"""One model over several sets: C, C-bar, P, A, R, Sketch, V2; every figure with its convention.

The figures that need a baseline are those of the survey of Wang et al., "The Robustness of Computer Vision
Models against Common Corruptions", 2023, which takes a ResNet-18 for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pushpull.corruptions import CORRUPTIONS
from pushpull.errors import InputError
from pushpull.evaluation import metrics
from pushpull.evaluation.results import SEVERITIES, Results
from pushpull.evaluation.stability import FILE, Stability
from pushpull.reports.comparable import require_same, setting_of

if TYPE_CHECKING:
    from pandas import DataFrame

Measured = Results | Stability


Figure = tuple[str, str, str]  # a metric's name, unit and convention
ERROR = ("error", "fraction", "top-1, clean images")
MEAN_15 = ("mean corruption error", "fraction", "plain mean over 15 x 5, not AlexNet-normalised")
MEAN_SET = ("mean of the set", "fraction", "plain mean over its corruptions and 5 severities")
ECE = ("ECE", "fraction", "15 bins, mean over corrupted conditions; of sets without corruption, clean")
RELATIVE = ("relative robustness", "fraction", "accuracy minus the baseline's on this set")
MCE_ALEXNET = ("mCE vs AlexNet", "ratio", "1 is AlexNet (ImageNet-C)")
RCE_ALEXNET = ("rCE vs AlexNet", "ratio", "relative mCE: what corruption adds to the clean error")
MCE = ("mCE vs baseline", "ratio", "1 is the baseline, not AlexNet")
RCE = ("rCE vs baseline", "ratio", "relative mCE: what corruption adds to the clean error; 1 is the baseline")
MFP = ("mFP", "fraction", "plain mean of the flip rates, not AlexNet-normalised")
MFR = ("mFR vs baseline", "ratio", "flip rates over the baseline's; the survey's mFP; 1 is the baseline")
T5D = ("mean T5D", "places", "plain mean of the top-5 distances, in [0, 15]")
MT5D = ("mT5D vs baseline", "ratio", "top-5 distances over the baseline's; 1 is the baseline")


def aggregate(
    measured: Sequence[Measured | Path | str] | Mapping[str, Measured | Path | str] | Measured | Path | str,
    baseline: Sequence[Measured | Path | str] | Measured | Path | str = (),
) -> DataFrame:
    """Put one model's figures on several sets into one table.

    Args:
        measured: results and stability of one model (objects, files, or run folders, whose results and
            stability both count); a mapping names the sets.
        baseline: the same of a model to compare with; sets that it lacks have no figures against it.

    Returns:
        A pandas data frame, a row per figure: set, metric, value, unit (fraction, ratio, places), convention.

    Raises:
        InputError: nothing is given, of several models, one that is not complete, or two sets of one name.
    """
    import pandas  # a third of a second

    alone = Results | Stability | Path | str
    measured = [measured] if isinstance(measured, alone) else measured
    baseline = [baseline] if isinstance(baseline, alone) else baseline
    named = measured if isinstance(measured, Mapping) else dict.fromkeys(range(len(measured)))
    places = measured.values() if isinstance(measured, Mapping) else measured
    own: dict[str, Measured] = {}
    for key, place in zip(named, places, strict=True):
        for one in _read(place):
            name = key if isinstance(key, str) else _set_name(one)
            if name in own:
                raise InputError(f"two results are of the set {name!r}; leave one out, or give a mapping")
            own[name] = one
    if not own:
        raise InputError("no results are given; evaluate a model on some sets first")
    _check_one_model(own.values())
    others = [one for place in baseline for one in _read(place)]
    _check_one_model(others)
    rows: list[tuple[Any, ...]] = []
    for name, one in own.items():
        base = next((other for other in others if _alike(one, other)), None)
        rows += [(name, metric, value, *how) for (metric, *how), value in _figures(one, base)]
    return pandas.DataFrame(rows, columns=["set", "metric", "value", "unit", "convention"])


def _read(place: Measured | Path | str) -> list[Measured]:
    """Return what is at a path: of a folder its results, its stability, or both."""
    if isinstance(place, Results | Stability):
        return [place]
    path = Path(place)
    if path.is_dir() and (path / FILE).is_file():
        both = (path / "results.json").is_file()
        return [*([Results.load(path)] if both else []), Stability.load(path)]
    return [Stability.load(path) if path.name.endswith(FILE) else Results.load(path)]


def _set_name(one: Measured) -> str:
    if isinstance(one, Stability):
        return one.source
    if one.corrupted and one.corruption["source"] == "on disk":
        return str(one.corruption["name"])
    return one.data["label"] + (", corrupted in memory" if one.corrupted else "")


def _check_one_model(every: Iterable[Measured]) -> None:
    """Raise where results are not complete, or of different weights; what knows none counts as alike."""
    found: dict[str, str] = {}
    for one in every:
        if not one.complete:
            raise InputError(f"{one.label} on {_set_name(one)} is not complete; continue it first")
        digest = one.weights_sha256 if isinstance(one, Stability) else one.model["weights_sha256"]
        if digest is not None:
            found.setdefault(digest, f"{one.label} on {_set_name(one)}")
    if len(found) > 1:
        first, second = list(found.values())[:2]
        raise InputError(f"{second} is of other weights than {first}; give the results of one model")


def _alike(one: Measured, other: Measured) -> bool:
    """Whether a baseline's figures may be set beside these."""
    if isinstance(one, Stability) or isinstance(other, Stability):
        kinds = isinstance(one, Stability) and isinstance(other, Stability)
        return kinds and _agree(lambda: one.check_same(other))  # type: ignore[union-attr,arg-type]
    if not one.corrupted or not other.corrupted:
        keys = ("sha256", "images", "classes", "limit", "framing")
        same = all(one.data.get(key) == other.data.get(key) for key in keys)
        return same and not one.corrupted and not other.corrupted
    return _agree(lambda: require_same(setting_of(one, "one"), "one", setting_of(other, "other"), "other"))


def _agree(check: Callable[[], None]) -> bool:
    try:
        check()
    except InputError:
        return False
    return True


def _figures(one: Measured, base: Measured | None) -> Iterator[tuple[Figure, float]]:
    if isinstance(one, Stability):
        assert base is None or isinstance(base, Stability)
        yield from _of_sequences(one, base)
        return
    assert base is None or isinstance(base, Results)
    if one.clean is not None:
        yield ERROR, one.clean_error
    if not one.corrupted:
        if one.clean is not None and one.clean.ece is not None:
            yield ECE, one.clean.ece
        if base is not None and one.clean is not None and base.clean is not None:
            yield RELATIVE, base.clean_error - one.clean_error
        return
    yield from _of_corruptions(one, base)


def _of_corruptions(one: Results, base: Results | None) -> Iterator[tuple[Figure, float]]:
    errors = one.errors()
    names = [name for name in CORRUPTIONS if name in errors] or list(errors)
    if any(len(one.corrupted[name]) < len(SEVERITIES) for name in names):
        return  # means are of all five
    whole = set(names) == set(CORRUPTIONS)
    mean = metrics.mean_corruption_error(errors, names)
    yield MEAN_15 if whole else MEAN_SET, mean
    eces = [condition.ece for name in names for condition in one.corrupted[name].values()]
    if None not in eces:
        yield ECE, fmean(ece for ece in eces if ece is not None)
    if whole and one.corruption["scale"] == "imagenet" and len(one.data["classes"]) == 1000:
        yield MCE_ALEXNET, metrics.mce(errors)
        if one.clean is not None:
            yield RCE_ALEXNET, metrics.relative_mce(errors, one.clean_error)
    if base is None:
        return
    of_base = base.errors()
    yield RELATIVE, metrics.mean_corruption_error(of_base, names) - mean
    yield from _defined(MCE, one, lambda: metrics.mce(errors, of_base, names))
    if one.clean is not None and base.clean is not None:
        clean = one.clean_error, of_base, base.clean_error
        yield from _defined(RCE, one, lambda: metrics.relative_mce(errors, *clean, names))


def _defined(figure: Figure, one: Measured, value: Callable[[], float]) -> Iterator[tuple[Figure, float]]:
    """Yield a ratio, or warn: the baseline may make no error, or lose nothing under a corruption."""
    try:
        yield figure, value()
    except InputError as error:
        warnings.warn(f"{figure[0]} on {_set_name(one)} is left out: {error}", stacklevel=2)


def _of_sequences(one: Stability, base: Stability | None) -> Iterator[tuple[Figure, float]]:
    yield MFP, one.mean_flip_probability
    if base is not None:
        yield from _defined(MFR, one, lambda: one.mean_flip_rate(base))
    if one.top5_distances:
        yield T5D, fmean(one.top5_distances.values())
        if base is not None:
            yield from _defined(MT5D, one, lambda: one.mean_top5_distance(base))
