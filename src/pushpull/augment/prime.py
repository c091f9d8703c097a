"""PRIME: random filters, warps and colour maps in chains, mixed with the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pushpull.augment.colour_map import ColourDraws, colour_map, sample_colour
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
from pushpull.augment.settings import DiffeomorphismSetting, PrimeSetting
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
    works = _works(x, mixture.chosen, setting, identity, eight_bit)
    return mix(x, run_chains(x, setting.width, works), mixture)


def primitive(
    x: Float[Tensor, "n 3 h w"], name: str, setting: PrimeSetting, identity: Identity
) -> Float[Tensor, "n 3 h w"]:
    """Apply one of `PRIMITIVES` to every image, in [0, 1], with strengths and fields of its own."""
    chosen = torch.full((len(x), 1, 1), PRIMITIVES.index(name))
    return run_chains(x, 1, _works(x, chosen, setting, identity, False))


def _works(
    x: Tensor, chosen: Tensor, setting: PrimeSetting, identity: Identity, eight_bit: bool
) -> list[list[Work]]:
    """Return each step's work, with all that is random drawn, for every primitive at once.

    An image's chains and steps have numbers of their own, so that each draws anew.
    """
    _, width, depth = chosen.shape
    flat = chosen.ravel()
    by_step = torch.arange(len(flat)).view(-1, depth).T.ravel()  # the numbers, a step after another
    works: list[list[Work]] = [[] for _ in range(depth)]
    for kind, at in rows_by_value(flat[by_step]):
        numbers = by_step[at]
        steps = identity.slots(numbers, width * depth)
        for rows, apply in _DRAWN[PRIMITIVES[kind]](x, setting, steps):
            counts = torch.bincount(numbers[rows] % depth, minlength=depth).tolist()
            start = 0
            for step, count in enumerate(counts):
                part = slice(start, start := start + count)
                exact = eight_bit and step == 0
                if count:
                    works[step].append(Work(numbers[rows[part]] // depth, partial(apply, part, exact)))
    return works


_Apply = Callable[[slice, bool, Tensor], Tensor]
"""What is done to images: (which of those drawn for, whether they are of 8 bits, images) -> images."""


def _spectral(x: Tensor, setting: PrimeSetting, identity: Identity) -> Iterator[tuple[Tensor, _Apply]]:
    kernels = sample_spectral(identity.draws("prime spectral", x.device), setting.spectral)
    yield torch.arange(len(kernels)), lambda part, exact, images: spectral_filter(images, kernels[part])


def _colour(x: Tensor, setting: PrimeSetting, identity: Identity) -> Iterator[tuple[Tensor, _Apply]]:
    drawn = sample_colour(identity.draws("prime colour", x.device), setting.colour)
    levels_only = replace(setting.colour, steps_a_level=1)

    def apply(part: slice, exact: bool, images: Tensor) -> Tensor:
        own = ColourDraws(drawn.first[part], drawn.amplitude[part])
        return colour_map(images, levels_only if exact else setting.colour, own)

    yield torch.arange(len(drawn.first)), apply


def _diffeomorphism(x: Tensor, setting: PrimeSetting, identity: Identity) -> Iterator[tuple[Tensor, _Apply]]:
    """Warp the images that draw the same number of modes together."""
    size = (x.shape[2], x.shape[3])
    cut, temperature = sample_strength(identity.draws("prime diffeomorphism"), setting.diffeomorphism, size)
    for count, rows in rows_by_value(mode_counts(cut, size)):
        modes = sample_modes(identity.taken(rows).draws("prime modes", x.device), count, size)
        drawn = DiffeomorphismDraws(cut[rows].to(x.device), temperature[rows].to(x.device), modes)
        yield rows, partial(_warped, setting.diffeomorphism, drawn)


def _warped(
    setting: DiffeomorphismSetting, drawn: DiffeomorphismDraws, part: slice, exact: bool, images: Tensor
) -> Tensor:
    return diffeomorphism(images, setting, DiffeomorphismDraws(*(values[part] for values in drawn)))


_DRAWN: dict[str, Callable[[Tensor, PrimeSetting, Identity], Iterator[tuple[Tensor, _Apply]]]] = {
    "spectral": _spectral,
    "diffeomorphism": _diffeomorphism,
    "colour": _colour,
}
