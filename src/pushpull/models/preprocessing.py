"""What a network with published weights expects of images."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pushpull.data.preprocessing import Preprocessing

_SOURCES = ("url", "file", "hf_hub_id", "state_dict", "weights")


def model_preprocessing(model: nn.Module) -> Preprocessing | None:
    """Return the mean, std and image size of the network's published weights, or None where there are none.

    Read from `model.pretrained_cfg`, where timm notes them, and `create_model` what torchvision says.
    A network of ours is trained on the user's data, so it has none of its own.
    """
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or not any(config.get(source) for source in _SOURCES):
        return None
    size = config.get("input_size") or (3, None, None)
    return Preprocessing(
        mean=tuple(config["mean"]), std=tuple(config["std"]), size=tuple(size[1:]) if size[1] else None
    )
