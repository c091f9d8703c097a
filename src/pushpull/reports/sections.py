"""What the page shows of a comparison, as plain values for its template: tables, heat maps, panels."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from pushpull.corruptions import FAMILIES
from pushpull.evaluation.results import weaknesses
from pushpull.reports.columns import CLEAN_ERROR, MEAN_CORRUPTION_ERROR, MEAN_OF_SET, Column, title
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.evidence import Evidence, Interval, calibration, confusions, reliability_bins
from pushpull.reports.layout import Look, curves, differences, looks, reliability
from pushpull.reports.summary import broken_from, few_images_words, headline, wilson

_MOST_CLASSES, _MOST_SENTENCES = 12, 3
_FAMILY = {name: family for family, names in FAMILIES.items() for name in names}


def by_severity(row: Row, comparison: Comparison) -> dict[str, dict[int, float]]:
    """Return corruption -> severity -> error of a row, the mean over seeds."""
    setting = comparison.setting
    return {
        name: dict(zip(setting.severities, (point.mean for point in row.curves[name]), strict=True))
        for name in setting.corruptions
    }


def banners(comparison: Comparison) -> list[str]:
    """Return what a reader must know before any number."""
    models = [model for row in comparison.rows for model in row.models]
    adapted = sorted({f"{model['label']}: {model['adapted']}" for model in models if model.get("adapted")})
    said = [f"Adapted to the test images ({'; '.join(adapted)})."] if adapted else []
    images = comparison.setting.images - len(comparison.setting.skipped)
    return [text for text in (comparison.note, *said, few_images_words(images)) if text]


def headlines(comparison: Comparison, evidence: Evidence) -> list[tuple[str, str]]:
    """Return labels and sentences: the first row's result, and what the best of the others differ by."""
    first, *others = comparison.rows
    images = comparison.setting.images - len(comparison.setting.skipped)
    clean = first.values.get(CLEAN_ERROR.key)
    said = headline(None if clean is None else clean.mean, by_severity(first, comparison), images)
    found = [(first.label, said)]
    ordered = sorted((row for row in others if row.differences), key=lambda row: _mean_difference(row)[1])
    for row in ordered[:_MOST_SENTENCES]:
        found.append((row.label, _difference_words(row, comparison, evidence)))
    return found


def _mean_difference(row: Row) -> tuple[str, float]:
    """Return the column and the value of what a row is judged by: the mean, where there is one."""
    keys = [column.key for column in (MEAN_CORRUPTION_ERROR, MEAN_OF_SET, CLEAN_ERROR)]
    key = next((key for key in keys if key in row.differences), next(iter(row.differences)))
    return key, row.differences[key].mean


def _difference_words(row: Row, comparison: Comparison, evidence: Evidence) -> str:
    """Return what a row does better and worse than the one that it is compared with."""
    key, mean = _mean_difference(row)
    column = next(one for one in comparison.columns if one.key == key)
    what = "clean" if column is CLEAN_ERROR else "under corruption"
    text = f"{100 * abs(mean):.1f} points {'fewer' if mean < 0 else 'more'} wrong {what} than {row.against}"
    interval = difference_interval(row, column, evidence)
    if interval is None:
        text += " (how much of it is chance is not known)"
    else:
        text += (
            f" (95 % interval {_span(interval)}{'' if settled(row, column, evidence) else ': may be chance'})"
        )
    each = [one for one in comparison.group("corruption", "extra") if one.key in row.differences]
    if len(each) > 1:
        low, *_, high = sorted(each, key=lambda one: row.differences[one.key].mean)
        ends = [f"{name.title} {signed(row.differences[name.key].mean)}" for name in (low, high)]
        text += f"; from {ends[0]} to {ends[1]}"
    if column is not CLEAN_ERROR and CLEAN_ERROR.key in row.differences:
        text += f"; clean {signed(row.differences[CLEAN_ERROR.key].mean)}"
    return text + "."


def signed(difference: float) -> str:
    """Return a difference in percentage points with its sign; 0.0 has none."""
    points = round(100 * difference, 1) + 0.0
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}") if points else "0.0"


def figures(comparison: Comparison, evidence: Evidence) -> list[dict[str, str]]:
    """Return the few big numbers of a single row: name, value in percent, interval."""
    row = comparison.rows[0]
    main = [column for column in comparison.columns if column.group in ("main", "family")]
    return [
        {
            "name": "clean error" if column is CLEAN_ERROR else column.title,
            "value": row.values[column.key].text(column.factor),
            "interval": _span(_interval(row, column, comparison, evidence), column.factor),
        }
        for column in main
        if column.key in row.values  # a table of one row has no R_net
    ]


