"""Counting right and wrong answers, on the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

from pushpull.evaluation.metrics import calibration, calibration_sums
from pushpull.evaluation.ranks import sum_over_ranks
from pushpull.evaluation.results import Condition

# Of calibration: a sum's last digits depend on the order of its terms, so on batch size and ranks.
_DIGITS = 6


class Tally:
    """Counts by class over batches.

    Args:
        classes: number of logits.
        device: where logits and labels are.
        keep: whether every image's answer is kept too.
    """

    def __init__(self, classes: int, device: torch.device, *, keep: bool = False) -> None:
        self._classes = classes
        # Columns: images, wrong by top-1, wrong by top-5, not a number.
        self._counts = torch.zeros(classes, 4, dtype=torch.int64, device=device)
        self._calibration: Tensor | None = None
        self._answers: list[tuple[Tensor, ...]] | None = [] if keep else None

    def add(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Count a batch: (n, classes) logits, (n,) int64 labels in 0..classes-1, (n,) int64 rows of images.

        Equal logits rank by class number, lowest first. An image with a NaN logit is wrong.
        """
        target = logits.gather(1, labels[:, None])
        numbers = torch.arange(self._classes, device=logits.device)
        rank = ((logits > target) | ((logits == target) & (numbers < labels[:, None]))).sum(dim=1)
        broken = logits.isnan().any(dim=1)
        columns = [torch.ones_like(broken), (rank >= 1) | broken, (rank >= 5) | broken, broken]
        self._counts.index_add_(0, labels, torch.stack(columns, dim=1).long())
        sums = calibration_sums(logits, labels)
        self._calibration = sums if self._calibration is None else self._calibration + sums
        if self._answers is not None:
            highest = logits.amax(dim=1, keepdim=True)
            first = torch.where(logits == highest, numbers, self._classes).amin(dim=1)
            confidence = (highest[:, 0].float() - logits.float().logsumexp(dim=1)).exp()
            self._answers.append((index, labels, first.where(~broken, -1), confidence))

    def answers(self) -> list[Tensor]:
        """Return this rank's images, on the CPU: rows, labels, answers, confidences.

        Returns:
            (n,) int64 each, the confidences float32 in [0, 1]; with a NaN logit the answer is -1, the
            confidence NaN.
        """
        assert self._answers is not None
        return [torch.cat(column).cpu() for column in zip(*self._answers, strict=True)]

    def condition(self, seconds: float) -> tuple[Condition, int]:
        """Return every rank's counts together as errors in [0, 1], and how many images had a NaN logit.

        Top-5 only where there are more than five classes.
        """
        assert self._calibration is not None
        rows = sum_over_ranks(self._counts).tolist()
        images, wrong, wrong5, broken = (sum(column) for column in zip(*rows, strict=True))
        calibrated = calibration(sum_over_ranks(self._calibration))
        ece, nll, brier = [round(value, _DIGITS) for value in calibrated] if calibrated else [None] * 3
        condition = Condition(
            top1_error=wrong / images,
            top5_error=wrong5 / images if self._classes > 5 else None,
            class_errors=[bad / count if count else None for count, bad, _, _ in rows],
            images=images,
            seconds=seconds,
            ece=ece,
            nll=nll,
            brier=brier,
        )
        return condition, broken
