"""PRIME's colour primitive: a random function of each channel's values."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pushpull.augment.settings import ColourSetting
from pushpull.corruptions.filters import wide
from pushpull.random import Draws

_LEVELS = 255


class ColourDraws(NamedTuple):
    """Random part of the colour map.

    Attributes:
        first: (N,) int64, the lowest frequency.
        amplitude: (N, 3, F), of the frequencies first, first + 1, ...; 0 beyond the highest.
    """

    first: Tensor
    amplitude: Tensor


def sample_colour(draws: Draws, setting: ColourSetting) -> ColourDraws:
    """Draw sqrt(T) N(0, 1) for every channel and frequency, T ~ U(0, setting.temperature).

    The highest frequency, cut, is uniform in 1..cut_max, the lowest 1; with a band, the lowest is uniform in
    1..cut and at most `band` frequencies remain.

    Source: Modas et al. 2022, section 3; the band, the authors' code.
    Differs from the authors' code: it draws cut, T and the band once a batch.
    """
    highest, warmth, start = draws.uniform(3).unbind(1)
    cut = 1 + (highest * setting.cut_max).long()
    deviation = (warmth * setting.temperature).sqrt_()[:, None, None]
    frequencies = setting.band or setting.cut_max
    amplitude = draws.normal(3, frequencies).mul_(deviation)
    first = torch.ones_like(cut) if setting.band is None else 1 + (start * cut).long()
    number = torch.arange(frequencies, device=cut.device) + first[:, None]
    amplitude *= (number <= cut[:, None])[:, None]
    return ColourDraws(first, amplitude)


def colour_map(
    x: Float[Tensor, "n 3 h w"], setting: ColourSetting, drawn: ColourDraws
) -> Float[Tensor, "n 3 h w"]:
    """Return x + sum_k a_k sin(pi k x), clamped to [0, 1], by a table of the function.

    The table has `setting.steps_a_level` entries a grey level, with straight lines between them: exact for
    8-bit values, else off by at most sum_k |a_k| (pi k)^2 / (8 (255 steps)^2).

    Args:
        x: in [0, 1].
        setting: its tables' length.
        drawn: from `sample_colour`.
    """
    table = colour_table(setting, drawn)
    steps = table.shape[-1] - 1
    place = x.flatten(2) * steps
    entry = place.long().clamp_(max=steps - 1)
    place -= entry
    low = table.gather(2, entry)
    high = table[..., 1:].gather(2, entry)
    return low.lerp_(high, place).clamp_(0.0, 1.0).view(x.shape)


def colour_table(setting: ColourSetting, drawn: ColourDraws) -> Float[Tensor, "n 3 entries"]:
    """Return the function's values at 0, ..., 1 in equal steps.

    A band begins at its image's own frequency f, for which there is no common table of sines; so
    sum_m a_m sin((f + m) t) = sin(f t) sum_m a_m cos(m t) + cos(f t) sum_m a_m sin(m t).
    """
    amplitude = drawn.amplitude.to(wide(drawn.amplitude.device))
    entries, frequencies = _LEVELS * setting.steps_a_level, amplitude.shape[-1]
    waves = _waves(entries, frequencies + 1, amplitude.dtype, amplitude.device)
    if setting.band is None:
        table = amplitude @ waves.sines[1:]
    else:
        # f t stands at every f-th place of the circle.
        at = drawn.first[:, None, None] * torch.arange(entries + 1, device=amplitude.device)
        at %= 2 * entries
        table = (amplitude @ waves.cosines[:-1]).mul_(waves.sine_circle[at])
        table.addcmul_(amplitude @ waves.sines[:-1], waves.cosine_circle[at])
    return table.add_(waves.values).float()


class _Waves(NamedTuple):
    """Values 0, ..., 1; the sines and cosines of 0, pi, 2 pi, ... times them, and all around the circle."""

    values: Tensor
    sines: Tensor
    cosines: Tensor
    sine_circle: Tensor
    cosine_circle: Tensor


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for calls that autograd may follow
def _waves(entries: int, frequencies: int, dtype: torch.dtype, device: torch.device) -> _Waves:
    places = torch.arange(2 * entries, dtype=torch.float64) / entries
    values = torch.arange(entries + 1, dtype=torch.float64) / entries
    sines, cosines = (wave(places * math.pi) for wave in (torch.sin, torch.cos))
    multiples = torch.arange(frequencies)[:, None] * torch.arange(entries + 1) % (2 * entries)
    tables = (values, sines[multiples], cosines[multiples], sines, cosines)
    return _Waves(*(table.to(device, dtype) for table in tables))
