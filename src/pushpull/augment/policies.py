"""AutoAugment, RandAugment and TrivialAugment, with one draw an image."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from pushpull.augment.identity import Identity
from pushpull.augment.ops import OPS, apply_ops
from pushpull.augment.settings import (
    AUTOAUGMENT_SPACE,
    RANDAUGMENT_SPACE,
    TRIVIAL_BINS,
    TRIVIAL_SPACE,
    RandAugmentSetting,
    Range,
    Space,
)
from pushpull.augment.subpolicies import SubPolicy

_AUTOAUGMENT_BINS = 10


class Magnitudes(NamedTuple):
    """A space's operations in its order.

    Attributes:
        op: (K,) int64, numbers of `ops.OPS`.
        values: (K, bins) float32.
        signed: (K,) bool, whether half of the draws are negated.
    """

    op: Tensor
    values: Tensor
    signed: Tensor


def magnitudes(space: Space, bins: int, size: tuple[int, int]) -> Magnitudes:
    """Return the magnitudes of a space's operations for images of (height, width) `size`."""
    return _magnitudes(tuple(space.items()), bins, size)


@lru_cache(maxsize=16)
def _magnitudes(space: tuple[tuple[str, Range], ...], bins: int, size: tuple[int, int]) -> Magnitudes:
    op = torch.tensor([OPS.index(name) for name, _ in space])
    values = torch.stack([_values(part, bins, size) for _, part in space])
    return Magnitudes(op, values, torch.tensor([part.signed for _, part in space]))


def _values(part: Range, bins: int, size: tuple[int, int]) -> Tensor:
    if part.unit == "bits":
        return (part.low - torch.arange(bins) / ((bins - 1) / (part.low - part.high))).round()
    px = {"height": size[0], "width": size[1]}.get(part.unit, 1)
    return torch.linspace(part.low * px, part.high * px, bins)


def chosen_magnitudes(
    table: Magnitudes, number: Tensor, level: Tensor, coin: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the operation and magnitude of draws.

    Args:
        table: a space's.
        number: of the operation in the space.
        level: of its magnitudes.
        coin: uniform in (0, 1); up to 1/2 negates a signed magnitude.
    """
    value = table.values[number, level]
    return table.op[number], torch.where(table.signed[number] & (coin <= 0.5), -value, value)


def autoaugment(
    images: UInt8[Tensor, "n 3 h w"], policy: tuple[SubPolicy, ...], identity: Identity
) -> UInt8[Tensor, "n 3 h w"]:
    """Apply one of the sub-policies to every image: two operations, each with its own probability.

    Source: Cubuk et al., CVPR 2019; as in torchvision.
    """
    table = magnitudes(AUTOAUGMENT_SPACE, _AUTOAUGMENT_BINS, (images.shape[2], images.shape[3]))
    which, chance, coin = identity.draws("autoaugment").uniform(5).split((1, 2, 2), dim=1)
    drawn = _steps(policy)[(which[:, 0] * len(policy)).long()]
    op, value = chosen_magnitudes(table, drawn[..., 0].long(), drawn[..., 2].long(), coin)
    op = torch.where(chance <= drawn[..., 1], op, OPS.index("identity"))
    return _in_a_row(images, op, value)


@lru_cache(maxsize=4)
def _steps(policy: tuple[SubPolicy, ...]) -> Tensor:
    """Return (sub-policies, 2, 3): number of the operation in its space, probability, level."""
    names = list(AUTOAUGMENT_SPACE)
    rows = [[(names.index(step.op), step.probability, step.level) for step in pair] for pair in policy]
    return torch.tensor(rows, dtype=torch.float64)


def randaugment(
    images: UInt8[Tensor, "n 3 h w"], setting: RandAugmentSetting, identity: Identity
) -> UInt8[Tensor, "n 3 h w"]:
    """Apply so many uniformly chosen operations to every image, all at one magnitude.

    Source: Cubuk et al., NeurIPS 2020; as in torchvision.
    """
    table = magnitudes(RANDAUGMENT_SPACE, setting.bins, (images.shape[2], images.shape[3]))
    which, coin = identity.draws("randaugment").uniform(2, setting.operations).unbind(1)
    number = (which * len(table.op)).long()
    level = torch.full_like(number, setting.magnitude)
    return _in_a_row(images, *chosen_magnitudes(table, number, level, coin))


def trivialaugment(images: UInt8[Tensor, "n 3 h w"], identity: Identity) -> UInt8[Tensor, "n 3 h w"]:
    """Apply one uniformly chosen operation to every image, at one of 31 magnitudes, uniformly too.

    Source: Müller & Hutter, ICCV 2021, the wide space; as in torchvision.
    """
    table = magnitudes(TRIVIAL_SPACE, TRIVIAL_BINS, (images.shape[2], images.shape[3]))
    which, step, coin = identity.draws("trivialaugment").uniform(3, 1).unbind(1)
    number, level = (which * len(table.op)).long(), (step * TRIVIAL_BINS).long()
    return _in_a_row(images, *chosen_magnitudes(table, number, level, coin))


def _in_a_row(images: Tensor, op: Tensor, magnitude: Tensor) -> Tensor:
    for step in range(op.shape[1]):
        images = apply_ops(images, op[:, step], magnitude[:, step])
    return images
