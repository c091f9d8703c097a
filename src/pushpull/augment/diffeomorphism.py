"""PRIME's spatial primitive: a random smooth displacement of the pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pushpull.augment.identity import beta_half
from pushpull.augment.settings import DiffeomorphismSetting
from pushpull.corruptions.filters import wide
from pushpull.random import Draws

# An image draws as many normals as the first of these that its cut does not exceed, a side: few sizes, so
# that images are warped together, but no 222 x 222 for the eight lowest.
_SIZES = (8, 32, 128)
_LARGEST_TABLE = 2**20  # entries of a kept table of variances; others are computed


class DiffeomorphismDraws(NamedTuple):
    """Random part of the diffeomorphism.

    Attributes:
        cut: (N,) int64, the highest frequency.
        temperature: (N,), the strength, T.
        modes: (N, 2, P, Q) standard normal, for each frequency along y and along x; of the x displacement,
            and of the y displacement.
    """

    cut: Tensor
    temperature: Tensor
    modes: Tensor


def sample_strength(
    draws: Draws, setting: DiffeomorphismSetting, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Draw an image's cut and temperature T for images of (height, width) `size`.

    cut = floor(cut_min + B (c + 1 - cut_min)), c uniform in cut_min + 1..cut_max, and
    T = T1 + B' (max(T1, alpha T2) - T1); B, B' ~ Beta(1/2, 1/2). At T1 = 1 / (pi n^2 ln cut) a pixel moves
    by about half a pixel, up to T2 = 4 / (pi^3 cut^2 ln cut) no part is folded over; n is the shorter side.

    Source: Modas et al. 2022, after Petrini et al. 2021.
    Differs from the authors' code: it draws cut and T once a batch.
    """
    low, uniform = setting.cut_min, draws.uniform(3)
    highest = low + 1 + (uniform[:, 0] * (setting.cut_max - low)).long()
    share, rise = beta_half(uniform[:, 1:]).unbind(1)
    cut = (low + share * (highest + 1 - low)).long()
    cut = torch.minimum(cut, highest)  # float32 rounds a Beta just under 1 up
    log = cut.double().log()
    smallest = 1 / (math.pi * min(size) ** 2 * log)
    largest = 4 / (math.pi**3 * cut.double().square() * log)
    spread = (setting.alpha * largest - smallest).clamp_(min=0.0)
    return cut, (smallest + rise * spread).float()


