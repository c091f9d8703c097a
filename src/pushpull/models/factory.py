"""One way to name a network, and what a recipe says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
from torch import nn
from torchvision import models

from pushpull.errors import InputError, choice
from pushpull.models.libraries import build_timm, build_torchvision
from pushpull.models.resnet import CIFAR_RESNETS, INPUT_STYLES, RESNETS, no_published_weights
from pushpull.models.stems import STEMS, replace_by_stem, set_strength
from pushpull.unit.functional import is_integer

InputStyle = Literal["imagenet", "cifar"]


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Args:
        name: resnet10, 18, 34, 50, 101, 152, resnext50_32x4d, a small CIFAR one (resnet8, 14, 20, 32),
            `timm:NAME` or `torchvision:NAME`.
        stem: the first layer: plain; pp0, pp3, pp5 (push-pull; the number is the side of the pooling);
            pp0_alpha, pp3_alpha, pp5_alpha (the inhibition strength is trained); pp0_mean, pp3_mean, pp5_mean
            (the pull kernel is 2 mean(W) - W) or pp3_balanced (ours, see docs/findings.md); for comparison
            strisciuglio, blurpool and blur_after_conv; and those that `--plugins` register, see
            `pushpull.models.STEMS`.
        input_style: imagenet (7x7, stride 2, max-pool) or cifar (3x3, stride 1, no max-pool); null takes
            cifar for networks of ours on images of up to 64 pixels.
        pretrained: start from the library's published weights.
        weights: start from this file of weights (safetensors or .pth); a missing file is an error.
        alpha: inhibition strength of a push-pull stem, 0 or more; where a trained one starts; null
            for the stem's own, 1 for most.
        start: unit (the stem at once), or preserve: a push-pull stem starts as the plain convolution and
            becomes the unit over the first `optim.gate_share` of the steps.

    Raises:
        InputError: an alpha that is negative or not finite, or no name.
    """

    name: str = "resnet14"
    stem: str = "plain"
    input_style: InputStyle | None = None
    pretrained: bool = False
    weights: str | None = None
    alpha: float | None = None
    start: Literal["unit", "preserve"] = "unit"

    def __post_init__(self) -> None:
        for name in ("name", "stem"):
            if not isinstance(getattr(self, name), str):
                raise InputError(
                    f"model.{name}={getattr(self, name)!r} must be text, such as resnet14, plain"
                )
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise InputError(f"model.alpha={self.alpha} must be a finite number of at least 0, or null")
        choice("model.start", self.start, ("unit", "preserve"))


__all__ = ["MODELS", "create_model", "default_input_style"]

_OWN = RESNETS | CIFAR_RESNETS
_LIBRARIES = {"timm": build_timm, "torchvision": build_torchvision}
MODELS = (*_OWN, "timm:NAME", "torchvision:NAME")
_SMALL_IMAGE_PX = 64


def create_model(
    name: str,
    *,
    stem: str = "plain",
    input_style: str | None = None,
    num_classes: int = 1000,
    pretrained: bool = False,
    alpha: float | None = None,
) -> nn.Module:
    """Return a network that maps normalised images (N, 3, H, W) to logits (N, num_classes).

    Args:
        name: one of `MODELS`, "timm:NAME" or "torchvision:NAME" among them.
        stem: one of `STEMS`; in a library's network as by `replace_first_conv`, weights kept.
        input_style: "imagenet" (7x7, stride 2, max-pool) or "cifar" (3x3, no max-pool); None: the network's.
        num_classes: at least 1.
        pretrained: load the library's published weights (ours have none).
        alpha: strength of a push-pull stem, or where a trained one starts; None: the stem's own, mostly 1.

    Returns:
        The network, on the CPU, in training mode.

    Raises:
        InputError: an unknown name, weights that cannot be loaded, a layer that cannot be replaced, or alpha
            with a plain stem.

    >>> create_model("resnet8", stem="pp3").made_as["input_style"]
    'cifar'
    """
    if not is_integer(num_classes, 1):
        raise InputError(f"num_classes={num_classes!r} must be a positive integer")
    input_style = input_style or ("cifar" if name in CIFAR_RESNETS else "imagenet")
    if ":" in str(name):
        model = _of_library(str(name), stem, input_style, num_classes, pretrained)
    elif name in _OWN and not pretrained:
        model = _OWN[name](stem=stem, input_style=input_style, num_classes=num_classes)
    else:
        raise _unavailable(name)
    if alpha is not None:
        set_strength(model, alpha)
    model.made_as = {"name": name, "stem": stem, "input_style": input_style}  # type: ignore[assignment]
    return model


def default_input_style(name: str, side_px: int) -> Literal["imagenet", "cifar"]:
    """Return "cifar" for a network of ours on images of up to 64 px, else "imagenet".

    Args:
        name: of the network, as for `create_model`.
        side_px: longer side of the images.

    >>> default_input_style("resnet18", 32), default_input_style("timm:resnet18", 32)
    ('cifar', 'imagenet')
    """
    return "cifar" if side_px <= _SMALL_IMAGE_PX and ":" not in name else "imagenet"


def nameable(name: str | None, file: Path | str) -> str | None:
    """Return the name that weights say they are of.

    Raises:
        InputError: it is of a user's own network, which no name builds.
    """
    if name is not None and ":" not in name and name not in _OWN:
        raise InputError(
            f"{file} has the weights of {name}, which is no network of ours: give FILE.py:FUNCTION that "
            f"builds it, and --weights {file}"
        )
    return name


def _of_library(name: str, stem: str, input_style: str, num_classes: int, pretrained: bool) -> nn.Module:
    STEMS.find(stem)  # before anything is built or downloaded
    library, _, rest = name.partition(":")
    build = _LIBRARIES[choice("the library of a model", library, _LIBRARIES)]
    if choice("input_style", input_style, INPUT_STYLES) != "imagenet":
        raise InputError(
            f"{name} has its own first layer: input_style must be 'imagenet', not {input_style!r}"
        )
    model = build(rest, num_classes, pretrained)
    replace_by_stem(model, stem, name)
    return model


def _unavailable(name: str) -> InputError:
    """Return the error for a network that is none of ours, or has no published weights."""
    if name in _OWN:
        return InputError(no_published_weights(name))
    for library, names in (("torchvision", models.list_models(module=models)), ("timm", timm.list_models())):
        if name in names:
            return InputError(f"model={name!r} is none of ours; say {library}:{name} for {library}'s")
    choice("model", name, MODELS)
    raise AssertionError(f"{name} is among the models")
