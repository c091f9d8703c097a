"""The columns of a comparison: one home for each figure's name, convention and formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS

Group = Literal["main", "family", "corruption", "extra"]


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
MAIN_COLUMNS = (
    CLEAN_ERROR,
    MEAN_CORRUPTION_ERROR,
    MCE_ALEXNET,
    MCE_BASELINE,
    RELATIVE_MCE_BASELINE,
    NET_REDUCTION,
)


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
    extra = name not in CORRUPTIONS
    return Column(
        name,
        title(name),
        "extra" if extra else "corruption",
        f"Top-1 error, {title(name)} (mean over {span}, not AlexNet-normalised)",
        f"mean over {span} of E[c,s]",
        "Not one of the benchmark's 15: it enters no mean of them."
        if extra
        else f"Top-1 error under {title(name)}.",
    )


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
