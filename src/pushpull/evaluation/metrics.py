"""Robustness and calibration in numbers: pure functions of errors, predictions and logits.

Errors are fractions in [0, 1]; `errors` maps a corruption to its errors at severity 1, 2, 3, 4, 5. Two kinds
of mean exist and have different names: `mean_corruption_error` (unnormalised: CIFAR-10-C, the PushPull paper)
and `mce` (divided by a baseline's: ImageNet-C). They must never stand in one column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

import torch
from torch import Tensor

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.data.published import SEVERITIES
from pushpull.errors import InputError, choice


@dataclass(frozen=True)
class Baseline:
    """A reference network's errors, all fractions in [0, 1].

    Args:
        label: what tables call it.
        mean_errors: corruption -> top-1 error, mean over the five severities.
        clean_error: top-1 error on the uncorrupted images.
        source: where the figures are published.
        data: the only data set on which dividing by them means anything.
    """

    label: str
    mean_errors: Mapping[str, float]
    clean_error: float
    source: str
    data: str


ALEXNET = Baseline(
    label="AlexNet",
    mean_errors=MappingProxyType(
        {
            "gaussian_noise": 0.886428,
            "shot_noise": 0.894468,
            "impulse_noise": 0.922640,
            "defocus_blur": 0.819880,
            "glass_blur": 0.826268,
            "motion_blur": 0.785948,
            "zoom_blur": 0.798360,
            "snow": 0.866816,
            "frost": 0.826572,
            "fog": 0.819324,
            "brightness": 0.564592,
            "contrast": 0.853204,
            "elastic_transform": 0.646056,
            "pixelate": 0.717840,
            "jpeg_compression": 0.606500,
        }
    ),
    clean_error=0.4348,
    source="Hendrycks & Dietterich (ICLR 2019), as listed in google-research/augmix and "
    "google-research/robustness_metrics",
    data="ImageNet-C",
)
BASELINES: Mapping[str, Baseline] = MappingProxyType({"alexnet": ALEXNET})

Errors = Mapping[str, Sequence[float]]
BaselineErrors = Mapping[str, Sequence[float] | float]


def mean_corruption_error(errors: Errors, corruptions: Iterable[str] = CORRUPTIONS) -> float:
    """Mean error over corruptions and severities, unnormalised.

    mean over c and s of E[c, s]; the extra corruptions do not enter unless named in `corruptions`.

    Args:
        errors: corruption -> errors at severity 1..5, in [0, 1].
        corruptions: which to average; the fifteen of the benchmark unless given.

    Returns:
        In [0, 1].

    Raises:
        InputError: a corruption or severity is missing (or NaN), or an error is outside [0, 1].

    Source: the convention of CIFAR-10-C and of Bennabhaktula et al., ICPR 2024, which prints it as "mCE".
    """
    names = tuple(corruptions)
    if not names:
        raise InputError("corruptions is empty; name at least one")
    return fmean(_mean_error(errors, name) for name in names)


def mce(
    errors: Errors, baseline: BaselineErrors | str = "alexnet", corruptions: Iterable[str] = CORRUPTIONS
) -> float:
    """Mean over the corruptions of error relative to a baseline's; 1 for the baseline itself.

    mean over c of (sum over s of E[c, s]) / (sum over s of E_base[c, s])

    Args:
        errors: corruption -> errors at severity 1..5, in [0, 1].
        baseline: "alexnet" (ImageNet-C only) or another network's errors; a single number for a corruption is
            its mean over severities.
        corruptions: which to average; the fifteen of the benchmark unless given.

    Returns:
        A ratio, >= 0 (the literature prints it times 100).

    Raises:
        InputError: something is missing in either, the baseline is unknown, or an error of it is 0.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.3.
    """
    return _mean_ratio(errors, 0.0, baseline, 0.0, corruptions)


def relative_mce(
    errors: Errors,
    clean_error: float,
    baseline: BaselineErrors | str = "alexnet",
    baseline_clean_error: float | None = None,
    corruptions: Iterable[str] = CORRUPTIONS,
) -> float:
    """Mean over the corruptions of the error that each adds, relative to what it adds to a baseline.

    mean over c of (sum over s of E[c, s] - E_clean) / (sum over s of E_base[c, s] - E_base_clean)

    Args:
        errors: corruption -> errors at severity 1..5, in [0, 1].
        clean_error: the same network's error on uncorrupted images.
        baseline: as for `mce`.
        baseline_clean_error: the baseline's; known for "alexnet".
        corruptions: which to average; the fifteen of the benchmark unless given.

    Returns:
        A ratio; 1 for the baseline itself, below 0 if corruption lowers the mean error.

    Raises:
        InputError: something is missing, or a corruption does not raise the baseline's error.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.3.
    """
    if isinstance(baseline, str):
        baseline_clean_error = BASELINES[choice("baseline", baseline, BASELINES)].clean_error
    if baseline_clean_error is None:
        raise InputError("baseline_clean_error is missing; give the baseline's error on clean images")
    clean = _fraction(clean_error, "clean_error")
    base_clean = _fraction(baseline_clean_error, "baseline_clean_error")
    return _mean_ratio(errors, clean, baseline, base_clean, corruptions)


def net_reduction(
    clean_error: float, mean_error: float, baseline_clean_error: float, baseline_mean_error: float
) -> float:
    """Net reduction of error against a baseline, in percent: gains and losses on clean and corrupted images.

    R_net = 100 * ((E0 - E) + (M0 - M)) / (2 * E0)

    Args:
        clean_error: E, in [0, 1].
        mean_error: M, the unnormalised `mean_corruption_error`, in [0, 1].
        baseline_clean_error: E0, in (0, 1].
        baseline_mean_error: M0, in [0, 1].

    Returns:
        Percent; positive is better than the baseline.

    Raises:
        InputError: an error is outside [0, 1], or the baseline's clean error is 0.

    Source: fitted to the published table of Bennabhaktula et al., ICPR 2024, all rows of which it
    reproduces to rounding; the paper's own equation was not read.
    """
    error, mean = _fraction(clean_error, "clean_error"), _fraction(mean_error, "mean_error")
    error0 = _fraction(baseline_clean_error, "baseline_clean_error")
    mean0 = _fraction(baseline_mean_error, "baseline_mean_error")
    if error0 == 0:
        raise InputError(
            "baseline_clean_error=0 makes the net reduction undefined; use a baseline with errors"
        )
    return 100 * ((error0 - error) + (mean0 - mean)) / (2 * error0)


def family_errors(errors: Errors) -> dict[str, float]:
    """Return family (noise, blur, weather, digital) -> mean error over its corruptions and severities.

    Args:
        errors: corruption -> errors at severity 1..5, in [0, 1].

    Raises:
        InputError: a corruption or severity of the fifteen is missing, or an error is outside [0, 1].
    """
    return {family: mean_corruption_error(errors, names) for family, names in FAMILIES.items()}


def flip_rate(predictions: Tensor, *, noise: bool = False) -> float:
    """Share of steps of perturbation sequences at which the predicted class changes (ImageNet-P).

    FP = P[f(x_j) != f(x_{j-1})]; for noise, whose frames are independent, P[f(x_j) != f(x_1)].

    Args:
        predictions: (sequences, frames) integers, the predicted class of each frame.
        noise: compare with the first frame instead of the one before.

    Returns:
        In [0, 1].

    Raises:
        InputError: not two-dimensional, no sequence, or fewer than two frames.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.3.
    """
    if predictions.ndim != 2 or predictions.shape[0] == 0 or predictions.shape[1] < 2:
        shape = tuple(predictions.shape)
        raise InputError(
            f"predictions of shape {shape}: need (sequences >= 1, frames >= 2) predicted classes"
        )
    before = predictions[:, :1] if noise else predictions[:, :-1]
    return (predictions[:, 1:] != before).double().mean().item()


def top5_distances(before: Tensor, logits: Tensor) -> Tensor:
    """How far the five classes ranked first have moved between two frames.

    T5D = sum over i = 0..4 of |i - min(r_i, 5)|, r_i the rank in the second frame of the class that is i-th
    in the first; equal logits rank by class number.

    Args:
        before, logits: (n, classes), classes >= 6.

    Returns:
        (n,) float64, in [0, 15].

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.3, as its published program computes it.
    """
    order, now = (of.sort(dim=1, descending=True, stable=True).indices for of in (before, logits))
    rank = now.argsort(dim=1).gather(1, order[:, :5])
    place = torch.arange(5, device=rank.device)
    return (place - rank.clamp(max=5)).abs().sum(dim=1).double()


def mean_top5_distance(distances: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """Return mT5D: the mean over perturbations of a network's top-5 distance divided by a baseline's.

    Args:
        distances: perturbation -> mean top-5 distance of the network, >= 0.
        baseline: the same of the network that counts as 1, AlexNet by convention.

    Raises:
        InputError: `distances` is empty, or the baseline lacks a perturbation or never moves.
    """
    if not distances:
        raise InputError("distances is empty; give perturbation -> top-5 distance")
    missing = [name for name in distances if name not in baseline]
    if missing:
        raise InputError(f"the baseline's top-5 distances lack {', '.join(missing)}; give them too")
    return fmean(_ratio(distance, baseline[name], name) for name, distance in distances.items())


def mean_flip_rate(rates: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """Return mFR: the mean over perturbations of a network's flip rate divided by a baseline's.

    Args:
        rates: perturbation -> flip rate of the network, in [0, 1].
        baseline: the same of the network that counts as 1, AlexNet by convention.

    Raises:
        InputError: `rates` is empty, the baseline lacks a perturbation or never flips, or a rate is outside
            [0, 1].
    """
    if not rates:
        raise InputError("rates is empty; give perturbation -> flip rate")
    missing = [name for name in rates if name not in baseline]
    if missing:
        raise InputError(f"the baseline's flip rates lack {', '.join(missing)}; give them too")
    return fmean(
        _ratio(_fraction(rate, name), _fraction(baseline[name], name), name) for name, rate in rates.items()
    )


def calibration_sums(logits: Tensor, labels: Tensor, *, bins: int = 15) -> Tensor:
    """What `calibration` needs of some images; sums of several batches are those of all their images.

    Args:
        logits: (n, classes); images with a logit that is not finite are left out.
        labels: (n,) integers in 0..classes-1.
        bins: of confidence, of equal width: bin b is ((b-1)/bins, b/bins].

    Returns:
        (bins + 3,) float64: of each bin the sum of right (1 or 0) minus confidence; then the sums of
        -log p(label) in nats and of squared distances between probabilities and one-hot label; then the
        number of images.
    """
    finite = logits.isfinite().all(dim=1)
    # No double precision on Apple's GPUs.
    dtype = torch.float32 if logits.device.type == "mps" else torch.float64
    log_p = logits.to(dtype).where(finite[:, None], 0).log_softmax(dim=1)
    p = log_p.exp()
    confidence, predicted = p.max(dim=1)
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    of_label = log_p.gather(1, labels[:, None])[:, 0]
    squares = p.square().sum(dim=1) - 2 * of_label.exp() + 1
    of_image = torch.stack([-of_label, squares, finite.to(dtype)])
    gaps = torch.zeros(bins, dtype=dtype, device=p.device)
    gaps.index_add_(0, which, ((predicted == labels).to(dtype) - confidence) * finite)
    return torch.cat([gaps, (of_image * finite).sum(dim=1)])


def calibration(sums: Tensor) -> tuple[float, float, float] | None:
    """Expected calibration error, negative log-likelihood and Brier score; None where there was no image.

    ECE = sum over bins b of |B_b| / n * |accuracy(B_b) - confidence(B_b)|

    Args:
        sums: what `calibration_sums` returned, added over batches.

    Returns:
        ECE in [0, 1]; the mean of -log p(label) in nats; Brier's score, the sum over all classes and not the
        half of it, in [0, 2].

    Source: Guo et al., ICML 2017, equation 3; Brier, Monthly Weather Review 1950.
    """
    *gaps, nll, brier, images = sums.tolist()
    return (sum(map(abs, gaps)) / images, nll / images, brier / images) if images else None


def _fraction(value: float, what: str) -> float:
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{what}={value} is outside [0, 1]; give a fraction, not percent")
    return value


def _mean_error(errors: BaselineErrors, name: str, whose: str = "the errors") -> float:
    """Return the mean over severities of one corruption's errors."""
    if name not in errors:
        raise InputError(f"{whose} lack {name}; evaluate all of: {', '.join(CORRUPTIONS)}")
    values = errors[name]
    if isinstance(values, int | float):
        return _fraction(values, f"{whose}: {name}")
    if len(values) != len(SEVERITIES):
        raise InputError(f"{whose}: {name} has {len(values)} severities; evaluate all of 1..5")
    missing = [str(s) for s, value in zip(SEVERITIES, values, strict=True) if math.isnan(value)]
    if missing:
        raise InputError(f"{whose}: {name} lacks severity {', '.join(missing)}; evaluate all of 1..5")
    return fmean(_fraction(value, f"{whose}: {name}") for value in values)


def _mean_ratio(
    errors: Errors,
    clean: float,
    baseline: BaselineErrors | str,
    base_clean: float,
    corruptions: Iterable[str],
) -> float:
    """Return the mean over corruptions of errors less `clean`, each over the baseline's less `base_clean`."""
    if isinstance(baseline, str):
        baseline = BASELINES[choice("baseline", baseline, BASELINES)].mean_errors
    return fmean(
        _ratio(
            _mean_error(errors, name) - clean,
            _mean_error(baseline, name, "the baseline's errors") - base_clean,
            name,
        )
        for name in corruptions
    )


def _ratio(value: float, base: float, name: str) -> float:
    if base <= 0:
        raise InputError(
            f"{name}: the baseline's value is {base:g}, so the ratio is undefined; use another baseline"
        )
    return value / base
