"""Noise: Gaussian, shot, impulse, speckle.

x is always (N, 3, H, W) float32 in [0, 1]; the random fields have its shape.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions.constants import ALIAS_BITS, KEEP_BITS, LEVEL_SLACK
from pushpull.corruptions.registry import Canvas, register_corruption
from pushpull.random import Draws, native


def sample_normal(draws: Draws, params: float, canvas: Canvas) -> Tensor:
    """Draw a standard normal field."""
    return draws.normal(3, canvas.height, canvas.width)


@register_corruption(
    "gaussian_noise",
    family="noise",
    severities={
        "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
        "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
        "tiny": (0.04, 0.08, 0.12, 0.15, 0.18),
    },
    sample=sample_normal,
)
def gaussian_noise(x: Tensor, sigma: float, normal: Tensor) -> Tensor:
    """x + sigma n."""
    return normal.mul(sigma).add_(x)


class ShotDraws(NamedTuple):
    """Two uniform fields: for the whole grey levels, and for what floating-point images have beyond them."""

    level: Tensor
    rest: Tensor | None


def sample_shot_noise(draws: Draws, params: float, canvas: Canvas) -> ShotDraws:
    """Draw a uniform field for 8-bit images, two for others."""
    field = (3, canvas.height, canvas.width)
    return ShotDraws(draws.uniform(*field), None if canvas.eight_bit else draws.uniform(*field))


@register_corruption(
    "shot_noise",
    family="noise",
    severities={
        "imagenet": (60.0, 25.0, 12.0, 5.0, 3.0),
        "cifar": (500.0, 250.0, 100.0, 75.0, 50.0),
        "tiny": (250.0, 100.0, 50.0, 30.0, 15.0),
    },
    sample=sample_shot_noise,
    limits=lambda photons: {"level": (0.0, 1.0)},
)
def shot_noise(x: Tensor, photons: float, drawn: ShotDraws) -> Tensor:
    """Poisson(x c) / c, c = `photons` at white; exactly Poisson, to the resolution of the uniforms.

    A grey level k has its own table. A value between two levels is the sum of Poisson(k c / 255) and of a
    Poisson variable of the small rest, which the additivity of the Poisson law makes exact.
    """
    if drawn.rest is None and native.applies(x, drawn.level):
        from pushpull.corruptions import loops

        first, cells = alias_tables(photons)
        constants = np.float32(_reach(cells)), np.float32(photons)
        return native.made(loops.shot, x.dtype, x, drawn.level, first, cells, *constants)
    level = (x * 255.0 + LEVEL_SLACK).floor_()
    counts = _poisson_by_table(level, drawn.level, photons)
    if drawn.rest is not None:
        # The rounding of k / 255 is no rest, and is dropped here.
        rest = (x * 255.0).sub_(level).sub_(1e-3).clamp_(min=0.0)
        counts += _poisson_by_inversion(rest.mul_(photons / 255.0), drawn.rest, photons / 255.0)
    return counts / photons


def sample_impulse_noise(draws: Draws, params: float, canvas: Canvas) -> Tensor:
    """Draw a uniform field."""
    return draws.uniform(3, canvas.height, canvas.width)


@register_corruption(
    "impulse_noise",
    family="noise",
    severities={
        "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27),
        "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
        "tiny": (0.01, 0.02, 0.05, 0.08, 0.14),
    },
    sample=sample_impulse_noise,
)
def impulse_noise(x: Tensor, share: float, uniform: Tensor) -> Tensor:
    """Replace a `share` of the values (not pixels), half of them by 0 and half by 1."""
    low, high = share / 2, 1 - share / 2
    if native.applies(x, uniform):
        from pushpull.corruptions import loops

        return native.made(loops.impulse, x.dtype, x, uniform, np.float32(low), np.float32(high))
    return x.masked_fill(uniform < low, 0.0).masked_fill_(uniform > high, 1.0)


@register_corruption(
    "speckle_noise",
    family="noise",
    severities={
        "imagenet": (0.15, 0.2, 0.35, 0.45, 0.6),
        "cifar": (0.06, 0.1, 0.12, 0.16, 0.2),
        "tiny": (0.15, 0.2, 0.25, 0.3, 0.35),
    },
    sample=sample_normal,
    extra=True,
)
def speckle_noise(x: Tensor, sigma: float, normal: Tensor) -> Tensor:
    """x + sigma x n."""
    return normal.mul(x).mul_(sigma).add_(x)


def _poisson_by_table(level: Tensor, uniform: Tensor, photons: float) -> Tensor:
    """Draw Poisson(level photons / 255) by Walker's alias method: two look-ups each, whatever the mean."""
    first, cells = (table.to(level.device) for table in alias_tables(photons))
    scaled = uniform * _reach(cells)
    column = scaled.floor()
    place = (level * cells.shape[1]).add_(column).int()
    cell = cells.view(-1).index_select(0, place.view(-1)).view_as(place)
    part = scaled.sub_(column).mul_(1 << KEEP_BITS).int()
    counts = torch.where(part < cell >> ALIAS_BITS, column, cell.bitwise_and_((1 << ALIAS_BITS) - 1))
    if photons > _ALL_FROM_ZERO:
        counts += first.index_select(0, level.int().view(-1)).view_as(place)
    return counts