def mode_counts(cut: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (N,), how many modes a side an image draws: a function of its cut alone, P = Q for squares."""
    sizes = torch.tensor([*_SIZES, max(size) - 2])
    return sizes[torch.bucketize(cut, sizes[:-1])].clamp_(max=max(size) - 2)


def sample_modes(draws: Draws, count: int, size: tuple[int, int]) -> Float[Tensor, "n 2 p q"]:
    """Draw the normals of `count` frequencies a side, or of as many as an image of this size has."""
    rows, columns = (min(count, side - 2) for side in size)
    return draws.normal(2, rows, columns)


def diffeomorphism(
    x: Float[Tensor, "n c h w"], setting: DiffeomorphismSetting, drawn: DiffeomorphismDraws
) -> Float[Tensor, "n c h w"]:
    """Read pixel p of the result from p - (dx, dy)(p), bilinearly; coordinates stop at the border.

    Args:
        x: images.
        setting: that of the draws.
        drawn: from `sample_strength` and `sample_modes`.
    """
    height, width = x.shape[-2:]
    moved = displacement_px(setting, drawn, (height, width))
    grid = x.new_empty(len(x), height, width, 2, dtype=torch.float32)
    for axis, side in enumerate((width, height)):
        # grid_sample counts from -1 to 1 between the outer pixels' centres.
        own = torch.arange(side, dtype=moved.dtype, device=x.device) * (2 / (side - 1)) - 1
        own = own if axis == 0 else own[:, None]
        torch.sub(own, moved[:, axis], alpha=2 / (side - 1), out=grid[..., axis])
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True)


def displacement_px(
    setting: DiffeomorphismSetting, drawn: DiffeomorphismDraws, size: tuple[int, int]
) -> Float[Tensor, "n 2 h w"]:
    """Return dx and dy, in `wide` numbers.

    dx(x, y) = sqrt(T) n sum_ij N_ij / sqrt(i^2 + j^2) sin(pi i y) sin(pi j x), over i, j >= 1 with
    i^2 + j^2 < (cut + 1/2)^2, for x and y from 0 to 1 over the image and N_ij standard normal.

    On H pixels frequency i shows as one of 1..H-2, up to a sign, or not at all. So the modes that show as
    the same one are drawn as one normal with the sum of their variances: the same distribution, and with
    cut = 500 on 224 pixels a fifth of the normals. The sums are then products with two tables of sines.
    """
    counts = (drawn.modes.shape[-2], drawn.modes.shape[-1])
    scale = drawn.temperature.sqrt() * min(size)
    amplitude = _variance(drawn.cut, setting.cut_max, counts, size)[:, None].sqrt() * drawn.modes
    amplitude *= scale[:, None, None, None]
    amplitude = amplitude.to(wide(amplitude.device))
    rows, columns = (
        _sines(side, count, amplitude.dtype, amplitude.device)
        for side, count in zip(size, counts, strict=True)
    )
    return rows.T @ (amplitude @ columns)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _sines(side: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (count, side): sin(pi k x) for k = 1.. and x = 0, ..., 1 over the pixels."""
    places = torch.arange(1, count + 1)[:, None] * torch.arange(side) % (2 * (side - 1))
    return torch.sin(math.pi / (side - 1) * places.double()).to(device, dtype)


def _variance(cut: Tensor, cut_max: int, counts: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return (N, P, Q), the variance of each mode's amplitude, from a kept table where it is small."""
    if (cut_max + 1) * counts[0] * counts[1] > _LARGEST_TABLE:
        return mode_variance(cut, cut_max, counts, size)
    return _variance_table(cut_max, counts, size, cut.device)[cut]


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _variance_table(
    cut_max: int, counts: tuple[int, int], size: tuple[int, int], device: torch.device
) -> Tensor:
    return mode_variance(torch.arange(cut_max + 1, device=device), cut_max, counts, size)


def mode_variance(
    cut: Tensor, cut_max: int, counts: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "n p q"]:
    """Return the sum of 1 / (i^2 + j^2) over all modes up to an image's cut that show as mode (p, q).

    Args:
        cut: (N,), of 1..cut_max; no more than `counts` where these are not all of an image's modes.
        cut_max: the highest.
        counts: how many modes along y and x.
        size: (height, width), px.
    """
    bound = ((cut + 1) * cut).float()[:, None, None]  # i^2 + j^2 is whole: < (cut + 1/2)^2
    total = torch.zeros(len(cut), *counts, device=cut.device)
    for i in _showing_as(counts[0], size[0], cut_max):
        for j in _showing_as(counts[1], size[1], cut_max):
            if int(i.min()) ** 2 + int(j.min()) ** 2 > cut_max * (cut_max + 1):
                continue
            square = (i.square()[:, None] + j.square()).to(cut.device, torch.float32)
            total += torch.where(square <= bound, 1 / square, 0.0)
    return total


def _showing_as(count: int, side: int, cut_max: int) -> Iterator[Tensor]:
    """Yield (count,), the frequencies that show as 1, ..., count on `side` pixels, lowest first.

    sin(pi k x) at x = j / (side - 1) is, up to its sign, the same for k, 2 (side - 1) - k,
    2 (side - 1) + k, ..., and zero where k is a multiple of side - 1.
    """
    shown = torch.arange(1, count + 1)
    yield shown
    if count < side - 2:
        return
    for turn in range(2 * (side - 1), cut_max + side, 2 * (side - 1)):
        yield turn - shown
        yield turn + shown
