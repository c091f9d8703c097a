"""`timm.create_model("pushpull_resnet50")` and its kin: registered when this module is imported."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from pushpull.errors import InputError
from pushpull.models.resnet import VARIANTS, PushPullResNet

PREFIX = "pushpull_"

# timm looks for this name beside an entry point. It names no source of weights: none are published yet.
default_cfgs = generate_default_cfgs(
    {
        PREFIX + name: {"first_conv": "conv1", "classifier": "fc", "interpolation": "bilinear"}
        for name in VARIANTS
    }
)


def _register(name: str) -> None:
    def entry(
        pretrained: bool = False, *, stem: str = "pp3", input_style: str = "imagenet", **kwargs: Any
    ) -> nn.Module:
        # kwargs are timm's: features_only, num_classes, in_chans, pretrained_cfg and the like.
        if pretrained and not (kwargs.get("pretrained_cfg") or kwargs.get("pretrained_cfg_overlay")):
            raise InputError(no_published_weights(name))
        options = {**VARIANTS[name], "stem": stem, "input_style": input_style, **kwargs}
        return build_model_with_cfg(PushPullResNet, PREFIX + name, pretrained, **options)

    entry.__name__ = entry.__qualname__ = PREFIX + name
    entry.__doc__ = f"{name} with a push-pull stem (`stem`, `input_style`); see `PushPullResNet`."
    register_model(entry)


def no_published_weights(name: str) -> str:
    """Return the message for someone who asks for weights that do not exist."""
    instead = f", or 'timm:{name}' and its weights" if name in VARIANTS else ""
    return f"{name} has no published weights; use pretrained=False and load_weights(model, path){instead}"


for _name in VARIANTS:
    _register(_name)
