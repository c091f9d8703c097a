"""Noise: Gaussian, shot, impulse, speckle.

x is always (N, 3, H, W) float32 in [0, 1]; the random fields have its shape.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pushpull.corruptions.random import Draws
from pushpull.corruptions.types import Corruption


def sample_normal(draws: Draws, params: float, shape: tuple[int, ...]) -> Tensor:
    """Draw a standard normal field."""
    return draws.normal(*shape[1:])


def gaussian_noise(x: Tensor, sigma: float, normal: Tensor) -> Tensor:
    """x + sigma n."""
    return torch.add(x, normal, alpha=sigma)


def speckle_noise(x: Tensor, sigma: float, normal: Tensor) -> Tensor:
    """x + sigma x n."""
    return torch.addcmul(x, x, normal, value=sigma)


def sample_impulse_noise(draws: Draws, params: float, shape: tuple[int, ...]) -> Tensor:
    """Draw a uniform field."""
    return draws.uniform(*shape[1:])


def impulse_noise(x: Tensor, share: float, uniform: Tensor) -> Tensor:
    """Replace a `share` of the values (not pixels), half of them by 0 and half by 1."""
    return x.masked_fill(uniform < share / 2, 0.0).masked_fill_(uniform > 1 - share / 2, 1.0)


class ShotDraws(NamedTuple):
    """Two uniform fields: one for the whole grey levels, one for what float images have beyond them."""

    level: Tensor
    rest: Tensor


def sample_shot_noise(draws: Draws, params: float, shape: tuple[int, ...]) -> ShotDraws:
    """Draw two uniform fields."""
    return ShotDraws(draws.uniform(*shape[1:]), draws.uniform(*shape[1:]))


def shot_noise(x: Tensor, photons: float, drawn: ShotDraws) -> Tensor:
    """Poisson(x c) / c, c = `photons` at white; exactly Poisson, to the resolution of the uniforms.

    A grey level k has its own table. A value between two levels is the sum of Poisson(k c / 255) and of a
    Poisson variable of the small rest, which the additivity of the Poisson law makes exact.
    """
    level = (x * 255.0 + 1e-3).floor_()
    # uint8 images have no rest, except the rounding of k / 255, which is dropped here.
    rest = (x * 255.0).sub_(level).sub_(1e-3).clamp_(min=0.0)
    counts = _poisson_by_table(level.long(), drawn.level, photons)
    if bool(rest.any()):
        counts += _poisson_by_inversion(rest.mul_(photons / 255.0), drawn.rest, photons / 255.0)
    return counts / photons


def _poisson_by_table(level: Tensor, uniform: Tensor, photons: float) -> Tensor:
    """Draw Poisson(level photons / 255) by Walker's alias method: two look-ups a value, whatever the mean."""
    first, keep, alias = (table.to(level.device) for table in alias_tables(photons))
    width = keep.shape[1]
    scaled = uniform * width
    # The product may round up to `width` itself.
    column = scaled.long().clamp_(max=width - 1)
    cell = level * width + column
    stays = (scaled - column) < keep.view(-1)[cell]
    return first[level] + torch.where(stays, column, alias.view(-1)[cell])


@lru_cache(maxsize=16)
def alias_tables(photons: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the alias tables of Poisson(k photons / 255), k = 0..255.

    Column j of row k stands for the count first[k] + j; a uniform choice of column keeps it with probability
    keep[k, j] and else takes alias[k, j]. The columns span 7 standard deviations and 7 counts to both sides;
    what lies outside (under 1e-10) is below the resolution of the uniforms.

    Returns:
        first (256,) int64, keep (256, K) float32, alias (256, K) int64.
    """
    mean = torch.arange(256, dtype=torch.float64) * (photons / 255.0)
    reach = 7.0 * mean.sqrt() + 7.0
    first = (mean - reach).floor().clamp(min=0.0)
    width = int((mean + reach).ceil().sub(first).max()) + 1
    counts = first[:, None] + torch.arange(width)
    log_mass = torch.xlogy(counts, mean[:, None]) - mean[:, None] - torch.lgamma(counts + 1.0)
    # Walker's construction, all rows at once: give the emptiest column of those left to the fullest.
    load = torch.softmax(log_mass, dim=1) * width
    keep, alias = torch.ones_like(load), torch.arange(width).repeat(256, 1)
    row, done = torch.arange(256), torch.zeros_like(load, dtype=torch.bool)
    for _ in range(width - 1):
        poor = load.masked_fill(done, math.inf).argmin(dim=1)
        rich = load.masked_fill(done, -math.inf).argmax(dim=1)
        keep[row, poor] = load[row, poor]
        alias[row, poor] = rich
        load[row, rich] -= 1.0 - load[row, poor]
        done[row, poor] = True
    return first.long(), keep.float(), alias


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


GAUSSIAN_NOISE = Corruption("gaussian_noise", "noise", gaussian_noise, sample_normal)
SHOT_NOISE = Corruption("shot_noise", "noise", shot_noise, sample_shot_noise)
IMPULSE_NOISE = Corruption("impulse_noise", "noise", impulse_noise, sample_impulse_noise)
SPECKLE_NOISE = Corruption("speckle_noise", "noise", speckle_noise, sample_normal)
