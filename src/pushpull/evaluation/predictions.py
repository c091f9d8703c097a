"""Every image's answer under every condition, and how far errors would move with other test images.

`predictions.parquet` lies beside the results. While an evaluation runs, each condition is a part of its own
in a folder beside it; at the end they become the file. From it: bootstrap over images, McNemar's test. The
spread over training seeds is another thing: it says what another training would give on these images.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.errors import InputError, MissingFileError, integer, listed, one_line, printable
from pushpull.evaluation.results import CLEAN, SEVERITIES, Results, results_path
from pushpull.files import PREDICTIONS, RESULTS, atomic_path

if TYPE_CHECKING:
    import pandas as pd

    Predictions: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]

Pair = tuple[str | None, int | None]

_COLUMNS = ("index", "label", "prediction", "confidence", "corruption", "severity")
_REMEDY = "delete it and evaluate again with --save-predictions"
_NUMBERS = ("index", "label", "prediction", "confidence", "severity")


def load_predictions(path: Path | str) -> pd.DataFrame:
    """Read what `evaluate(..., save_predictions=True)` wrote, one row per image and condition.

    Args:
        path: a run folder, its results.json, or the file.

    Returns:
        Columns: index (the image's row in the test split), label, prediction (class numbers; -1 where a logit
        was NaN), confidence (softmax of the predicted class, in [0, 1]), corruption ("clean" for the
        uncorrupted images), severity (1..5; 0 for clean).

    Raises:
        MissingFileError: it is not there.
        InputError: it is no such file.
    """
    import pandas as pd

    file = predictions_path(path)
    if not file.is_file():
        raise MissingFileError(
            f"{file} does not exist; make it with: pushpull evaluate ... --save-predictions"
        )
    try:
        table = pd.read_parquet(file)
    except Exception as error:  # pyarrow's, of many kinds
        raise _broken(file, one_line(error)) from error
    lacking = [name for name in _COLUMNS if name not in table.columns]
    if lacking:
        raise _broken(file, f"no column {', '.join(lacking)}")
    return table


def predictions_of(path: Path | str, results: Results) -> pd.DataFrame:
    """Read the predictions beside results, whose conditions, images and errors they must have.

    Args:
        path: as `load_predictions`.
        results: what stands beside the file.

    Raises:
        MissingFileError: it is not there.
        InputError: it is no such file, of another evaluation, or without some of the conditions.
    """
    table, file = load_predictions(path), predictions_path(path)
    numbers = table[list(_NUMBERS)]
    if len(table) == 0 or any(kind.kind not in "iuf" for kind in numbers.dtypes):
        raise _broken(file, "no rows" if len(table) == 0 else f"no numbers in {', '.join(_NUMBERS)}")
    wrong = (table["prediction"] != table["label"]).groupby([table["corruption"], table["severity"]])
    measured = {(name or CLEAN, severity or 0): one for (name, severity), one in results.measured().items()}
    counts = wrong.agg(["sum", "size"])
    found = {(str(name), int(level)): (int(n), int(size)) for (name, level), n, size in counts.itertuples()}
    expected = {pair: (round(one.top1_error * one.images), one.images) for pair, one in measured.items()}
    highest = table[["label", "prediction"]].max().max()
    if not found.items() <= expected.items() or highest >= len(results.data["classes"]):
        raise InputError(f"{file} is not of the results beside it; {_REMEDY}")
    if len(found) < len(expected):
        lacks = f"lacks {len(expected) - len(found)} of {len(expected)} conditions"
        raise InputError(f"{file} {lacks}; evaluate again with --save-predictions")
    return table


def predictions_path(path: Path | str) -> Path:
    """Return the predictions that belong to a run folder or results file; a .parquet file is itself."""
    path = Path(path)
    if path.suffix == ".parquet":
        return path
    file = results_path(path)
    return file.with_name(PREDICTIONS if file.name == RESULTS else f"{file.stem}.{PREDICTIONS}")


def save_part(file: Path, pair: Pair, answers: Sequence[Sequence[Tensor]]) -> None:
    """Write one condition, whole or not at all, its images in the order of their rows.

    Args:
        file: where all will be in the end.
        pair: corruption and severity; (None, None) is the clean one.
        answers: of every rank: index, label, prediction, confidence; (n,) each, on the CPU.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, severity = (CLEAN, 0) if None in pair else pair
    columns = [torch.cat(column) for column in zip(*answers, strict=True)]
    order, count = columns[0].argsort(), len(columns[0])
    table = pa.table(
        {
            **dict(zip(_COLUMNS, (column[order].numpy() for column in columns), strict=False)),
            "corruption": pa.array([name] * count, pa.string()),
            "severity": pa.array(np.full(count, severity, np.int8)),
        }
    )
    # Not its name: a set on disk may call it anything.
    key = hashlib.sha256(f"{name} {severity}".encode()).hexdigest()[:16]
    with atomic_path(_parts(file) / f"{key}.parquet") as temporary:
        pq.write_table(table, temporary, row_group_size=max(1, count))