def ranked(comparison: Comparison, evidence: Evidence) -> list[dict[str, Any]]:
    """Return the corruptions of a single row, the worst first."""
    row = comparison.rows[0]
    errors, columns = by_severity(row, comparison), {column.key: column for column in comparison.columns}
    found = []
    for name, mean in weaknesses(errors):
        interval = _interval(row, columns[name], comparison, evidence)
        found.append(
            {
                "name": title(name),
                "family": _FAMILY.get(name, "extra" if comparison.group("corruption") else "\N{EN DASH}"),
                "mean": 100 * mean,
                "interval": _span(interval),
                "errors": [100 * error for error in errors[name].values()],
                "lost": broken_from(errors[name]),
            }
        )
    return found


def heat_maps(comparison: Comparison) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """Return for each row its label and, for each corruption, the errors by severity in percent."""
    return [
        (
            row.label,
            [
                (title(name), [100 * error for error in by.values()])
                for name, by in by_severity(row, comparison).items()
            ],
        )
        for row in comparison.rows
    ]


def severity_panels(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Return the panels of mean and families, and those of each corruption."""
    has_clean = comparison.setting.clean_images is not None
    places: list[tuple[float, str]] = [(0, "clean")] if has_clean else []
    places += [(severity, str(severity)) for severity in comparison.setting.severities]
    known = comparison.rows[0].curves
    whole = [name for name in ("mean", *FAMILIES) if name in known]
    drawn: dict[str, list[tuple[str, Look, list[float], list[float]]]] = {}
    for name in (*whole, *comparison.setting.corruptions):
        lines = []
        for label, look in looks(comparison).items():
            row = next(row for row in comparison.rows if row.label == label)
            points = [*([row.values[CLEAN_ERROR.key]] if has_clean else []), *row.curves[name]]
            means, spreads = [100 * p.mean for p in points], [100 * (p.std or 0) for p in points]
            lines.append((label, look, means, spreads))
        drawn[name] = lines
    tops = {
        name: max(m + s for _, _, ms, ss in lines for m, s in zip(ms, ss, strict=True))
        for name, lines in drawn.items()
    }
    names = {"mean": "mean of the 15"}
    axes = "severity", "top-1 error, percent"
    panels = {
        name: curves(names.get(name, title(name)), places, lines, axes, min(100, tops[name]))
        for name, lines in drawn.items()
    }
    return [panels[name] for name in whole], [panels[name] for name in comparison.setting.corruptions]


def difference_panels(comparison: Comparison, evidence: Evidence) -> list[str]:
    """Return a panel for each row that is compared with another: clean, means, families, corruptions."""
    rows = [row for row in comparison.rows if row.differences]
    single = (CLEAN_ERROR, MEAN_CORRUPTION_ERROR, MEAN_OF_SET)
    columns = [c for c in comparison.columns if c in single or c.group != "main"]
    short = {MEAN_CORRUPTION_ERROR: "mean of the 15", CLEAN_ERROR: "clean"}
    drawn, ends = [], [0.0]
    for row in rows:
        lines = []
        for column in columns:
            if column.key not in row.differences:
                continue
            interval = difference_interval(row, column, evidence)
            points = interval and (100 * interval[0], 100 * interval[1])
            lines.append((short.get(column, column.title), 100 * row.differences[column.key].mean, points))
            ends += [lines[-1][1], *(points or ())]
        drawn.append((f"{row.label} minus {row.against}", lines))
    axis, span = "difference in percentage points, left: better", (min(ends), max(ends))
    return [differences(name, lines, axis, span) for name, lines in drawn]


def classes(comparison: Comparison) -> dict[str, Any] | None:
    """Return the classes with the highest error under corruption, or of several rows the largest change.

    Returns:
        heads and rows (class, errors in percent, of several rows differences to the first); None where the
        results have no errors by class.
    """
    errors = [_class_errors(row) for row in comparison.rows]
    names = comparison.setting.classes
    if any(not one or max(one) >= len(names) for one in errors) or len(names) < 2:
        return None
    if len(errors) == 1:
        clean = _class_errors(comparison.rows[0], clean=True) or {}
        own = errors[0] or {}
        order = sorted(own, key=lambda n: -own[n])[:_MOST_CLASSES]
        rows = [(names[n], [100 * own[n], *([100 * clean[n]] if n in clean else [])]) for n in order]
        heads = ["corrupted", *(["clean"] if clean else [])]
        return {"heads": heads, "rows": rows, "changes": 0, "all": len(own)}
    first, *others = [one or {} for one in errors]
    change = {n: max((abs(one[n] - first[n]) for one in others if n in one), default=0.0) for n in first}
    order = sorted(change, key=lambda n: -change[n])[:_MOST_CLASSES]
    rows = [
        (names[n], [100 * first[n], *(100 * (one.get(n, first[n]) - first[n]) for one in others)])
        for n in order
    ]
    heads = [comparison.rows[0].label, *(row.label for row in comparison.rows[1:])]
    return {"heads": heads, "rows": rows, "changes": len(others), "all": len(first)}


def _class_errors(row: Row, *, clean: bool = False) -> dict[int, float] | None:
    """Return class number -> mean error over the corrupted conditions (or the clean one) and the seeds."""
    results = row.entry.results if row.entry else ()
    conditions = [
        one
        for result in results
        for one in ([result.clean] if clean else [c for by in result.corrupted.values() for c in by.values()])
        if one is not None
    ]
    if not conditions or len({len(one.class_errors) for one in conditions}) > 1:
        return None
    found = {}
    for n in range(len(conditions[0].class_errors)):
        known = [error for one in conditions if (error := one.class_errors[n]) is not None]
        if known:
            found[n] = fmean(known)
    return found


def mixed_up(comparison: Comparison, evidence: Evidence) -> list[dict[str, Any]]:
    """Return the confusions of a single row, in percent; empty without predictions."""
    row = comparison.rows[0]
    if len(comparison.rows) > 1 or row.label not in evidence.predictions:
        return []
    found = confusions(evidence.predictions[row.label], comparison.setting.classes)
    return [one | {"share": 100 * one["share"], "corruption": title(one["corruption"])} for one in found]


def calibrations(comparison: Comparison, evidence: Evidence) -> dict[str, Any]:
    """Return the table of ECE, NLL and Brier score, and the panels of reliability."""
    rows = [(row.label, calibration(row)) for row in comparison.rows]
    table = [(label, name, values) for label, found in rows for name, values in found or ()]
    panels = []
    for name, corrupted in (("clean images", False), ("corrupted images", True)):
        lines = [
            (label, look, bins)
            for label, look in looks(comparison).items()
            if label in evidence.predictions
            and (bins := reliability_bins(evidence.predictions[label], corrupted=corrupted))
        ]
        if lines:
            panels.append(reliability(name, lines))
    return {"table": table, "panels": panels}


def difference_interval(row: Row, column: Column, evidence: Evidence) -> Interval | None:
    """Return the 95 % interval of a difference: over images where it is known, else over seeds, else None."""
    known = evidence.differences.get(row.label, {}).get(column.key)
    if known is not None or column.key not in row.differences:
        return known
    one = row.differences[column.key]
    half = one.half_width()
    return None if half is None else (one.mean - half, one.mean + half)


def settled(row: Row, column: Column, evidence: Evidence) -> bool:
    """Whether the interval of the difference to the baseline leaves 0 out."""
    interval = difference_interval(row, column, evidence)
    return interval is not None and not interval[0] <= 0 <= interval[1]


def _interval(row: Row, column: Column, comparison: Comparison, evidence: Evidence) -> Interval | None:
    """Return the interval of an error over the test images: by bootstrap, else the binomial one.

    Of a mean over conditions the binomial one is the widest that it can be: the same images are in all.
    """
    known = evidence.intervals.get(row.label, {}).get(column.key)
    if known is not None:
        return known
    if (
        column.factor != 100
        or "mce" in column.key
        or (
            column.group not in ("family", "corruption", "extra")
            and column not in (CLEAN_ERROR, MEAN_CORRUPTION_ERROR, MEAN_OF_SET)
        )
    ):
        return None
    images = comparison.setting.images - len(comparison.setting.skipped)
    return wilson(min(1.0, max(0.0, row.values[column.key].mean)), max(1, images))


def _span(interval: Interval | None, factor: float = 100) -> str:
    if interval is None:
        return ""
    low, high = (f"{factor * end + 0.0:.1f}".replace("-", "\N{MINUS SIGN}") for end in interval)
    return f"{low} to {high}"


def legend(comparison: Comparison) -> list[tuple[str, Look]]:
    """Return each row's label and look."""
    return [
        (f"{row.label} (baseline)" if row.is_baseline and len(comparison.rows) > 1 else row.label, look)
        for row, look in zip(comparison.rows, looks(comparison).values(), strict=True)
    ]
