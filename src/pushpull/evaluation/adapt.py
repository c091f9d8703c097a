"""Batch norms adapted to the images at hand: the cheapest rival of a robust network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pushpull.errors import InputError, one_line


def tracking_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms with running statistics."""
    return [unit for unit in model.modules() if isinstance(unit, _BatchNorm) and unit.track_running_stats]


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms with running statistics; none is an `InputError`."""
    norms = tracking_norms(model)
    if not norms:
        raise InputError(
            f"adapt=bn: the {type(model).__name__} has no batch norm with running statistics; leave adapt out"
        )
    return norms


@contextmanager
def adapted_norms(
    model: nn.Module, call: Callable[[Tensor], Any], images: Tensor, prior: float
) -> Iterator[None]:
    """Have the batch norms' statistics mixed with those of `images`, then restore them.

    mean = N / (N + n) mean_source + n / (N + n) mean_target, variances alike; n images, prior weight N. The
    statistics of a norm are of what the norms before it, taking this batch's own, let through.

    Args:
        model: in evaluation mode.
        call: runs it.
        images: (n, 3, H, W), what the network takes.
        prior: N >= 0; 0 replaces the statistics.

    Raises:
        InputError: too few images for a variance.

    Source: Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation",
        NeurIPS 2020, equation 3.
    """
    norms = batch_norms(model)
    kept = [(norm.momentum, {k: v.clone() for k, v in norm.named_buffers()}) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = len(images) / (prior + len(images))
            norm.train()
        try:
            with torch.no_grad():
                call(images)
        except ValueError as error:  # one value of a channel has no variance
            raise InputError(f"adapt=bn: {one_line(error)}; give more images (--adapt-images)") from error
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.eval()
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
