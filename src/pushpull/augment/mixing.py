"""Chains of operations and their mixture with the clean image: what PRIME and AugMix share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pushpull.augment.identity import Identity, dirichlet
from pushpull.augment.rows import put, take


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


def sample_mixture(identity: Identity, name: str, width: int, depth: int, choices: int) -> Mixture:
    """Draw share ~ Beta(1, 1), weights ~ Dirichlet(1, ..., 1), lengths uniform in 1..depth, steps uniform.

    Source: Hendrycks et al., ICLR 2020; Modas et al., ECCV 2022.
    """
    # One stream for all: on an accelerator the time is the number of operations.
    parts = (1, width, width, width * depth)
    uniform = identity.draws(f"{name} mixture").uniform(sum(parts)).split(parts, dim=1)
    length = 1 + (uniform[2] * depth).long()
    chosen = (uniform[3] * choices).long().view(-1, width, depth)
    chosen[torch.arange(depth) >= length[..., None]] = -1
    return Mixture(uniform[0][:, 0], dirichlet(uniform[1]), chosen)


class Work(NamedTuple):
    """What some chains do next.

    Attributes:
        chains: int64 on the CPU, their numbers, image by image.
        apply: images -> images, for those of these chains.
    """

    chains: Tensor
    apply: Callable[[Tensor], Tensor]


def run_chains(x: Tensor, width: int, steps: Iterable[Iterable[Work]], *, everywhere: bool = True) -> Tensor:
    """Return (N * width, C, H, W): every chain's result, an image's chains one after another.

    Args:
        x: (N, C, H, W).
        width: chains an image.
        steps: what is done first, second, ...; chains without work stay as they are.
        everywhere: whether the first step has work for every chain.
    """
    chains = x.new_empty(len(x) * width, *x.shape[1:]) if everywhere else x.repeat_interleave(width, 0)
    for depth, works in enumerate(steps):
        for work in works:
            rows = work.chains.to(x.device)
            images = take(x, rows // width) if depth == 0 else take(chains, rows)
            put(chains, rows, work.apply(images))
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
