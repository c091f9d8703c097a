"""Counting right and wrong answers, on the device, without waiting for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pushpull.errors import InputError
from pushpull.evaluation.ranks import sum_over_ranks
from pushpull.evaluation.results import Condition


def checked_logits(output: Any, images: int) -> Tensor:
    """Return a network's output if it is (images, any number) floating-point logits.

    Args:
        output: what the network returned.
        images: how many it was given.

    Raises:
        InputError: it is anything else, with what to do.
    """
    if not isinstance(output, Tensor):
        raise InputError(
            f"the model returned a {type(output).__name__}, not a tensor of logits (N, classes); "
            "wrap it in a module that returns only the logits"
        )
    if output.ndim != 2 or output.shape[0] != images or not output.is_floating_point():
        shape = f"shape {tuple(output.shape)}, {output.dtype}"
        raise InputError(
            f"the model returned {shape} for {images} images; need float logits ({images}, classes)"
        )
    return output


def check_labels_fit(logits: Tensor, highest_label: int) -> None:
    """Raise `InputError` unless there is a logit for the data's highest label."""
    if logits.shape[1] <= highest_label:
        raise InputError(
            f"the model has {logits.shape[1]} outputs, the data the label {highest_label}; "
            "labels count from 0 and must be below the number of outputs"
        )


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

    def over_ranks(self) -> Tally:
        """Return the sum of every rank's tally."""
        total = Tally(self._classes, self._counts.device)
        total._counts = sum_over_ranks(self._counts)
        return total

    @property
    def broken(self) -> int:
        """Number of images with a NaN logit."""
        return int(self._counts[:, 3].sum())

    def condition(self, seconds: float) -> Condition:
        """Return the counts as errors in [0, 1]; top-5 only where there are more than five classes."""
        rows = self._counts.tolist()
        images, wrong, wrong5, _ = (sum(column) for column in zip(*rows, strict=True))
        return Condition(
            top1_error=wrong / images,
            top5_error=wrong5 / images if self._classes > 5 else None,
            class_errors=[bad / count if count else None for count, bad, _, _ in rows],
            images=images,
            seconds=seconds,
        )
