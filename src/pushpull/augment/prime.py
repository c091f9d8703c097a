"""PRIME: random filters, warps and colour maps in chains, mixed with the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pushpull.augment.colour_map import colour_map, sample_colour
from pushpull.augment.diffeomorphism import (
    DiffeomorphismDraws,
    diffeomorphism,
    mode_counts,
    sample_modes,
    sample_strength,
)
from pushpull.augment.identity import Identity
from pushpull.augment.mixing import Work, mix, run_chains, sample_mixture
from pushpull.augment.rows import rows_by_value
from pushpull.augment.settings import ColourSetting, DiffeomorphismSetting, PrimeSetting, SpectralSetting
from pushpull.augment.spectral import sample_spectral, spectral_filter

PRIMITIVES = ("spectral", "diffeomorphism", "colour")


def prime(
    x: Float[Tensor, "n 3 h w"], setting: PrimeSetting, identity: Identity, *, eight_bit: bool = False
) -> Float[Tensor, "n 3 h w"]:
    """Mix every image with chains of random primitives.

    y = (1 - m) x + m sum_c w_c chain_c(x); m ~ Beta(1, 1), w ~ Dirichlet(1, 1, 1); a chain is 1 to 3
    primitives, each one of three with equal chance and strengths of its own.

    Args:
        x: float32 in [0, 1]; at least 3 x 3 pixels.
        setting: of `settings.PRIME`.
        identity: which images these are.
        eight_bit: whether all values are whole grey levels over 255: then a first colour map's table needs no
            entries between them.

    Source: Modas et al., ECCV 2022.
    Differs from the authors' code: the primitives' strengths, the warp and the band of frequencies are drawn
    for each image, not once a batch; the filter's delta stands in the middle.
    """
    mixture = sample_mixture(identity, "prime", setting.width, setting.depth, len(PRIMITIVES))
    size = (x.shape[2], x.shape[3])
    steps = (
        _step(mixture.chosen[:, :, depth].ravel(), depth, setting, identity, size, eight_bit and depth == 0)
        for depth in range(setting.depth)
    )
    return mix(x, run_chains(x, setting.width, steps), mixture)


def _step(
    chosen: Tensor,
    depth: int,
    setting: PrimeSetting,
    identity: Identity,
    size: tuple[int, int],
    eight_bit: bool,
) -> Iterator[Work]:
    """Yield the work of all chains' step `depth`."""
    for number, chains in rows_by_value(chosen):
        # An image's steps have numbers of their own, so that each draws anew.
        steps = identity.slots(chains * setting.depth + depth, setting.width * setting.depth)
        for rows, apply in _PRIMITIVES[PRIMITIVES[number]](setting, steps, size, eight_bit):
            yield Work(chains[rows], apply)


def primitive(
    x: Float[Tensor, "n 3 h w"], name: str, setting: PrimeSetting, identity: Identity
) -> Float[Tensor, "n 3 h w"]:
    """Apply one of `PRIMITIVES` to every image, in [0, 1], with strengths and fields of its own."""
    works = _PRIMITIVES[name](setting, identity, (x.shape[2], x.shape[3]), False)
    return run_chains(x, 1, [works])


def _spectral(setting: PrimeSetting, identity: Identity, *_: object) -> Iterator[Work]:
    yield Work(
        torch.arange(len(identity.index)), partial(_filtered, setting=setting.spectral, identity=identity)
    )


def _filtered(x: Tensor, setting: SpectralSetting, identity: Identity) -> Tensor:
    return spectral_filter(x, sample_spectral(identity.draws("prime spectral", x.device), setting))


def _colour(
    setting: PrimeSetting, identity: Identity, size: tuple[int, int], eight_bit: bool
) -> Iterator[Work]:
    colour = replace(setting.colour, steps_a_level=1) if eight_bit else setting.colour
    yield Work(torch.arange(len(identity.index)), partial(_coloured, setting=colour, identity=identity))


def _coloured(x: Tensor, setting: ColourSetting, identity: Identity) -> Tensor:
    return colour_map(x, setting, sample_colour(identity.draws("prime colour", x.device), setting))


def _diffeomorphism(
    setting: PrimeSetting, identity: Identity, size: tuple[int, int], eight_bit: bool
) -> Iterator[Work]:
    """Warp the images that draw the same number of modes together."""
    cut, temperature = sample_strength(identity.draws("prime diffeomorphism"), setting.diffeomorphism, size)
    for count, rows in rows_by_value(mode_counts(cut, size)):
        yield Work(
            rows,
            partial(
                _warped,
                setting=setting.diffeomorphism,
                strength=(cut[rows], temperature[rows]),
                count=count,
                identity=identity.taken(rows),
            ),
        )


def _warped(
    x: Tensor,
    setting: DiffeomorphismSetting,
    strength: tuple[Tensor, Tensor],
    count: int,
    identity: Identity,
) -> Tensor:
    cut, temperature = (part.to(x.device) for part in strength)
    modes = sample_modes(identity.draws("prime modes", x.device), count, (x.shape[2], x.shape[3]))
    return diffeomorphism(x, setting, DiffeomorphismDraws(cut, temperature, modes))


_PRIMITIVES: dict[str, Callable[..., Iterator[Work]]] = {
    "spectral": _spectral,
    "diffeomorphism": _diffeomorphism,
    "colour": _colour,
}
