"""Which images these are: what every random number of an augmentation depends on, and all it depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushpull.random import Draws


@dataclass(frozen=True)
class Identity:
    """The images of a batch.

    Attributes:
        index: (N,) int64 on the CPU, so that how many images do what is known without asking a device.
        seed, epoch: another of either is another drawing.
        view: 0, or the number of a further drawing of the same image, for consistency losses.
    """

    index: Tensor
    seed: int
    epoch: int
    view: int

    def draws(self, name: str, device: torch.device | str = "cpu") -> Draws:
        """Return the random numbers that are for `name`, made on `device`."""
        purpose = f"{name} epoch {self.epoch} view {self.view}"
        return Draws(self.index.to(device), seed=self.seed, name=purpose, severity=0)

    def taken(self, part: slice | Tensor) -> Identity:
        """Return the identities of a part of the batch."""
        return replace(self, index=self.index[part])

    def slots(self, rows: Tensor, count: int) -> Identity:
        """Return identities of their own for each of `count` things an image has.

        Args:
            rows: int64, image number times count plus the thing's number: image i has i * count + 0, 1, ...
            count: how many things an image has.
        """
        return replace(self, index=self.index[rows // count] * count + rows % count)


def beta_half(uniform: Tensor) -> Tensor:
    """Return Beta(1/2, 1/2), the arcsine law, from uniform numbers U: sin^2(pi U / 2)."""
    return uniform.mul(math.pi / 2).sin_().square_()


def dirichlet(uniform: Tensor) -> Tensor:
    """Return Dirichlet(1, ..., 1) along the last axis, from uniform numbers: exponentials over their sum."""
    exponentials = uniform.log().neg_()
    return exponentials / exponentials.sum(-1, keepdim=True)
