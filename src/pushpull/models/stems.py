"""The first layers that a network can have, by name; `register_stem` adds the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from torch import nn

from pushpull.errors import InputError
from pushpull.files.registry import Registry
from pushpull.models.comparators import (
    BlurAfterConv2d,
    StrisciuglioConv2d,
    blur_before_dropping,
    taking_over,
)
from pushpull.unit.layers import Inhibited, push_pull_twin
from pushpull.unit.surgery import replace_first_by

__all__ = ["STEMS", "register_stem"]

Stem = Callable[[Any], nn.Module]
S = TypeVar("S", bound=Stem)

# Stems of the study in docs/findings.md, which runs and tables name; they were the package's once.
_STUDIED = [
    *(f"pp{side}_{ending}" for side in (0, 3, 5) for ending in ("channel", "zero", "zero_alpha", "norm")),
    *(f"pp{side}_{ending}" for side in (3, 5) for ending in ("late", "zero_late")),
]
STEMS: Registry[Stem] = Registry(
    "stem",
    dict.fromkeys(
        _STUDIED, "is a study's: give the file that registers it, as --plugins benchmarks/variants.py"
    ),
)
_OF_NETWORKS: set[str] = set()


def register_stem(name: str, *, network: bool = False) -> Callable[[S], S]:
    """Register a function as the first layer `name`, which can then be used wherever a stem is named.

    The function is called with the network's first convolution and returns the layer that takes its place:
    for networks of ours `conv1`, for timm's and torchvision's the first convolution that the image meets.
    Networks with different stems share every other initial weight; the function decides whether the layer
    keeps the weights of the convolution. If the layer is or holds a `pushpull.unit.Inhibited`, such as
    a `PushPullConv2d`, `alpha=` sets its strength.

    Args:
        name: a word of letters, digits and _ that no other stem has.
        network: the function is called with the whole network, one of ours, and changes it in place.

    Returns:
        The decorator, which returns the function as it is.

    Raises:
        InputError: the name is not a word, or is taken by another function.

    >>> @register_stem("doctest_smooth")
    ... def smooth(conv: nn.Conv2d) -> nn.Module:
    ...     return nn.Sequential(nn.AvgPool2d(3, 1, 1), conv)
    >>> type(STEMS["doctest_smooth"](nn.Conv2d(3, 8, 3))).__name__
    'Sequential'
    """

    def add(function: S) -> S:
        STEMS.register(name, function)
        (_OF_NETWORKS.add if network else _OF_NETWORKS.discard)(name)
        return function

    return add


def give_stem(model: nn.Module, name: str) -> None:
    """Give a network of ours the stem called `name` in the place of its `conv1`, in place.

    The package's stems have the very weights of that convolution: networks with different stems differ in
    nothing else.
    """
    stem = STEMS.find(name)
    if name in _OF_NETWORKS:
        stem(model)
        return
    layer = stem(model.get_submodule("conv1"))
    if not isinstance(layer, nn.Module):
        raise _no_layer(name, layer)
    model.add_module("conv1", layer)


def replace_by_stem(model: nn.Module, name: str, network: str) -> None:
    """Give a library's network the stem called `name` in the place of its first convolution, in place.

    Raises:
        InputError: a stem that changes whole networks of ours; there is no convolution to replace.
    """
    stem = STEMS.find(name)
    if name in _OF_NETWORKS:
        raise InputError(f"stem={name!r} is for networks of ours, such as resnet50, not for {network}")

    def make(conv: nn.Conv2d) -> nn.Module:
        layer = stem(conv)
        if not isinstance(layer, nn.Module):
            raise _no_layer(name, layer)
        return layer

    if stem is not plain:
        replace_first_by(model, make)


def set_strength(model: nn.Module, alpha: float) -> None:
    """Set the inhibition strength of a network's units, or where trained ones start, in place.

    Raises:
        InputError: no unit, or no finite strength >= 0.
    """
    units = [unit for unit in model.modules() if isinstance(unit, Inhibited)]
    if not units:
        raise InputError(
            f"alpha={alpha} needs a push-pull stem, which the network does not have; leave alpha out"
        )
    for unit in units:
        unit.set_strength(alpha)


def fixed_strength(model: nn.Module) -> float | None:
    """Return the inhibition strength of a network's units where it is fixed: no state dict holds it."""
    units = [unit for unit in model.modules() if isinstance(unit, Inhibited) and not unit.trainable_alpha]
    return float(units[0].alpha) if units else None


def _no_layer(name: str, found: object) -> InputError:
    return InputError(
        f"stem {name!r} returned a {type(found).__name__}; it must return the first layer, an nn.Module"
    )


@register_stem("plain")
def plain(conv: nn.Conv2d) -> nn.Module:
    """Return the convolution as it is."""
    return conv


for _ending, _options in (("", {}), ("_alpha", {"trainable_alpha": True}), ("_mean", {"offset": "mean"})):
    for _side in (0, 3, 5):
        register_stem(f"pp{_side}{_ending}")(partial(push_pull_twin, avg_kernel_size=_side, **_options))
# The best of the variants in docs/findings.md: pull kernel -W, twice as strong as the push.
register_stem("pp3_balanced")(partial(push_pull_twin, avg_kernel_size=3, offset="zero", alpha=2.0))
register_stem("strisciuglio")(partial(taking_over, StrisciuglioConv2d))
# As in that paper, a trained strength starts at about a half.
register_stem("strisciuglio_alpha")(partial(taking_over, StrisciuglioConv2d, trainable_alpha=True, alpha=0.5))
register_stem("blurpool", network=True)(blur_before_dropping)
register_stem("blur_after_conv")(partial(taking_over, BlurAfterConv2d))