def _reach(cells: Tensor) -> float:
    """Return what a uniform number is multiplied by to become a column."""
    return cells.shape[1] * (1.0 - 2.0**-22)  # the product must not round up to the width


_ALL_FROM_ZERO = 63.0  # up to this mean the columns of every level begin at 0: see alias_tables


@lru_cache(maxsize=16)
def alias_tables(photons: float) -> tuple[Tensor, Tensor]:
    """Return the alias tables of Poisson(k photons / 255), k = 0..255.

    Column j of row k stands for the count first[k] + j; a uniform choice of column keeps it with probability
    keep(k, j) and else takes column alias(k, j). The columns span 7 standard deviations and 7 counts to both
    sides; what lies outside (under 1e-10) is below the resolution of the uniforms.

    Returns:
        first (256,) int32; cells (256, K) int32, round(2^16 keep) 2^12 + alias.
    """
    mean = torch.arange(256, dtype=torch.float64) * (photons / 255.0)
    reach = 7.0 * mean.sqrt() + 7.0
    first = (mean - reach).floor().clamp(min=0.0)
    width = int((mean + reach).ceil().sub(first).max()) + 1
    counts = first[:, None] + torch.arange(width)
    log_mass = torch.xlogy(counts, mean[:, None]) - mean[:, None] - torch.lgamma(counts + 1.0)
    keep, alias = _walker(torch.softmax(log_mass, dim=1) * width)
    assert width <= 1 << ALIAS_BITS
    packed = (keep * (1 << KEEP_BITS)).round().int() << ALIAS_BITS | alias.int()
    return first.int(), packed


def _walker(load: Tensor) -> tuple[Tensor, Tensor]:
    """Level the columns of each row, whose mean load is 1: what one lacks comes from its alias.

    The columns are taken in ascending order; each is filled from the fullest, and a column that gave so much
    that it fell under 1 is filled next. All rows at once, K steps.

    Returns:
        keep (rows, K) float64 in [0, 1], alias (rows, K) int64.
    """
    rows, width = load.shape
    load, order = load.clone(), load.argsort(dim=1)
    keep, alias = torch.ones_like(load), torch.arange(width).repeat(rows, 1)
    row = torch.arange(rows)
    low, high = torch.zeros(rows, dtype=torch.int64), torch.full((rows,), width - 1)
    poor = order[row, low]
    for _ in range(width - 1):
        rich = order[row, high]
        # Where they meet all that is left is full, and the column keeps its defaults.
        lack = torch.where(poor == rich, 0.0, 1.0 - load[row, poor])
        keep[row, poor] = 1.0 - lack
        alias[row, poor] = rich
        load[row, rich] -= lack
        fell = (load[row, rich] < 1.0) & (high > low)
        low = torch.where(fell, low, torch.minimum(low + 1, high))
        poor = torch.where(fell, rich, order[row, low])
        high -= fell.long()
    return keep, alias


def _poisson_by_inversion(mean: Tensor, uniform: Tensor, largest: float) -> Tensor:
    """Draw Poisson(mean), mean <= `largest` (under 2): count the distribution's steps below `uniform`."""
    mass = torch.exp(-mean)
    below = mass.clone()
    counts = torch.zeros_like(mean)
    k, tail = 0, 1.0
    # Stop where a further step has a probability under the resolution 2^-23 of the uniforms.
    while tail > 2.0**-24:
        counts += uniform > below
        k += 1
        mass *= mean / k
        below += mass
        tail *= largest / k
    return counts