def merge_parts(file: Path, order: Iterable[Pair]) -> None:
    """Write all conditions as one file in this order, one in memory at a time, and remove the parts."""
    import pyarrow.parquet as pq

    if not _parts(file).is_dir():
        return
    places = saved_pairs(file)
    found = [places[pair] for pair in order if pair in places]
    with atomic_path(file) as temporary:
        schema = pq.read_schema(found[0][0])
        with pq.ParquetWriter(temporary, schema) as writer:
            for source, group in found:
                table = pq.ParquetFile(source).read_row_group(group).cast(schema)
                writer.write_table(table, row_group_size=len(table))
    shutil.rmtree(_parts(file))


def kept_pairs(file: Path, results: Results) -> dict[Pair, tuple[Path, int]]:
    """Return `saved_pairs`, without what belongs to results that are no more: that is removed."""
    if not results.measured():
        file.unlink(missing_ok=True)
        shutil.rmtree(_parts(file), ignore_errors=True)
    return saved_pairs(file)


def _parts(file: Path) -> Path:
    return file.with_suffix(".parts")


def saved_pairs(file: Path) -> dict[Pair, tuple[Path, int]]:
    """Return where the rows of each condition are: a file and its row group; parts count before the file."""
    sources = [file] if file.is_file() else []
    sources += sorted(_parts(file).glob("[!.]*.parquet")) if _parts(file).is_dir() else []
    return {pair: (source, group) for source in sources for group, pair in enumerate(_pairs(source))}


def _pairs(source: Path) -> Iterator[Pair]:
    """Yield the condition of each row group."""
    import pyarrow.parquet as pq

    try:
        content = pq.ParquetFile(source)
        for group in range(content.num_row_groups):
            rows = content.read_row_group(group, columns=["corruption", "severity"])
            name, severity = (column[0].as_py() for column in rows.columns)
            yield (None, None) if severity == 0 else (name, severity)
    except Exception as error:  # pyarrow's, of many kinds
        raise _broken(source, one_line(error)) from error


def _broken(file: Path, why: str) -> InputError:
    return InputError(f"{file} holds no predictions ({why}); {_REMEDY}")


MEAN = "mean_corruption_error"
_CHUNK = 2**22  # drawn images at a time: 32 MiB of row numbers


class Interval(NamedTuple):
    """A figure and its interval over images; a fraction, or a difference of two, in [-1, 1]."""

    estimate: float
    low: float
    high: float


class McNemar(NamedTuple):
    """How two models' answers differ on the same images, and how likely that is if they are equally good.

    Fields:
        only_a_wrong, only_b_wrong: numbers of images.
        p: two-sided, exact; in (0, 1].
    """

    only_a_wrong: int
    only_b_wrong: int
    p: float


