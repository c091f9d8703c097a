"""Which parameters are decayed: all but the trained inhibition strengths."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from pushpull.errors import InputError
from pushpull.layers import PushPullConv2d


def alpha_names(model: nn.Module) -> set[str]:
    """Return the names, as in `model.named_parameters()`, of the trained inhibition strengths."""
    ids = {id(unit._parameters["alpha"]) for unit in model.modules() if _trains_alpha(unit)}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters in groups for an optimizer: decayed ones, and inhibition strengths, not decayed.

    Decay would pull the strengths to 0, which is a plain rectified convolution. Frozen parameters are left
    out; a shared one is listed once; biases and norms are decayed too, as in the paper.

    Args:
        model: any module; units are found wherever they are.
        weight_decay: for all other parameters, finite and >= 0.

    Returns:
        One or two dictionaries with `params` and `weight_decay`, in the order of `model.named_parameters()`.

    Raises:
        InputError: a negative or infinite weight decay, or a model with nothing to train.
    """
    if not math.isfinite(weight_decay) or weight_decay < 0:
        raise InputError(f"weight_decay={weight_decay!r} must be a finite number of at least 0")
    alphas = alpha_names(model)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in trained.items() if name not in alphas], "weight_decay": weight_decay},
        {"params": [p for name, p in trained.items() if name in alphas], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError(
            "the model has no parameter that requires a gradient; unfreeze what is to be trained"
        )
    return groups


def _trains_alpha(module: nn.Module) -> bool:
    return isinstance(module, PushPullConv2d) and module.trainable_alpha
