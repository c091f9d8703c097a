"""The columns of a comparison: name, convention, formula and value of each; the estimate that fills one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES
from pushpull.errors import InputError
from pushpull.evaluation import metrics

Group = Literal["main", "family", "corruption", "extra"]
LEVEL = 0.95
# Top-1 errors by corruption and severity (NaN where not measured) and the clean error, of one result or the
# means over several; in [0, 1].
Errors = tuple[Mapping[str, Sequence[float]], float | None]


@dataclass(frozen=True)
class Estimate:
    """The mean of `n` runs and their sample standard deviation (n - 1); `std` is None for a single run.

    >>> Estimate.of([0.1, 0.3])
    Estimate(mean=0.2, std=0.1414213562373095, n=2)
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Estimate:
        """Return the mean and sample standard deviation of at least one value."""
        numbers = list(values)
        assert numbers, "an estimate needs a value"
        mean = math.fsum(numbers) / len(numbers)
        if len(numbers) == 1:
            return cls(mean, None, 1)
        squares = math.fsum((number - mean) ** 2 for number in numbers)
        return cls(mean, math.sqrt(squares / (len(numbers) - 1)), len(numbers))

    def half_width(self, level: float = LEVEL) -> float | None:
        """Return half of the mean's confidence interval, t(n - 1) std / sqrt(n), Student's t; None for n = 1.

        Args:
            level: of confidence, in (0, 1).
        """
        if self.std is None:
            return None
        from scipy.special import stdtrit  # a tenth of a second that other reports need not wait for

        return float(stdtrit(self.n - 1, (1 + level) / 2)) * self.std / math.sqrt(self.n)

    def text(
        self, factor: float = 100.0, *, spread: bool = True, signed: bool = False, interval: bool = False
    ) -> str:
        """Return `12.3 ± 0.4`: one decimal each, times `factor` (100: a fraction becomes percent).

        Args:
            factor: what is printed for 1.
            spread: with the standard deviation, where there is one.
            signed: with a plus sign above zero.
            interval: with half of the 95 % interval in place of the standard deviation.

        >>> Estimate(0.123, 0.004, 3).text()
        '12.3 ± 0.4'
        """
        # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
        mean = round(self.mean * factor, 1) + 0.0
        text = f"{mean:+.1f}" if signed and mean else f"{mean:.1f}"
        text = text.replace("-", "\N{MINUS SIGN}")
        width = self.half_width() if interval else self.std
        return f"{text} ± {width * factor:.1f}" if spread and width is not None else text


@dataclass(frozen=True)
class Column:
    """One figure of a comparison.

    `key` names it in files; `title` heads it in tables; `metric` is its full name, convention included;
    `formula` and `meaning` define it. `factor` brings the stored value to the percent that tables print.
    """

    key: str
    title: str
    group: Group
    metric: str
    formula: str
    meaning: str
    factor: float = 100.0
    lower_is_better: bool = True

    @property
    def unit(self) -> str:
        """Of the stored value: "fraction", "ratio" or "percent"."""
        return "percent" if self.factor == 1 else "ratio" if "mce" in self.key else "fraction"


CLEAN_ERROR = Column(
    "clean_error",
    "E (clean)",
    "main",
    "Top-1 error",
    "E = wrong images / all images",
    "Top-1 error on the clean images.",
)
MEAN_CORRUPTION_ERROR = Column(
    "mean_corruption_error",
    "mean corruption error",
    "main",
    "Mean corruption error (plain mean over 15 x 5, not AlexNet-normalised)",
    "mean over 15 corruptions c and 5 severities s of E[c,s]",
    "The convention of CIFAR-10-C and of the push-pull paper's mCE. Not divided by AlexNet's errors: "
    "not to be set beside the usual ImageNet-C mCE.",
)
MEAN_OF_SET = Column(
    "mean_of_set",
    "mean of the set",
    "main",
    "Mean top-1 error over the corruptions of the set (not the benchmark's 15, not AlexNet-normalised)",
    "mean over the set's corruptions c and 5 severities s of E[c,s]",
    "For sets such as ImageNet-C-bar, whose corruptions are none of the benchmark's 15. "
    "Not to be set beside the mean corruption error.",
)
MCE_ALEXNET = Column(
    "mce_alexnet",
    "mCE vs AlexNet",
    "main",
    "mCE (AlexNet-normalised)",
    "mean over c of Σₛ E[c,s] / Σₛ E_AlexNet[c,s]",
    "The usual ImageNet-C mCE (Hendrycks & Dietterich 2019); defined for the 1000 classes of ImageNet only. "
    "100 is AlexNet.",
)
MCE_BASELINE = Column(
    "mce_baseline",
    "mCE vs baseline",
    "main",
    "mCE vs baseline (normalised by the baseline run, not by AlexNet)",
    "mean over c of Σₛ E[c,s] / Σₛ E₀[c,s]",
    "The same ratio with the errors E₀ of the baseline run in AlexNet's place: 100 is the baseline.",
)
RELATIVE_MCE_BASELINE = Column(
    "relative_mce_baseline",
    "relative mCE vs baseline",
    "main",
    "Relative mCE vs baseline (normalised by the baseline run, not by AlexNet)",
    "mean over c of Σₛ (E[c,s] − E) / Σₛ (E₀[c,s] − E₀)",
    "What corruption adds to the clean error, as a share of what it adds to the baseline's: "
    "100 is the baseline.",
)
NET_REDUCTION = Column(
    "net_reduction_percent",
    "R_net",
    "main",
    "Net reduction of error R_net (fitted to the published table)",
    "R_net = 100 · ((E₀ − E) + (m₀ − m)) / (2 · E₀), m the mean corruption error",
    "Higher is better; 0 is the baseline. The formula was fitted to the published table of the "
    "push-pull paper. It divides by the baseline's clean error, so a small E₀ makes it large.",
    factor=1.0,
    lower_is_better=False,
)
NEED_CLEAN = (CLEAN_ERROR, RELATIVE_MCE_BASELINE, NET_REDUCTION)
AGAINST_BASELINE = (MCE_BASELINE, RELATIVE_MCE_BASELINE, NET_REDUCTION)
MAIN_COLUMNS = (CLEAN_ERROR, MEAN_CORRUPTION_ERROR, MCE_ALEXNET, MCE_BASELINE, *NEED_CLEAN[1:])