def interval(
    predictions: Predictions, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Errors with percentile bootstrap intervals over the test images.

    An image is drawn with its answers under all conditions, so that what makes it hard for all counts once.

    Args:
        predictions: what `load_predictions` returns; several: the seeds of one model, whose mean error the
            figures are of.
        resamples: how many test sets are drawn, >= 1.
        level: of confidence, in (0, 1).
        seed: of the draws; the same seed draws the same images for every model.

    Returns:
        "clean" where there are clean images; each corruption, the mean over its severities; where all their
        conditions are there "family_noise", "family_blur", "family_weather", "family_digital" and
        "mean_corruption_error"; "mean_of_set" of a set with none of the 15.

    Raises:
        InputError: no images, an image twice or with two labels, or a number out of range.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    return _intervals([_answers(predictions)], resamples, level, seed)


def paired(
    predictions_a: Predictions,
    predictions_b: Predictions,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Differences of two models' errors, a's minus b's, with intervals over the images that both saw.

    Each drawn test set is the same for both, so what is hard for both does not widen the interval.

    Args:
        predictions_a, predictions_b, resamples, level, seed: as for `interval`.

    Returns:
        As `interval`; below 0 where a makes fewer errors.

    Raises:
        InputError: other images, labels or conditions in the one than in the other; or as `interval`.
    """
    a, b = _answers(predictions_a), _answers(predictions_b)
    return _intervals([a, _like(a, b)], resamples, level, seed)


def mcnemar(
    predictions_a: pd.DataFrame, predictions_b: pd.DataFrame, corruption: str = CLEAN, severity: int = 0
) -> McNemar:
    """McNemar's exact test of two models under one condition.

    Of the images that only one of the two gets wrong, either is as likely to be that one if they are equally
    good: a binomial test of 1/2.

    Args:
        predictions_a, predictions_b: what `load_predictions` returns.
        corruption, severity: of the condition; "clean" and 0 are the uncorrupted images.

    Raises:
        InputError: a condition that is not there, or as `paired`.

    Source: McNemar, Psychometrika 1947; exact by the binomial distribution.
    """
    from scipy.stats import binomtest  # a fifth of a second

    a = _answers(predictions_a)
    b = _like(a, _answers(predictions_b))
    if (corruption, severity) not in a.conditions:
        there = listed([f"{printable(name)} {level}" for name, level in a.conditions], 6)
        raise InputError(f"the predictions have no {printable(corruption)} {severity}; choose one of {there}")
    at = a.conditions.index((corruption, severity))
    wrong_a, wrong_b = a.wrong[:, at] == 1, b.wrong[:, at] == 1
    only_a, only_b = int((wrong_a & ~wrong_b).sum()), int((wrong_b & ~wrong_a).sum())
    p = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))


class _Answers(NamedTuple):
    """Which answers are wrong: (images, conditions), 1, 0, or NaN where an image is not there."""

    images: np.ndarray
    labels: np.ndarray
    conditions: list[tuple[str, int]]
    wrong: np.ndarray


def _answers(predictions: Predictions) -> _Answers:
    """Return which answers are wrong; of several predictions their mean, a share."""
    several: list[pd.DataFrame] = (
        list(predictions) if isinstance(predictions, list | tuple) else [predictions]
    )
    if not several or any(len(one) == 0 for one in several):
        raise InputError("the predictions hold no image; evaluate with --save-predictions")
    every = [_of_one(one) for one in several]
    same = [every[0], *(_like(every[0], other) for other in every[1:])]
    return every[0]._replace(wrong=np.mean([one.wrong for one in same], axis=0))


def _of_one(table: pd.DataFrame) -> _Answers:
    images = np.unique(table["index"])
    labels, columns = np.full(len(images), -1), {}
    for (name, severity), part in table.groupby(["corruption", "severity"], sort=False):
        at, label = np.searchsorted(images, part["index"]), part["label"].to_numpy()
        known = labels[at]
        if np.bincount(at).max() > 1:
            raise InputError("the predictions have an image twice under one condition; evaluate again")
        if ((known != label) & (known != -1)).any():
            raise InputError(
                "the predictions have an image with two labels: their conditions are not of the same images; "
                "evaluate with the clean data that the corrupted set was made from"
            )
        labels[at] = label
        columns[name, int(severity)] = column = np.full(len(images), np.nan, np.float32)
        column[at] = part["prediction"] != part["label"]
    return _Answers(images, labels, list(columns), np.stack(list(columns.values()), axis=1))


def _like(a: _Answers, b: _Answers) -> _Answers:
    """Return b with its conditions in a's order, or raise where they are not of the same images."""
    remedy = "evaluate both with the same data and options (--save-predictions)"
    others = sorted(set(a.conditions) ^ set(b.conditions))
    if others:
        name = f"{printable(others[0][0])} at severity {others[0][1]}"
        raise InputError(f"only one of the predictions has {name} ({len(others)} differ)", remedy=remedy)
    wrong = b.wrong[:, [b.conditions.index(condition) for condition in a.conditions]]
    if not np.array_equal(a.images, b.images) or not np.array_equal(np.isnan(a.wrong), np.isnan(wrong)):
        counts = f"{len(a.images)} and {len(b.images)}"
        raise InputError(f"the predictions are of different images ({counts})", remedy=remedy)
    differ = int((a.labels != b.labels).sum())
    if differ:
        raise InputError(f"the predictions have other labels for {differ} images", remedy=remedy)
    return b._replace(conditions=a.conditions, wrong=wrong)


def _intervals(answers: Sequence[_Answers], resamples: int, level: float, seed: int) -> dict[str, Interval]:
    """Return the figures of the one, or the differences of two, with their intervals."""
    resamples = integer("resamples", resamples, "2000 is usual")
    if resamples < 1 or not 0 < level < 1:
        raise InputError(
            f"resamples={resamples}, level={level}: give at least 1, and a level between 0 and 1"
        )
    there = (~np.isnan(answers[0].wrong)).astype(np.float32)
    wrong = [np.nan_to_num(one.wrong) for one in answers]
    figures = _figures(answers[0].conditions)
    matrix = np.stack(list(figures.values()), axis=1)

    def errors(weights: np.ndarray) -> np.ndarray:
        """Of (draws, images) weights: (draws, figures)."""
        images = weights @ there
        return np.subtract.reduce([(weights @ one).astype(float) / images for one in wrong]) @ matrix

    estimate = errors(np.ones((1, len(there)), np.float32))[0]
    drawn = np.concatenate([errors(weights) for weights in _draws(len(there), resamples, seed)])
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    triples = zip(estimate.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(*values) for name, values in zip(figures, triples, strict=True)}


def _draws(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (draws, images) float32: how often each image is in each drawn test set."""
    random = np.random.default_rng(seed)
    each = max(1, _CHUNK // images)
    for start in range(0, resamples, each):
        rows = random.integers(0, images, (min(each, resamples - start), images))
        yield np.stack([np.bincount(of, minlength=images) for of in rows]).astype(np.float32)


def _figures(conditions: Sequence[tuple[str, int]]) -> dict[str, np.ndarray]:
    """Return figure -> weight of each condition in it."""
    names, found = dict.fromkeys(name for name, severity in conditions if severity), {}
    if (CLEAN, 0) in conditions:
        found[CLEAN] = np.array([condition == (CLEAN, 0) for condition in conditions], float)
    for name in names:
        own = np.array([of == name and severity > 0 for of, severity in conditions], float)
        found[name] = own / own.sum()
    whole = {name for name in names if {(name, severity) for severity in SEVERITIES} <= set(conditions)}
    groups = {f"family_{family}": of for family, of in FAMILIES.items()} | {MEAN: CORRUPTIONS}
    if not set(CORRUPTIONS) & set(names):
        groups["mean_of_set"] = tuple(names)
    means = {figure: [found[name] for name in of] for figure, of in groups.items() if whole >= set(of)}
    return found | {figure: np.mean(weights, axis=0) for figure, weights in means.items() if weights}
