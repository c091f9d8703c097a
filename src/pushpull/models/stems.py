"""The first layers that a network can have, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from pushpull.errors import InputError, choice
from pushpull.models.comparators import (
    BlurAfterConv2d,
    StrisciuglioConv2d,
    blur_before_dropping,
    taking_over,
)
from pushpull.models.variants import Norm, Offset, Pooling, VariantPushPullConv2d
from pushpull.unit.conversion import push_pull_twin
from pushpull.unit.strength import Inhibited


@dataclass(frozen=True)
class Stem:
    """A push-pull first layer.

    Args:
        avg_kernel_size: side of the pooling.
        trainable_alpha: whether it trains the inhibition strength.
        alpha: the strength, or where a trained one starts; the paper's is 1.
        offset, pooling, norm: what differs from the paper's unit; see `VariantPushPullConv2d`.
    """

    avg_kernel_size: int
    trainable_alpha: bool = False
    offset: Offset = "filter"
    pooling: Pooling = "first"
    norm: Norm = "behind"
    alpha: float = 1.0

    @property
    def is_papers(self) -> bool:
        """Whether the layer is the paper's unit, which `PushPullConv2d` is."""
        return (self.offset, self.pooling, self.norm) == ("filter", "first", "behind")

    def convolution(self, conv: nn.Conv2d) -> nn.Module:
        """Return the layer that has the very weights of `conv`."""
        options = {
            "avg_kernel_size": self.avg_kernel_size,
            "trainable_alpha": self.trainable_alpha,
            "alpha": self.alpha,
        }
        if self.is_papers:
            return push_pull_twin(conv, **options)  # type: ignore[arg-type]
        others = {"offset": self.offset, "pooling": self.pooling, "norm": self.norm}
        return taking_over(VariantPushPullConv2d, conv, **options, **others)

    def network(self, model: nn.Module) -> None:
        """Take the batch norm behind the layer out of a network of ours where the layer has its own."""
        if self.norm == "before":
            model.add_module("bn1", nn.Identity())


@dataclass(frozen=True)
class Comparator:
    """A first layer, or a change of the whole network, that push-pull is compared with.

    Args:
        convolution: makes the layer of a convolution, with its very weights; None keeps the convolution.
        network: changes the finished network in place.
    """

    convolution: Callable[[nn.Conv2d], nn.Module] | None = None
    network: Callable[[nn.Module], nn.Module] | None = None


_ENDINGS: dict[str, dict[str, Any]] = {
    "": {},
    "_alpha": {"trainable_alpha": True},
    "_channel": {"offset": "channel"},
    "_zero": {"offset": "zero"},
    "_zero_alpha": {"offset": "zero", "trainable_alpha": True},
    "_late": {"pooling": "late"},
    "_zero_late": {"offset": "zero", "pooling": "late"},
    "_norm": {"norm": "before"},
}
STEMS: dict[str, Stem | Comparator | None] = {
    "plain": None,
    **{
        f"pp{side}{ending}": Stem(side, **options)
        for ending, options in _ENDINGS.items()
        for side in ((3, 5) if "late" in ending else (0, 3, 5))
    },
    # The best of the variants by docs/findings.md: pull kernel -W, twice as strong as the push.
    "pp3_balanced": Stem(3, offset="zero", alpha=2.0),
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
    if stem is not None and stem.network is not None:
        stem.network(model)


def set_strength(model: nn.Module, alpha: float) -> None:
    """Set the inhibition strength of a network's units, or where trained ones start, in place.

    Raises:
        InputError: no unit, or no finite strength >= 0.
    """
    units = [unit for unit in model.modules() if isinstance(unit, Inhibited)]
    if not units:
        raise InputError(f"alpha={alpha} needs a push-pull stem, which the network has not; leave alpha out")
    for unit in units:
        unit.set_strength(alpha)
