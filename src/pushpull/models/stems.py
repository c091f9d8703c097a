"""The first layers that a network can have, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from pushpull.conversion import push_pull_twin
from pushpull.errors import InputError, choice
from pushpull.layers import PushPullConv2d
from pushpull.models.comparators import (
    BlurAfterConv2d,
    InhibitedConv2d,
    StrisciuglioConv2d,
    blur_before_dropping,
    taking_over,
)
from pushpull.models.variants import VariantPushPullConv2d


@dataclass(frozen=True)
class Stem:
    """A push-pull first layer.

    Args:
        avg_kernel_size: side of the pooling.
        trainable_alpha: whether it trains the inhibition strength (fixed: 1).
        offset: where max + min is taken in the pull kernel: over the filter (the paper's unit), over each
            channel of it, or nowhere.
    """

    avg_kernel_size: int
    trainable_alpha: bool = False
    offset: Literal["filter", "channel", "zero"] = "filter"

    def convolution(self, conv: nn.Conv2d) -> nn.Module:
        """Return the layer that has the very weights of `conv`."""
        options = {"avg_kernel_size": self.avg_kernel_size, "trainable_alpha": self.trainable_alpha}
        if self.offset == "filter":
            return push_pull_twin(conv, **options)  # type: ignore[arg-type]
        return taking_over(VariantPushPullConv2d, conv, offset=self.offset, **options)


@dataclass(frozen=True)
class Comparator:
    """A first layer, or a change of the whole network, that push-pull is compared with.

    Args:
        convolution: makes the layer of a convolution, with its very weights; None keeps the convolution.
        network: changes the finished network in place.
    """

    convolution: Callable[[nn.Conv2d], nn.Module] | None = None
    network: Callable[[nn.Module], nn.Module] | None = None


STEMS: dict[str, Stem | Comparator | None] = {
    "plain": None,
    "pp0": Stem(0),
    "pp3": Stem(3),
    "pp5": Stem(5),
    "pp0_alpha": Stem(0, trainable_alpha=True),
    "pp3_alpha": Stem(3, trainable_alpha=True),
    "pp5_alpha": Stem(5, trainable_alpha=True),
    "pp0_channel": Stem(0, offset="channel"),
    "pp3_channel": Stem(3, offset="channel"),
    "pp5_channel": Stem(5, offset="channel"),
    "pp0_zero": Stem(0, offset="zero"),
    "pp3_zero": Stem(3, offset="zero"),
    "pp5_zero": Stem(5, offset="zero"),
    "strisciuglio": Comparator(partial(taking_over, StrisciuglioConv2d)),
    # As there, a trained strength starts about a half.
    "strisciuglio_alpha": Comparator(
        partial(taking_over, StrisciuglioConv2d, trainable_alpha=True, alpha=0.5)
    ),
    "blurpool": Comparator(network=blur_before_dropping),
    "blur_after_conv": Comparator(partial(taking_over, BlurAfterConv2d)),
}
INPUT_STYLES = ("imagenet", "cifar")


def find_stem(name: str) -> Stem | Comparator | None:
    """Return the stem called `name` (None: a plain convolution), or raise `InputError` that lists them."""
    return STEMS[choice("stem", name, STEMS)]


def give_stem(model: nn.Module, name: str) -> None:
    """Give a network the stem called `name` in the place of its `conv1`, in place.

    The layer has the very weights of that convolution: networks with different stems differ in nothing else.
    """
    stem = find_stem(name)
    conv = model.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    if stem is not None and stem.convolution is not None:
        model.add_module("conv1", stem.convolution(conv))
    if isinstance(stem, Comparator) and stem.network is not None:
        stem.network(model)


def set_strength(model: nn.Module, alpha: float) -> None:
    """Set the inhibition strength of a network's units, or where trained ones start, in place.

    Raises:
        InputError: no unit, or no finite strength >= 0.
    """
    units = [unit for unit in model.modules() if isinstance(unit, PushPullConv2d | InhibitedConv2d)]
    if not units:
        raise InputError(f"alpha={alpha} needs a push-pull stem, which the network has not; leave alpha out")
    for unit in units:
        if isinstance(unit, InhibitedConv2d):
            unit.set_strength(alpha)
        elif unit.trainable_alpha:
            # A unit of its own checks the value as a fixed strength would be.
            checked = PushPullConv2d(1, 1, 1, alpha=alpha).alpha
            with torch.no_grad():
                unit._parameters["alpha"].fill_(checked)  # type: ignore[union-attr]
        else:
            unit.alpha = alpha