def family_column(family: str) -> Column:
    """The mean error of one family of corruptions."""
    return Column(
        f"family_{family}",
        family,
        "family",
        f"Mean top-1 error, {family} corruptions (not AlexNet-normalised)",
        "mean over the family's corruptions c and 5 severities s of E[c,s]",
        f"Mean top-1 error over the benchmark's {family} corruptions.",
    )


def corruption_column(name: str, severities: Sequence[int]) -> Column:
    """The mean error of one corruption over the severities that were measured."""
    span = severities_text(severities)
    metric = f"Top-1 error, {title(name)} (mean over {span}, not AlexNet-normalised)"
    group: Group = "corruption" if name in CORRUPTIONS else "extra"
    outside = "Not one of the benchmark's 15: it enters no mean of them."
    meaning = f"Top-1 error under {title(name)}." if group == "corruption" else outside
    return Column(name, title(name), group, metric, f"mean over {span} of E[c,s]", meaning)


def ordered(corruptions: Sequence[str]) -> tuple[str, ...]:
    """Corruptions in the benchmark's order, the extra ones after the 15, unknown names last."""
    known = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    return tuple(sorted(corruptions, key=lambda name: known.index(name) if name in known else len(known)))


def title(name: str) -> str:
    """`gaussian_noise` as people write it: `gaussian noise`; `jpeg_compression` as `JPEG compression`."""
    return name.replace("_", " ").replace("jpeg", "JPEG")


def severities_text(severities: Sequence[int]) -> str:
    """`5 severities` for all of them, else `severity 1, 3 only`."""
    return "5 severities" if len(severities) == 5 else f"severity {', '.join(map(str, severities))} only"


def seeds_text(seeds: Sequence[int | None]) -> str:
    """The known seeds with spaces between: `0 1 2`."""
    return " ".join(str(seed) for seed in seeds if seed is not None)


def value(column: Column, own: Errors, base: Errors | None, mean: Errors | None) -> float:
    """Return the stored value of a column: a fraction, a ratio, or for R_net percent.

    Args:
        own: whose value it is.
        base: what R_net is against.
        mean: the baseline's mean over its seeds, which the ratios divide by: a small error of one seed in a
            denominator would make them wild.

    Raises:
        InputError: it is not defined for these errors.
    """
    if column.key in _MAIN:
        return _MAIN[column.key](own, base, mean)
    if column.group == "family":
        return metrics.mean_corruption_error(own[0], FAMILIES[column.title])
    return fmean(error for error in own[0][column.key] if not math.isnan(error))


def _clean(errors: Errors) -> float:
    if errors[1] is None:
        raise InputError("the clean images were not measured")
    return errors[1]


def _both(errors: Errors) -> tuple[float, float]:
    return _clean(errors), metrics.mean_corruption_error(errors[0])


_MAIN: dict[str, Callable[[Errors, Any, Any], float]] = {
    CLEAN_ERROR.key: lambda own, base, mean: _clean(own),
    MEAN_CORRUPTION_ERROR.key: lambda own, base, mean: metrics.mean_corruption_error(own[0]),
    MEAN_OF_SET.key: lambda own, base, mean: metrics.mean_corruption_error(own[0], own[0]),
    MCE_ALEXNET.key: lambda own, base, mean: metrics.mce(own[0], "alexnet"),
    MCE_BASELINE.key: lambda own, base, mean: metrics.mce(own[0], mean[0]),
    RELATIVE_MCE_BASELINE.key: lambda own, _, mean: metrics.relative_mce(
        own[0], _clean(own), mean[0], _clean(mean)
    ),
    NET_REDUCTION.key: lambda own, base, _: metrics.net_reduction(*_both(own), *_both(base)),
}
