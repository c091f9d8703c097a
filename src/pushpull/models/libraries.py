"""Networks of timm and torchvision, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import timm
from torch import nn
from torchvision import models

from pushpull.errors import InputError, one_line
from pushpull.models.timm_entry import PREFIX


def build_timm(name: str, num_classes: int, pretrained: bool) -> nn.Module:
    """Return timm's network `name` ("resnet50" or, with the tag of its weights, "resnet50.a1_in1k").

    Args:
        name: as `timm.list_models()` or `timm.list_pretrained()` give it.
        num_classes: width of the output; the head is new where the weights have another.
        pretrained: load the published weights (downloaded once).

    Raises:
        InputError: an unknown name or tag, no published weights, or a failed download.
    """
    if name.startswith(PREFIX):
        raise InputError(f"timm:{name} is one of ours: ask for {name.removeprefix(PREFIX)!r} and a stem")
    if not timm.is_model(name):
        raise InputError(_unknown("timm", name, timm.list_models(exclude_filters=PREFIX + "*")))
    arch, _, tag = name.partition(".")
    tagged = [known for known in timm.list_models(include_tags=True) if known.startswith(f"{arch}.")]
    if tag and name not in tagged:
        raise InputError(_unknown("timm", name, tagged))
    if pretrained and not timm.models.is_model_pretrained(name):
        raise InputError(f"timm:{name} has no published weights; use pretrained=False")
    return _built(
        f"timm:{name}", lambda: timm.create_model(name, pretrained=pretrained, num_classes=num_classes)
    )


def build_torchvision(name: str, num_classes: int, pretrained: bool) -> nn.Module:
    """Return torchvision's classification network `name`.

    With `pretrained`, its best weights; what they expect of images is kept as timm keeps it, in
    `model.pretrained_cfg`. Arguments and errors: as `build_timm`.
    """
    known = models.list_models(module=models)
    if name not in known:
        raise InputError(_unknown("torchvision", name, known))
    if not pretrained:
        # These two warn where they are not told whether to draw initial weights of their own.
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return _built(
            f"torchvision:{name}",
            lambda: models.get_model(name, weights=None, num_classes=num_classes, **extra),
        )
    weights = models.get_model_weights(name).DEFAULT
    model = _built(f"torchvision:{name}", lambda: models.get_model(name, weights=weights, progress=False))
    classes = len(weights.meta["categories"])
    if num_classes != classes:
        replace_heads(model, classes, num_classes)
    preset = weights.transforms()
    side_px = preset.crop_size[0]
    model.pretrained_cfg = {  # type: ignore[assignment]
        "weights": str(weights),
        "input_size": (3, side_px, side_px),
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
    }
    return model


def replace_heads(model: nn.Module, classes: int, num_classes: int) -> None:
    """Put a new layer with `num_classes` outputs for each that has one per class (`classes`), in place.

    Raises:
        InputError: no such layer.
    """
    found = False
    for parent in model.modules():
        for key, layer in parent.named_children():
            if isinstance(layer, nn.Linear) and layer.out_features == classes:
                setattr(parent, key, nn.Linear(layer.in_features, num_classes, layer.bias is not None))
                found = True
            elif isinstance(layer, nn.Conv2d) and (layer.out_channels, layer.kernel_size) == (
                classes,
                (1, 1),
            ):
                head = nn.Conv2d(layer.in_channels, num_classes, 1, bias=layer.bias is not None)
                setattr(parent, key, head)
                found = True
    if not found:
        raise InputError(f"no layer with {classes} outputs found to be replaced; give num_classes={classes}")


def _built(name: str, build: Callable[[], Any]) -> nn.Module:
    """Call the library; whatever it raises (no network, no disk, a broken file) becomes one line."""
    try:
        return build()
    except Exception as error:
        raise InputError(
            f"{name} could not be built ({one_line(error)}); where its weights cannot be downloaded, "
            "use pretrained=False and load_weights(model, path)"
        ) from error


def _unknown(library: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {', '.join(f'{library}:{n}' for n in near)}?" if near else ""
    return f"{library} has no classification model {name!r} among its {len(known)}{hint}"
