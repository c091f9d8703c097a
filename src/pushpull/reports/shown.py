"""What a comparison says: as values, text and a picture in Python, and in the sentences under its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.corruptions import EXTRA_CORRUPTIONS
from pushpull.errors import InputError, printable
from pushpull.evaluation.predictions import (
    MEAN,
    Interval,
    interval,
    load_predictions,
    paired,
    predictions_path,
)
from pushpull.reports import columns as define
from pushpull.reports.columns import Column
from pushpull.reports.comparable import Entry, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_CONVENTIONS = {
    define.MEAN_CORRUPTION_ERROR: "Mean corruption error: the plain mean of the errors over 15 corruptions x "
    "5 severities, NOT AlexNet-normalised.",
    define.MEAN_OF_SET: "Mean of the set: the plain mean over all corruptions of this set, which are none of "
    "the benchmark's 15: not to be set beside the mean corruption error.",
    define.MCE_ALEXNET: "mCE vs AlexNet: errors divided by AlexNet's (the usual ImageNet-C mCE); 100 is "
    "AlexNet.",
    define.MCE_BASELINE: "mCE vs baseline and relative mCE vs baseline: errors divided by the baseline run's "
    "mean errors, not by AlexNet's; 100 is the baseline.",
    define.NET_REDUCTION: "R_net: net reduction of error in percent, higher is better, fitted to the "
    "published table; it divides by the baseline's clean error.",
}
_ONE_RUN = "One run per model: how much the figures vary from seed to seed is not known."


def footnotes(
    setting: Setting, columns: Sequence[Column], entries: Sequence[Entry], own: Iterable[str]
) -> tuple[str, ...]:
    """Every sentence that the tables need, the most important first; `own` after the conventions."""
    notes = ["Errors are top-1, in percent; lower is better."]
    notes += [sentence for column, sentence in _CONVENTIONS.items() if column in columns]
    notes += own
    if setting.frost_textures == "procedural" and "frost" in setting.corruptions:
        notes.append(
            "Frost is laid on with procedural textures, so its figures are not those of published tables."
        )
    notes += _sources(entries)
    if any(column.key in EXTRA_CORRUPTIONS for column in columns):
        notes.append(
            "Extra corruptions (speckle noise, gaussian blur, spatter, saturate) enter no mean of the 15."
        )
    notes += _versions(entries)
    return tuple(notes)


def seed_notes(entries: Sequence[Entry]) -> list[str]:
    """How the seeds of models are set against those of the first, the baseline."""
    if all(len(entry.results) == 1 for entry in entries):
        return [_ONE_RUN]
    spread = "± is the sample standard deviation over the seeds of a row."
    if len(entries) == 1:
        return [spread]
    notes = [
        spread,
        "In the table of differences, ± is half of the 95 % confidence interval of the mean over seeds "
        "(Student's t), and bold are those whose interval leaves 0 out.",
    ]
    loose = [entry.label for entry in entries[1:] if not entry.is_paired_with(entries[0])]
    if loose:
        notes.append(
            "R_net and differences are paired by seed where a row has the baseline's seeds; against the "
            f"baseline's mean, its own spread left out, are: {', '.join(loose)}."
        )
    else:
        notes.append("R_net and differences are paired: each seed is set against the baseline's same seed.")
    return notes


def twin_notes(
    seeds: Mapping[str, tuple[Sequence[int | None], Sequence[int | None]]], baseline: str
) -> list[str]:
    """How the seeds of rows are set against those of their twins and of the baseline.

    Args:
        seeds: label of a row -> its seeds, and those that its R_net is over.
        baseline: label of the row that R_net is against, whether measured or not.
    """
    notes = ["R_net: none, for the baseline is not measured."]
    if there := baseline in seeds:
        notes = [f"R_net is against {baseline}, of the same seed."]
    for label, (own, based) in seeds.items():
        if there and list(own) != list(based):
            which = f"only seeds {' '.join(map(str, based))}" if based else "none"
            notes.append(
                f"R_net of {label}: {which}, where the baseline of the same seed is measured "
                "and makes errors."
            )
    if all(len(own) == 1 for own, _ in seeds.values()):
        return [*notes, _ONE_RUN]
    notes.append(
        "±: half of the 95 % confidence interval of the mean over seeds (Student's t). It covers what "
        "changes from seed to seed, not the choice of test images. A single seed has none."
    )
    notes.append(
        "Differences are paired: each seed's network against its twin's of the same seed, which began "
        "with the same weights and saw the same images in the same order. Bold: the interval leaves 0 "
        "out; of twenty such intervals one does so by chance."
    )
    return notes


def pairing(baseline: Entry, entry: Entry) -> str:
    """How the seeds of a row were set against the baseline's, in words."""
    if entry is baseline:
        return "is the baseline"
    if entry.is_paired_with(baseline):
        return "paired by seed"
    several = len(baseline.results) > 1
    return "against the baseline's mean over seeds" if several else "against the one baseline run"


