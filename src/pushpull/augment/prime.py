"""PRIME: random filters, warps and colour maps in chains, mixed with the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pushpull.augment.batch import (
    ImageDraws,
    Work,
    mix,
    register_augmentation,
    rows_by_value,
    run_chains,
    sample_mixture,
)
from pushpull.corruptions.filters import wide
from pushpull.corruptions.grey import to_floats
from pushpull.random import Draws

WIDTH, DEPTH = 3, 3  # chains per image; primitives of a chain, at most
PRIMITIVES = ("spectral", "diffeomorphism", "colour")

_SIDE, _SIGMA = 3, 4.0  # of the spectral primitive: taps per side, and sigma ~ U(0, 4)
_LEVELS = 255
_CUT_MIN = 2
# An image draws as many normals per side as the first of these that its cut does not exceed: few sizes, so
# that images are warped together, but no 222 x 222 for the eight lowest.
_SIZES = (8, 32, 128)
_LARGEST_TABLE = 2**20  # entries of a kept table of variances; others are computed


class PrimeSetting(NamedTuple):
    """PRIME's numbers at one scale.

    Attributes:
        warp_cut: the largest highest frequency of the diffeomorphism.
        colour_cut: the highest frequency of the colour map is uniform in 1..colour_cut.
        temperature: variance of an amplitude of the colour map, uniform in 0..temperature.
        band: how many frequencies the colour map has at most, from a random one on; None: all.
        steps_per_level: entries of the colour map's table for each of 255 grey levels; it is linear between.
    """

    warp_cut: int
    colour_cut: int
    temperature: float
    band: int | None
    steps_per_level: int


# Modas et al., ECCV 2022, appendix, and the settings of the authors' code. The tables' lengths are ours:
# more entries per level cost time, fewer cost accuracy (docs/augment.md has the errors).
PRIME = {"cifar": PrimeSetting(100, 100, 0.01, None, 4), "imagenet": PrimeSetting(500, 500, 0.05, 20, 32)}


@register_augmentation("prime", dtype=None)
def prime(images: Float[Tensor, "n 3 h w"], draws: ImageDraws, scale: str) -> Float[Tensor, "n 3 h w"]:
    """Mix every image with chains of random primitives.

    y = (1 - m) x + m sum_c w_c chain_c(x); m ~ Beta(1, 1), w ~ Dirichlet(1, 1, 1); a chain is 1 to 3
    primitives, each one of three with equal chance and strengths of its own.

    Args:
        images: floating point in [0, 1], or uint8: then a first colour map's table needs no entries between
            grey levels, and the result is in grey levels too.
        draws: the images' random numbers.
        scale: a key of `PRIME`.

    Source: Modas et al., ECCV 2022.
    Differs from the authors' code: the primitives' strengths (sigma, cut, T), the warp and the band of
    frequencies are drawn for each image, not once per batch; the filter's delta stands in the middle, where
    theirs is a pixel off.
    """
    eight_bit = images.dtype == torch.uint8
    x = to_floats(images)
    shares, chosen = sample_mixture(draws, "prime", WIDTH, DEPTH, len(PRIMITIVES))
    works = _works(x, chosen, PRIME[scale], draws, eight_bit)
    mixed = mix(x, run_chains(x, WIDTH, works), shares)
    return mixed.mul_(255) if eight_bit else mixed


def primitive(
    x: Float[Tensor, "n 3 h w"], name: str, setting: PrimeSetting, draws: ImageDraws
) -> Float[Tensor, "n 3 h w"]:
    """Apply one of `PRIMITIVES` to every image, in [0, 1], with strengths and fields of its own."""
    chosen = torch.full((len(x), 1, 1), PRIMITIVES.index(name))
    return run_chains(x, 1, _works(x, chosen, setting, draws, False))


def _works(
    x: Tensor, chosen: Tensor, setting: PrimeSetting, draws: ImageDraws, eight_bit: bool
) -> list[list[Work]]:
    """Return each step's work; each step of each chain draws as an image of its own would."""
    _, width, depth = chosen.shape
    flat, count = chosen.ravel(), width * depth
    by_step = torch.arange(len(flat)).view(-1, depth).T.ravel()  # the steps' numbers, first steps first
    works: list[list[Work]] = [[] for _ in range(depth)]
    for kind, at in rows_by_value(flat[by_step]):
        numbers = by_step[at]
        own = replace(draws, index=draws.index[numbers // count] * count + numbers % count)
        name = PRIMITIVES[kind]
        for rows, drawn in _drawn(name, x, setting, own):
            start = 0
            for step, steps in enumerate(torch.bincount(numbers[rows] % depth, minlength=depth).tolist()):
                part = slice(start, start := start + steps)
                if steps:
                    here = setting._replace(steps_per_level=1) if eight_bit and step == 0 else setting
                    arguments = (here, *(values[part] for values in drawn))
                    works[step].append((numbers[rows][part] // depth, _APPLIED[name], arguments))
    return works


def _drawn(
    name: str, x: Tensor, setting: PrimeSetting, draws: ImageDraws
) -> Iterator[tuple[slice | Tensor, Sequence[Tensor]]]:
    """Yield which of the images, and what a primitive draws for them; warps of as many modes go together."""
    if name == "spectral":
        yield slice(None), [sample_spectral(draws.named("prime spectral", x.device))]
    elif name == "colour":
        yield slice(None), sample_colour(draws.named("prime colour", x.device), setting)
    else:
        size = (x.shape[2], x.shape[3])
        cut, temperature = sample_strength(draws.named("prime diffeomorphism"), setting.warp_cut, size)
        for count, rows in rows_by_value(mode_counts(cut, size)):
            normals = replace(draws, index=draws.index[rows]).named("prime modes", x.device)
            modes = normals.normal(2, *(min(count, side - 2) for side in size))
            yield rows, [cut[rows].to(x.device), temperature[rows].to(x.device), modes]


def sample_spectral(draws: Draws) -> Float[Tensor, "n 3 3"]:
    """Draw kernels: delta, in the middle, + sigma N(0, 1) for each tap, sigma ~ U(0, 4) for each image."""
    sigma = draws.uniform(1, 1, high=_SIGMA)
    kernel = draws.normal(_SIDE, _SIDE).mul_(sigma)
    kernel[:, _SIDE // 2, _SIDE // 2] += 1.0
    return kernel


def spectral_filter(
    x: Float[Tensor, "n c h w"], kernel: Float[Tensor, "n side side"]
) -> Float[Tensor, "n c h w"]:
    """Filter every image with its kernel, the same for all channels; zeros outside; clamp to [0, 1].

    y(r, s) = sum_ij kernel(i, j) x(r + i - side // 2, s + j - side // 2).

    As shifted sums: for 3 x 3 taps they take a quarter of the time of a grouped convolution on a CPU, and
    their order does not depend on the batch.
    """
    side = kernel.shape[-1]
    height, width = x.shape[-2:]
    padded = F.pad(x, (side // 2,) * 4)
    total = padded[..., :height, :width] * kernel[:, 0, 0, None, None, None]
    for place in range(1, side * side):
        row, column = divmod(place, side)
        shifted = padded[..., row : row + height, column : column + width]
        total.addcmul_(shifted, kernel[:, row, column, None, None, None])
    return total.clamp_(0.0, 1.0)


def sample_strength(
    draws: Draws, cut_max: int, size: tuple[int, int]
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Draw an image's cut and temperature T for images of (height, width) `size`.

    cut = floor(2 + B (c - 1)), c uniform in 3..cut_max, and T = T1 + B' (max(T1, T2) - T1);
    B, B' ~ Beta(1/2, 1/2), drawn as sin^2(pi U / 2), U uniform. At T1 = 1 / (pi n^2 ln cut) a pixel moves by
    about half a pixel, up to T2 = 4 / (pi^3 cut^2 ln cut) no part is folded over; n is the shorter side.

    Source: Modas et al. 2022, after Petrini et al. 2021.
    """
    uniform = draws.uniform(3)
    highest = _CUT_MIN + 1 + (uniform[:, 0] * (cut_max - _CUT_MIN)).long()
    share, rise = uniform[:, 1:].mul(math.pi / 2).sin_().square_().unbind(1)
    cut = (_CUT_MIN + share * (highest + 1 - _CUT_MIN)).long()
    cut = torch.minimum(cut, highest)  # float32 rounds a Beta just under 1 up
    log = cut.double().log()
    smallest = 1 / (math.pi * min(size) ** 2 * log)
    largest = 4 / (math.pi**3 * cut.double().square() * log)
    spread = (largest - smallest).clamp_(min=0.0)
    return cut, (smallest + rise * spread).float()


def mode_counts(cut: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (N,), how many modes per side an image draws: a function of its cut alone, P = Q for squares."""
    sizes = torch.tensor([*_SIZES, max(size) - 2])
    return sizes[torch.bucketize(cut, sizes[:-1])].clamp_(max=max(size) - 2)


def diffeomorphism(
    x: Float[Tensor, "n c h w"], cut_max: int, cut: Tensor, temperature: Tensor, modes: Tensor
) -> Float[Tensor, "n c h w"]:
    """Read pixel p of the result from p - (dx, dy)(p), bilinearly; coordinates stop at the border.

    Args:
        x: images.
        cut_max: the highest that cut can be.
        cut, temperature: (N,), from `sample_strength`.
        modes: (N, 2, P, Q) standard normal, for each frequency along y and along x, of dx and of dy.
    """
    height, width = x.shape[-2:]
    moved = displacement_px((height, width), cut_max, cut, temperature, modes)
    grid = x.new_empty(len(x), height, width, 2, dtype=torch.float32)
    for axis, side in enumerate((width, height)):
        # grid_sample counts from -1 to 1 between the outer pixels' centres.
        own = torch.arange(side, dtype=moved.dtype, device=x.device) * (2 / (side - 1)) - 1
        own = own if axis == 0 else own[:, None]
        torch.sub(own, moved[:, axis], alpha=2 / (side - 1), out=grid[..., axis])
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True)


def displacement_px(
    size: tuple[int, int], cut_max: int, cut: Tensor, temperature: Tensor, modes: Tensor
) -> Float[Tensor, "n 2 h w"]:
    """Return dx and dy, in `wide` numbers.

    dx(x, y) = sqrt(T) n sum_ij N_ij / sqrt(i^2 + j^2) sin(pi i y) sin(pi j x), over i, j >= 1 with
    i^2 + j^2 < (cut + 1/2)^2, for x and y from 0 to 1 over the image and N_ij standard normal.

    On H pixels frequency i shows as one of 1..H-2, up to a sign, or not at all. So the modes that show as
    the same one are drawn as one normal with the sum of their variances: the same distribution, and with
    cut = 500 on 224 pixels a fifth of the normals. The sums are then products with two tables of sines.
    """
    counts = (modes.shape[-2], modes.shape[-1])
    scale = temperature.sqrt() * min(size)
    amplitude = _variance(cut, cut_max, counts, size)[:, None].sqrt() * modes
    amplitude *= scale[:, None, None, None]
    amplitude = amplitude.to(wide(amplitude.device))
    kind = amplitude.dtype, amplitude.device
    rows, columns = (_sines(side, count, *kind) for side, count in zip(size, counts, strict=True))
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
        counts: how many modes along y and x, of images of (height, width) `size`.
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


def sample_colour(draws: Draws, setting: PrimeSetting) -> tuple[Int64[Tensor, " n"], Float[Tensor, "n 3 f"]]:
    """Draw sqrt(T) N(0, 1) for every channel and frequency, T ~ U(0, setting.temperature).

    The highest frequency, cut, is uniform in 1..colour_cut, the lowest 1; with a band, the lowest is uniform
    in 1..cut and at most `band` frequencies remain.

    Returns:
        Each image's lowest frequency; the amplitudes of that frequency, the next, ..., 0 beyond the highest.

    Source: Modas et al. 2022, section 3; the band, the authors' code.
    """
    highest, warmth, start = draws.uniform(3).unbind(1)
    cut = 1 + (highest * setting.colour_cut).long()
    deviation = (warmth * setting.temperature).sqrt_()[:, None, None]
    frequencies = setting.band or setting.colour_cut
    amplitude = draws.normal(3, frequencies).mul_(deviation)
    first = torch.ones_like(cut) if setting.band is None else 1 + (start * cut).long()
    number = torch.arange(frequencies, device=cut.device) + first[:, None]
    amplitude *= (number <= cut[:, None])[:, None]
    return first, amplitude


def colour_map(
    x: Float[Tensor, "n 3 h w"], setting: PrimeSetting, first: Tensor, amplitude: Tensor
) -> Float[Tensor, "n 3 h w"]:
    """Return x + sum_k a_k sin(pi k x), clamped to [0, 1], by a table of the function.

    The table has `setting.steps_per_level` entries per grey level, with straight lines between them: exact
    for 8-bit values, else off by at most sum_k |a_k| (pi k)^2 / (8 (255 steps)^2).

    Args:
        x: in [0, 1].
        setting: says how long the tables are.
        first, amplitude: from `sample_colour`.
    """
    table = colour_table(setting, first, amplitude)
    steps = table.shape[-1] - 1
    place = x.flatten(2) * steps
    entry = place.long().clamp_(max=steps - 1)
    place -= entry
    low = table.gather(2, entry)
    high = table[..., 1:].gather(2, entry)
    return low.lerp_(high, place).clamp_(0.0, 1.0).view(x.shape)


def colour_table(setting: PrimeSetting, first: Tensor, amplitude: Tensor) -> Float[Tensor, "n 3 entries"]:
    """Return the function's values at 0, ..., 1 in equal steps.

    A band begins at its image's own frequency f, for which there is no common table of sines; so
    sum_m a_m sin((f + m) t) = sin(f t) sum_m a_m cos(m t) + cos(f t) sum_m a_m sin(m t).
    """
    amplitude = amplitude.to(wide(amplitude.device))
    entries, frequencies = _LEVELS * setting.steps_per_level, amplitude.shape[-1]
    kind = amplitude.dtype, amplitude.device
    values, sines, cosines, sine_circle, cosine_circle = _waves(entries, frequencies + 1, *kind)
    if setting.band is None:
        table = amplitude @ sines[1:]
    else:
        # f t stands at every f-th place of the circle.
        at = first[:, None, None] * torch.arange(entries + 1, device=amplitude.device)
        at %= 2 * entries
        table = (amplitude @ cosines[:-1]).mul_(sine_circle[at])
        table.addcmul_(amplitude @ sines[:-1], cosine_circle[at])
    return table.add_(values).float()


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _waves(entries: int, frequencies: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Return 0, ..., 1; sines and cosines of 0, pi, 2 pi, ... times them; and of the whole circle."""
    places = torch.arange(2 * entries, dtype=torch.float64) / entries
    values = torch.arange(entries + 1, dtype=torch.float64) / entries
    sines, cosines = (wave(places * math.pi) for wave in (torch.sin, torch.cos))
    multiples = torch.arange(frequencies)[:, None] * torch.arange(entries + 1) % (2 * entries)
    tables = (values, sines[multiples], cosines[multiples], sines, cosines)
    return [table.to(device, dtype) for table in tables]


_APPLIED: dict[str, Callable[..., Tensor]] = {
    "spectral": lambda x, setting, kernel: spectral_filter(x, kernel),
    "diffeomorphism": lambda x, setting, *drawn: diffeomorphism(x, setting.warp_cut, *drawn),
    "colour": colour_map,
}
