"""Chains of operations and their mixture with the clean image: what PRIME and AugMix share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pushpull.augment.batch import ImageDraws


class Mixture(NamedTuple):
    """What happens to each image, on the CPU.

    Attributes:
        share: (N,), of the chains; the rest is the clean image's.
        weights: (N, width), of each chain; they sum to 1.
        chosen: (N, width, depth), number of the operation of each step; -1 after a chain's end.
    """

    share: Tensor
    weights: Tensor
    chosen: Tensor


def sample_mixture(draws: ImageDraws, name: str, width: int, depth: int, choices: int) -> Mixture:
    """Draw share ~ Beta(1, 1), weights ~ Dirichlet(1, ..., 1), lengths uniform in 1..depth, steps uniform.

    Source: Hendrycks et al., ICLR 2020; Modas et al., ECCV 2022.
    """
    # One stream for all: on an accelerator the time is the number of operations.
    parts = (1, width, width, width * depth)
    uniform = draws.named(f"{name} mixture").uniform(sum(parts)).split(parts, dim=1)
    exponentials = uniform[1].log().neg_()  # over their sum they are Dirichlet
    length = 1 + (uniform[2] * depth).long()
    chosen = (uniform[3] * choices).long().view(-1, width, depth)
    chosen[torch.arange(depth) >= length[..., None]] = -1
    return Mixture(uniform[0][:, 0], exponentials / exponentials.sum(-1, keepdim=True), chosen)


Work = tuple[Tensor, Callable[..., Tensor], Sequence[Any]]
"""What some chains do next: their numbers, int64 on the CPU; a function of images; its further arguments."""


def run_chains(x: Tensor, width: int, steps: Iterable[Iterable[Work]]) -> Tensor:
    """Return (N * width, C, H, W): every chain's result, an image's chains one after another.

    Args:
        x: (N, C, H, W).
        width: chains per image.
        steps: what is done first, which is something for every chain; second, ...; chains without work stay.
    """
    chains = x.new_empty(len(x) * width, *x.shape[1:])
    for depth, works in enumerate(steps):
        for numbers, function, arguments in works:
            rows = numbers.to(x.device)
            images = take(x, rows // width) if depth == 0 else take(chains, rows)
            put(chains, rows, function(images, *arguments))
    return chains


def mix(
    x: Float[Tensor, "n c h w"], chains: Float[Tensor, "m c h w"], mixture: Mixture
) -> Float[Tensor, "n c h w"]:
    """Return (1 - share) x + share sum_c weights_c chain_c, in the order of the chains."""
    width = mixture.weights.shape[1]
    shares = torch.cat([1 - mixture.share[:, None], mixture.share[:, None] * mixture.weights], dim=1)
    shares = shares.to(x.device)[..., None, None, None]
    total = x * shares[:, 0]
    for number, chain in enumerate(chains.view(len(x), width, *x.shape[1:]).unbind(1)):
        total.addcmul_(chain, shares[:, number + 1])
    return total


def rows_by_value(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each value >= 0 of a vector on the CPU, with the rows that have it.

    Example:
        >>> [(value, rows.tolist()) for value, rows in rows_by_value(torch.tensor([2, 0, -1, 2]))]
        [(0, [1]), (2, [0, 3])]
    """
    order = torch.argsort(values, stable=True)
    found, counts = torch.unique_consecutive(values[order], return_counts=True)
    for value, rows in zip(found.tolist(), order.split(counts.tolist()), strict=True):
        if value >= 0:
            yield value, rows


def take(images: Tensor, rows: Tensor) -> Tensor:
    """Return some images."""
    return _words(images).index_select(0, rows).view(images.dtype).view(-1, *images.shape[1:])


def put(images: Tensor, rows: Tensor, values: Tensor) -> None:
    """Replace some images of a contiguous batch."""
    _words(images).index_copy_(0, rows, _words(values.contiguous()))


def _words(images: Tensor) -> Tensor:
    """Return (N, words) of 8 bytes where they fit: a byte at a time takes seven times as long on a CPU."""
    flat = images.view(len(images), -1)
    return flat.view(torch.int64) if flat.shape[1] * flat.element_size() % 8 == 0 else flat