def image_notes(entries: Sequence[Entry], labels: Sequence[str]) -> list[str]:
    """What other test images would change, where every result has its predictions beside it; else nothing.

    Args:
        entries: the rows, the baseline first.
        labels: what the tables call them.
    """
    places = [[entry.source] if entry.source.endswith(".json") else entry.folders for entry in entries]
    files = [[predictions_path(place) for place in of] for of in places]
    if not all(of and all(map(Path.is_file, of)) for of in files):
        return []
    try:
        first, *others = ([load_predictions(file) for file in of] for of in files)
        found = {labels[0]: interval(first)}
        for label, own in zip(labels[1:], others, strict=True):
            found |= {label: interval(own), f"{label} minus {labels[0]}": paired(own, first)}
    except InputError as error:
        return [f"Intervals over the test images are not shown: {error.problem}."]
    figures = {"clean": "E", MEAN: "mean corruption error"}
    lines = [
        f"{label}: "
        + ", ".join(f"{text} {_in_percent(of[key])}" for key, text in figures.items() if key in of)
        for label, of in found.items()
        if figures.keys() & of.keys()
    ]
    start = "Over the test images (95 % intervals, bootstrap of the images, the seeds that were trained): "
    return [start + "; ".join(lines) + "."] if lines else []


def _in_percent(found: Interval) -> str:
    estimate, low, high = (f"{100 * value + 0.0:.1f}" for value in found)
    return f"{estimate} [{low}, {high}]".replace("-", "\N{MINUS SIGN}")


def _sources(entries: Sequence[Entry]) -> list[str]:
    """Whose corrupted images came from where, and whose network computed how, where rows differ in it."""
    notes = []
    # Not by label: a network's rows on disk and in memory may be called the same.
    sources = [(entry.label, entry.results[0].corruption["source"]) for entry in entries]
    if len({source for _, source in sources}) > 1:
        whose = "; ".join(f"{label}: {source}" for label, source in sources)
        notes.append(
            f"The corrupted images are not the same for all ({whose}): differences are partly theirs."
        )
    precisions = {result.precision for entry in entries for result in entry.results}
    if len(precisions) > 1:
        notes.append(f"Networks computed in different precisions: {'; '.join(sorted(precisions))}.")
    return notes


def _versions(entries: Sequence[Entry]) -> list[str]:
    found: dict[str, set[str]] = defaultdict(set)
    for package, version in (
        pair for e in entries for result in e.results for pair in result.versions.items()
    ):
        found[package].add(version)
    mixed = [f"{package} {', '.join(sorted(every))}" for package, every in found.items() if len(every) > 1]
    return [f"Results of different package versions stand here: {'; '.join(mixed)}."] if mixed else []


class Shown:
    """The figures of `Comparison`'s rows as values, text and a picture; abstract."""

    title: str
    note: str | None
    setting: Any
    columns: tuple[Column, ...]
    rows: tuple[Any, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Label of a row -> its mean corruption error, in [0, 1], the plain mean over 15 x 5 and over seeds.

        It is not divided by AlexNet's errors. Empty where the 15 x 5 were not measured.
        """
        key = define.MEAN_CORRUPTION_ERROR.key
        return {row.label: row.values[key].mean for row in self.rows if key in row.values}

    def worst(self, n: int = 3) -> dict[str, list[tuple[str, float]]]:
        """Label of a row -> its n corruptions with the highest mean error in [0, 1], the worst first."""
        names = [column.key for column in self._columns("corruption", "extra")]
        every = {row.label: [(name, row.values[name].mean) for name in names] for row in self.rows}
        return {label: sorted(pairs, key=lambda pair: -pair[1])[:n] for label, pairs in every.items()}

    def conditions(self) -> DataFrame:
        """Return every condition of every seed of every row, as a pandas data frame.

        Returns:
            Columns row and seed (None where it is not known), then those of `Results.to_dataframe`.
        """
        import pandas

        parts = [
            result.to_dataframe().assign(row=row.label, seed=result.model["seed"])
            for row in self.rows
            for result in (row.entry.results if row.entry else ())
        ]
        if not parts:
            return pandas.DataFrame(columns=["row", "seed"])
        frame = pandas.concat(parts, ignore_index=True)
        return frame[["row", "seed", *frame.columns.drop(["row", "seed"])]]

    def plot(self) -> Figure:
        """Return a matplotlib figure of every row's error by corruption, the first row's worst on top."""
        from pushpull.evaluation.plots import errors_by_corruption  # matplotlib takes half a second

        found = {
            row.label: {name: [one.mean for one in row.curves[name]] for name in self.setting.corruptions}
            for row in self.rows
        }
        clean = {row.label: row.values.get(define.CLEAN_ERROR.key) for row in self.rows}
        return errors_by_corruption(found, {label: one and one.mean for label, one in clean.items()})

    def __str__(self) -> str:
        """The title and the main figures in percent, one line per row."""
        frame = self._main_figures().to_string()
        return "\n".join(filter(None, (printable(self.title), printable(self.note or ""), frame)))

    def _repr_html_(self) -> str:
        """The same as HTML, for notebooks."""
        title, note = (escape(printable(text or "")) for text in (self.title, self.note))
        return f"<p>{title}</p>{note and f'<p>{note}</p>'}{self._main_figures().to_html()}"

    def _main_figures(self) -> DataFrame:
        """Return rows x main columns as text; of corruptions where no mean was measured."""
        import pandas

        columns = self._columns("main") or self._columns("corruption", "extra")
        texts = [
            [row.values[c.key].text(c.factor) if c.key in row.values else "" for c in columns]
            for row in self.rows
        ]
        labels = [printable(row.label) for row in self.rows]
        return pandas.DataFrame(texts, index=labels, columns=[column.title for column in columns])

    def _columns(self, *groups: str) -> list[Column]:
        return [column for column in self.columns if column.group in groups]
