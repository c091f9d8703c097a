"""One way to name a network."""

from __future__ import annotations

from typing import Literal

from torch import nn

from pushpull.errors import InputError, choice
from pushpull.models.cifar import CIFAR_RESNETS
from pushpull.models.libraries import build_timm, build_torchvision
from pushpull.models.resnet import RESNETS
from pushpull.models.stems import INPUT_STYLES, Stem, find_stem, set_strength
from pushpull.models.timm_entry import no_published_weights
from pushpull.unit.surgery import replace_first_conv

_OWN = RESNETS | CIFAR_RESNETS
_LIBRARIES = {"timm": build_timm, "torchvision": build_torchvision}
MODELS = (*_OWN, "timm:NAME", "torchvision:NAME")
_SMALL_IMAGE_PX = 64


def create_model(
    name: str,
    *,
    stem: str = "plain",
    input_style: str = "imagenet",
    num_classes: int = 1000,
    pretrained: bool = False,
    alpha: float | None = None,
) -> nn.Module:
    """Return a network that maps normalised images (N, 3, H, W) to logits (N, num_classes).

    Args:
        name: resnet18, 34, 50, 101, 152, resnext50_32x4d; resnet8, 14, 20, 32 (input_style="cifar" only);
            "timm:NAME" or "torchvision:NAME" for any network there.
        stem: one of `STEMS`. In a library's network its first convolution is replaced, weights kept; see
            `replace_first_conv`.
        input_style: "imagenet" (7x7, stride 2, max-pool) or "cifar" (3x3, stride 1, no max-pool); a library's
            network has its own first layer: "imagenet" only.
        num_classes: at least 1.
        pretrained: load the library's published weights; ours have none.
        alpha: inhibition strength of a push-pull stem, or where a trained one starts; None: the stem's own,
            in most 1.

    Raises:
        InputError: an unknown name, stem or style, a strength without a push-pull stem, weights that are not
            published or cannot be fetched, or a first convolution that cannot be replaced.
    """
    found = find_stem(stem)
    choice("input_style", input_style, INPUT_STYLES)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise InputError(f"num_classes={num_classes!r} must be a positive integer")
    library, colon, rest = str(name).partition(":")
    if not colon:
        model = _own(name, stem, input_style, num_classes, pretrained)
        if alpha is not None:
            set_strength(model, alpha)
        return model

    build = _LIBRARIES[choice("the library of a model", library, _LIBRARIES)]
    if input_style != "imagenet":
        raise InputError(
            f"{name} has its own first layer: input_style must be 'imagenet', not {input_style!r}"
        )
    if found is not None and (not isinstance(found, Stem) or not found.is_papers):
        raise InputError(f"stem={stem!r} is for networks of ours, such as resnet50, not for {name}")
    model = build(rest, num_classes, pretrained)
    if found is not None:
        replace_first_conv(
            model, avg_kernel_size=found.avg_kernel_size, trainable_alpha=found.trainable_alpha
        )
    if alpha is not None:
        set_strength(model, alpha)
    return model


def default_input_style(name: str, side_px: int) -> Literal["imagenet", "cifar"]:
    """Return "cifar" for a network of ours on images of up to 64 px (longer side), else "imagenet"."""
    return "cifar" if side_px <= _SMALL_IMAGE_PX and ":" not in name else "imagenet"


def _own(name: str, stem: str, input_style: str, num_classes: int, pretrained: bool) -> nn.Module:
    if name not in _OWN:
        for library in ("torchvision", "timm"):
            if name in _library_names(library):
                raise InputError(f"model={name!r} is none of ours; say {library}:{name} for {library}'s")
    choice("model", name, MODELS)
    if pretrained:
        raise InputError(no_published_weights(name))
    return _OWN[name](stem=stem, input_style=input_style, num_classes=num_classes)


def _library_names(library: str) -> list[str]:
    import timm
    from torchvision import models

    return timm.list_models() if library == "timm" else models.list_models(module=models)
