"""Counting right and wrong answers, on the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

from pushpull.evaluation.ranks import sum_over_ranks
from pushpull.evaluation.results import Condition


class Tally:
    """Counts by class over batches.

    Args:
        classes: number of logits.
        device: where logits and labels are.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        # Columns: images, wrong by top-1, wrong by top-5, not a number.
        self._counts = torch.zeros(classes, 4, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: (n, classes) logits, (n,) int64 labels in 0..classes-1.

        Equal logits rank by class number, lowest first. An image with a NaN logit is wrong.
        """
        target = logits.gather(1, labels[:, None])
        earlier = torch.arange(self._classes, device=logits.device) < labels[:, None]
        rank = ((logits > target) | ((logits == target) & earlier)).sum(dim=1)
        broken = logits.isnan().any(dim=1)
        columns = [torch.ones_like(broken), (rank >= 1) | broken, (rank >= 5) | broken, broken]
        self._counts.index_add_(0, labels, torch.stack(columns, dim=1).long())

    def condition(self, seconds: float) -> tuple[Condition, int]:
        """Return every rank's counts together as errors in [0, 1], and how many images had a NaN logit.

        Top-5 only where there are more than five classes.
        """
        rows = sum_over_ranks(self._counts).tolist()
        images, wrong, wrong5, broken = (sum(column) for column in zip(*rows, strict=True))
        condition = Condition(
            top1_error=wrong / images,
            top5_error=wrong5 / images if self._classes > 5 else None,
            class_errors=[bad / count if count else None for count, bad, _, _ in rows],
            images=images,
            seconds=seconds,
        )
        return condition, broken
