"""What a page shows beside the errors where it can be had: predictions, intervals over images, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pushpull.errors import printable
from pushpull.reports.comparison import Row

if TYPE_CHECKING:
    from pandas import DataFrame

Interval = tuple[float, float]
_BINS = 15
LEAST_ANSWERS = 5  # of a bin that is drawn: the share of fewer is chance
_WORST_PAIRS = 10


@dataclass(frozen=True)
class Evidence:
    """All of it may be missing.

    Args:
        predictions: label of a row -> a table of `load_predictions` for each of its seeds.
        intervals: label -> column key -> 95 % interval over the test images, in the column's stored unit.
        differences: the same of the difference to the baseline.
        examples: pictures under corruption, with what each row answers.
        kernels: label -> push and pull kernels of the first layer.
        responses: label -> what they answer to an image.
        remarks: why something is not there, a sentence each.
    """

    predictions: Mapping[str, Sequence[DataFrame]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()
    kernels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    responses: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def confusions(predictions: Sequence[DataFrame], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the pairs of classes that are mixed up most under corruption, the most frequent first.

    Args:
        predictions: of one row, a table for each seed.
        classes: names of the labels.

    Returns:
        For each pair: label, answer, the share of the label's corrupted images that get it, and the
        corruption under which that happens most.
    """
    import pandas

    table = pandas.concat(predictions)
    table = table[table["severity"] > 0]
    sizes = table.groupby("label").size()
    wrong = table[table["label"] != table["prediction"]]
    counts = wrong.groupby(["label", "prediction"]).size().sort_values(ascending=False, kind="stable")
    found = []
    for (label, answer), count in counts.head(_WORST_PAIRS).items():
        pair = wrong[(wrong["label"] == label) & (wrong["prediction"] == answer)]
        where = printable(str(pair["corruption"].value_counts(sort=True).index[0]))
        label_name, answer_name = (_class_name(int(n), classes) for n in (label, answer))
        share = count / sizes[label]
        found.append({"label": label_name, "answer": answer_name, "share": share, "corruption": where})
    return found


def _class_name(number: int, classes: Sequence[str]) -> str:
    """Return what the page calls a label or an answer; -1 is the answer of logits with a NaN."""
    return classes[number] if 0 <= number < len(classes) else "no answer" if number < 0 else str(number)


def reliability_bins(
    predictions: Sequence[DataFrame], *, corrupted: bool, least: int = LEAST_ANSWERS
) -> list[tuple[float, float, int]]:
    """Return mean confidence, share of right answers and number of answers of 15 bins of equal width.

    Args:
        predictions: of one row, a table for each seed.
        corrupted: of the corrupted images, else of the clean ones.
        least: bins of fewer answers are left out.
    """
    import numpy as np
    import pandas

    table = pandas.concat(predictions)
    table = table[((table["severity"] > 0) == corrupted) & table["confidence"].notna()]
    sure = table["confidence"].to_numpy(dtype=float)
    right = (table["label"] == table["prediction"]).to_numpy(dtype=float)
    bins = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    return [
        (float(sure[bins == n].mean()), float(right[bins == n].mean()), int((bins == n).sum()))
        for n in range(_BINS)
        if (bins == n).sum() >= max(1, least)
    ]


def calibration(row: Row) -> list[tuple[str, dict[str, float]]] | None:
    """Return ECE, NLL and Brier score of the clean and, on average, of the corrupted images.

    Returns:
        What of, and name -> value, mean over seeds; None where the results have none.
    """
    results = row.entry.results if row.entry else ()
    clean = [result.clean for result in results if result.clean is not None]
    corrupted = [one for result in results for by in result.corrupted.values() for one in by.values()]
    found = []
    for name, conditions in (("clean", clean), ("corrupted, mean", corrupted)):
        values = {}
        for key in ("ece", "nll", "brier"):
            every = [value for one in conditions if (value := getattr(one, key, None)) is not None]
            if every and len(every) == len(conditions):
                values[key] = sum(every) / len(every)
        if values:
            found.append((name, values))
    return found or None
