"""The sentences under a comparison: conventions, pairing, and what a reader must not conclude."""

from __future__ import annotations

from collections.abc import Sequence

from pushpull.corruptions import EXTRA_CORRUPTIONS
from pushpull.reports import columns as define
from pushpull.reports.columns import Column
from pushpull.reports.entries import Entry
from pushpull.reports.measures import is_paired
from pushpull.reports.setting import Setting


def footnotes(
    setting: Setting, columns: Sequence[Column], omitted: Sequence[str], entries: Sequence[Entry]
) -> tuple[str, ...]:
    """Every sentence that the tables need, the most important first."""
    notes = ["Errors are top-1, in percent; lower is better."]
    notes += _conventions(columns)
    notes += omitted
    notes += _seeds(entries)
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


def _conventions(columns: Sequence[Column]) -> list[str]:
    notes = []
    if define.MEAN_CORRUPTION_ERROR in columns:
        notes.append(
            "Mean corruption error: the plain mean of the errors over 15 corruptions x 5 severities, "
            "NOT AlexNet-normalised."
        )
    if define.MEAN_OF_SET in columns:
        notes.append(
            "Mean of the set: the plain mean over all corruptions of this set, which are none of the "
            "benchmark's 15: not to be set beside the mean corruption error."
        )
    if define.MCE_ALEXNET in columns:
        notes.append(
            "mCE vs AlexNet: errors divided by AlexNet's (the usual ImageNet-C mCE); 100 is AlexNet."
        )
    if define.MCE_BASELINE in columns:
        notes.append(
            "mCE vs baseline and relative mCE vs baseline: errors divided by the baseline run's mean errors, "
            "not by AlexNet's; 100 is the baseline."
        )
    if define.NET_REDUCTION in columns:
        notes.append(
            "R_net: net reduction of error in percent, higher is better, fitted to the published table; "
            "it divides by the baseline's clean error."
        )
    return notes


def _seeds(entries: Sequence[Entry]) -> list[str]:
    notes = []
    if any(len(entry.results) > 1 for entry in entries):
        notes.append("± is the sample standard deviation over the seeds of a row.")
    baseline = entries[0]
    if any(len(entry.results) > 1 for entry in entries):
        paired = [is_paired(baseline, entry) for entry in entries[1:]]
        if all(paired):
            notes.append(
                "R_net and differences are paired: each seed is set against the baseline's same seed."
            )
        else:
            loose = [entry.label for entry, pair in zip(entries[1:], paired, strict=True) if not pair]
            notes.append(
                "R_net and differences are paired by seed where a row has the baseline's seeds; against the "
                f"baseline's mean, its own spread left out, are: {', '.join(loose)}."
            )
    if all(len(entry.results) == 1 for entry in entries):
        notes.append("One run a model: how much the figures vary from seed to seed is not known.")
    return notes


def pairing(baseline: Entry, entry: Entry) -> str:
    """How the seeds of a row were set against the baseline's, in words."""
    if entry is baseline:
        return "is the baseline"
    if is_paired(baseline, entry):
        return "paired by seed"
    return (
        "against the baseline's mean over seeds"
        if len(baseline.results) > 1
        else "against the one baseline run"
    )


def _versions(entries: Sequence[Entry]) -> list[str]:
    found: dict[str, set[str]] = {}
    for entry in entries:
        for result in entry.results:
            for package, version in result.versions.items():
                found.setdefault(package, set()).add(version)
    mixed = [
        f"{package} {', '.join(sorted(versions))}" for package, versions in found.items() if len(versions) > 1
    ]
    return [f"Results of different package versions stand here: {'; '.join(mixed)}."] if mixed else []
