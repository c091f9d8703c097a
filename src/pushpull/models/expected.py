"""What a network expects of images, as its configuration says, or as it is taken to be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from torch import nn

from pushpull.data import Preprocessing

# Any of these in timm's configuration says that it belongs to weights, not to the architecture alone.
_SOURCES = ("url", "file", "hf_hub_id", "state_dict", "weights")
# Where DataParallel, AveragedModel, ModelEma and torch.compile keep the network.
_INNER = ("module", "_orig_mod", "_fsdp_wrapped_module")
_LIBRARY_MODULES = ("timm.", "torchvision.", "pushpull.")


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside what parallel, averaged and compiled training wraps around it."""
    while len(model._modules) == 1 and "pretrained_cfg" not in vars(model):
        name, inner = next(iter(model._modules.items()))
        if name not in _INNER or inner is None:
            break
        model = inner
    return model


def model_preprocessing(model: nn.Module, *, published: bool = False) -> Preprocessing | None:
    """Return the mean, std and image size of the network's published weights, or None where there are none.

    Read from `model.pretrained_cfg`, where timm notes them, and `create_model` what torchvision says, also
    within wrappers. A network of ours is trained on the user's data, so it has none of its own.

    Args:
        model: the network.
        published: it is known to have started from these weights; else they are taken for its own only where
            it has as many outputs as they were published with.
    """
    model = unwrapped(model)
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or not any(config.get(source) for source in _SOURCES):
        return None
    outputs = config.get("num_classes")
    if not published and outputs is not None and getattr(model, "num_classes", outputs) != outputs:
        return None
    size = config.get("input_size") or (3, None, None)
    return Preprocessing(
        mean=tuple(config["mean"]), std=tuple(config["std"]), size=tuple(size[1:]) if size[1] else None
    )


def assumed_preprocessing(model: nn.Module, *, warn: bool = True) -> tuple[Preprocessing, str]:
    """Return what a network is taken to expect of images where nobody says it, and why; a guess may warn.

    Its configuration counts where it has the outputs of the weights that this describes. Without one, images
    are given as they are, in [0, 1].
    """
    found, noted = model_preprocessing(model), model_preprocessing(model, published=True)
    inner = unwrapped(model)
    kind = type(inner).__name__
    if found is None and noted is not None and warn:
        warnings.warn(
            f"{kind} has {inner.num_classes} outputs, other than the weights that its configuration is of ("
            f"{noted}): it gets the images as they are, in [0, 1]; if it was trained otherwise, give "
            "preprocessing (--mean, --std)",
            stacklevel=3,
        )
    if found is None:
        return Preprocessing(), "none known: images as they are, in [0, 1] (assumed)"
    if (
        warn
        and not type(inner).__module__.startswith(_LIBRARY_MODULES)
        and any(getattr(child, "pretrained_cfg", None) is not None for child in inner.children())
    ):
        warnings.warn(
            f"{kind} wraps a network and carries its configuration: images are normalised by that before it; "
            "if it normalises them itself, give preprocessing=pushpull.Preprocessing()",
            stacklevel=3,
        )
    return found, "of its configuration (assumed)"
