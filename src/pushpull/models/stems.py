"""The first layers that a network can have, by name."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pushpull.conversion import push_pull_twin
from pushpull.errors import choice


@dataclass(frozen=True)
class Stem:
    """A push-pull first layer: its pooling size and whether it trains the inhibition strength (fixed: 1)."""

    avg_kernel_size: int
    trainable_alpha: bool = False


STEMS: dict[str, Stem | None] = {
    "plain": None,
    "pp0": Stem(0),
    "pp3": Stem(3),
    "pp5": Stem(5),
    "pp0_alpha": Stem(0, trainable_alpha=True),
    "pp3_alpha": Stem(3, trainable_alpha=True),
    "pp5_alpha": Stem(5, trainable_alpha=True),
}
INPUT_STYLES = ("imagenet", "cifar")


def find_stem(name: str) -> Stem | None:
    """Return the stem called `name` (None: a plain convolution), or raise `InputError` that lists them."""
    return STEMS[choice("stem", name, STEMS)]


def stem_convolution(conv: nn.Conv2d, stem: str) -> nn.Module:
    """Return `conv`, or the push-pull unit that has its very weights: twins differ in nothing else."""
    found = find_stem(stem)
    if found is None:
        return conv
    return push_pull_twin(conv, avg_kernel_size=found.avg_kernel_size, trainable_alpha=found.trainable_alpha)
