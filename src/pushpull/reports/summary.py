"""Results in a few words: the headline, the weaknesses in order, how sure a share of images is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.errors import counted
from pushpull.evaluation.results import Results, weaknesses
from pushpull.reports.columns import LEVEL, title

FEW_IMAGES = 1000
_HALF = 0.5
# Corruption -> severity -> top-1 error in [0, 1], the mean over seeds.
BySeverity = Mapping[str, Mapping[int, float]]


def wilson(share: float, images: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a share of images that are wrong, as if the images were drawn by chance.

    Args:
        share: in [0, 1].
        images: how many it is of, at least 1.
        level: of confidence, in (0, 1).

    Returns:
        Its two ends, in [0, 1].

    Source: Wilson, "Probable inference", Journal of the American Statistical Association 22, 1927.

    >>> tuple(round(end, 3) for end in wilson(0.08, 500))
    (0.059, 0.107)
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_errors(results: Sequence[Results]) -> dict[str, dict[int, float]]:
    """Return the errors of the conditions that all of the results have: the mean over them."""
    first, *others = results
    return {
        name: {
            severity: fmean(result.corrupted[name][severity].top1_error for result in results)
            for severity in by
            if all(severity in other.corrupted.get(name, {}) for other in others)
        }
        for name, by in first.corrupted.items()
    }


def families(errors: BySeverity) -> list[tuple[str, float]]:
    """Return the mean error of each family of which every corruption was measured."""
    return [
        (family, fmean(error for name in names for error in errors[name].values()))
        for family, names in FAMILIES.items()
        if all(errors.get(name) for name in names)
    ]


def mean_of(errors: BySeverity) -> tuple[float, str] | None:
    """Return the plain mean error of the 15, or of what was measured, and what it is over; None: nothing."""
    measured = [name for name, by in errors.items() if by]
    names = [name for name in measured if name in CORRUPTIONS] or measured
    if not names:
        return None
    severities = {len(errors[name]) for name in names}
    each = f"{severities.pop()}" if len(severities) == 1 else "their"
    said = f"{counted(len(names), 'corruption')} x {each} severit{'y' if each == '1' else 'ies'}"
    return fmean(error for name in names for error in errors[name].values()), said


def headline(clean: float | None, errors: BySeverity, images: int) -> str:
    """Return the result as a sentence.

    Args:
        clean: error on the clean images, in [0, 1]; None: not measured.
        errors: of the corruptions.
        images: how many were evaluated.

    >>> headline(None, {"fog": {1: 0.2, 2: 0.3, 3: 0.4, 4: 0.6, 5: 0.7}}, 500)
    'Of 500 images 44.0 % wrong under corruption; worst: fog, more than half wrong from severity 4 up.'
    """
    parts = [] if clean is None else [f"{100 * clean:.1f} % wrong clean"]
    mean = mean_of(errors)
    if mean is not None:
        parts.append(f"{100 * mean[0]:.1f} %{'' if parts else ' wrong'} under corruption")
    text = f"Of {counted(images, 'image')} {', '.join(parts)}"
    ranked = weaknesses(errors)
    return (
        f"{text}; worst: {title(ranked[0][0])}, {worst_words(errors[ranked[0][0]])}."
        if ranked and ranked[0][1] > 0
        else text + "."
    )


def worst_words(by_severity: Mapping[int, float]) -> str:
    """Return where a corruption is worst: from which severity more than half are wrong, else how many are."""
    lost = broken_from(by_severity)
    if lost is None:
        severity = max(by_severity, key=lambda one: (by_severity[one], one))
        return f"{100 * by_severity[severity]:.1f} % wrong at severity {severity}"
    if lost == min(by_severity) and len(by_severity) > 1:
        return "more than half wrong at every severity"
    return f"more than half wrong {'at' if lost == max(by_severity) else 'from'} severity {lost}" + (
        "" if lost == max(by_severity) else " up"
    )


def broken_from(by_severity: Mapping[int, float]) -> int | None:
    """Return the severity from which on, up to the highest, more than half of the images are wrong."""
    lost = None
    for severity in sorted(by_severity, reverse=True):
        if by_severity[severity] <= _HALF:
            break
        lost = severity
    return lost


def few_images_words(images: int) -> str | None:
    """Return the warning of a small number of images, None where there are enough."""
    if images >= FEW_IMAGES:
        return None
    low, high = wilson(0.2, images)
    return (
        f"Only {counted(images, 'image')}: an error of 20 % is anything from {100 * low:.0f} % to "
        f"{100 * high:.0f} % (95 % interval), so small differences may be chance."
    )


def short_text(results: Results, worst: int | None = 3) -> list[str]:
    """Return a result as lines for the terminal: clean, mean, families, and the worst corruptions first.

    Args:
        results: complete or not.
        worst: how many corruptions; None: all, in the order in which they were measured.
    """
    errors = mean_errors([results])
    lines = []
    if results.clean is not None:
        low, high = (100 * end for end in wilson(results.clean_error, results.clean.images))
        interval = f"95 % interval over images {low:.1f} to {high:.1f}"
        lines.append(f"  {'clean':18} {100 * results.clean_error:5.1f}   ({interval})")
    mean = mean_of(errors)
    if mean is None:
        return lines
    lines.append(f"  {'corrupted':18} {100 * mean[0]:5.1f}   (plain mean of {mean[1]})")
    lines += [f"    {family:16} {100 * error:5.1f}" for family, error in families(errors)]
    ranked = [name for name, _ in weaknesses(errors)]
    shown = list(errors) if worst is None else ranked[:worst]
    if worst is not None and len(ranked) > worst:
        lines.append(f"  the worst {worst} of {len(ranked)}:")
    for name in shown:
        by = errors[name]
        figures = " ".join(f"{100 * error:5.1f}" for error in by.values())
        lines.append(f"  {title(name):18} {figures}   (severity {' '.join(map(str, by))})")
    return lines
