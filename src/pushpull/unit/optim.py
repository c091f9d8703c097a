"""Which parameters are decayed: all but the trained inhibition strengths."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from pushpull.errors import InputError
from pushpull.unit.layers import Inhibited, PushPullConv2d

__all__ = ["alpha_names", "parameter_groups"]


def alpha_names(model: nn.Module) -> set[str]:
    """Return the names, as in `model.named_parameters()`, of the trained inhibition strengths."""
    units = (unit for unit in model.modules() if isinstance(unit, Inhibited))
    # Pruning calls it alpha_orig, a parametrization parametrizations.alpha.original.
    ids = {
        id(parameter)
        for unit in units
        for name, parameter in unit.named_parameters()
        if name.removeprefix("parametrizations.").startswith("alpha")
    }
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}


def parameter_groups(
    model: nn.Module, weight_decay: float, *, stem_weight_decay: float | None = None, stem_lr: float = 1.0
) -> list[dict[str, Any]]:
    """Return the parameters in groups for an optimizer: decayed ones, and inhibition strengths, not decayed.

    Decay would pull the strengths to 0. Frozen parameters are left out; a shared one is listed once; biases
    and norms are decayed too, as in the paper.

    Args:
        model, weight_decay: any module; for all other parameters, finite and >= 0.
        stem_weight_decay: for those of the first convolution in `model.conv1`, else of the first registered
            in `model`; None: as for the others.
        stem_lr: factor of that layer's learning rate, above 0; other than 1 it is the group's `lr_scale`,
            timm's name, for whoever makes the optimizer and its schedule.

    Returns:
        One to three dictionaries with `params` and `weight_decay`, in the order of `named_parameters()`.

    Raises:
        InputError: a decay or factor that is not as above, or a model with nothing to train.

    >>> model = nn.Sequential(PushPullConv2d(3, 8, 3, trainable_alpha=True), nn.ReLU())
    >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(model, 0.01)]
    [(2, 0.01), (1, 0.0)]
    """
    stem_decay = weight_decay if stem_weight_decay is None else stem_weight_decay
    _check(weight_decay, stem_decay, stem_lr)
    alphas = alpha_names(model)
    stem = set() if stem_weight_decay is None and stem_lr == 1 else _stem_names(model) - alphas
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    parts = ((trained.keys() - alphas - stem, weight_decay), (stem, stem_decay), (alphas, 0.0))
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in trained.items() if name in names], "weight_decay": decay}
        for names, decay in parts
    ]
    if stem_lr != 1:
        groups[1]["lr_scale"] = stem_lr
    if not trained:
        raise InputError("the model has no parameter that requires a gradient; unfreeze what is to train")
    return [group for group in groups if group["params"]]


def _check(weight_decay: float, stem_decay: float, stem_lr: float) -> None:
    for decay in (weight_decay, stem_decay):
        if not math.isfinite(decay) or decay < 0:
            raise InputError(f"weight_decay={decay!r} must be a finite number of at least 0")
    if not 0 < stem_lr < math.inf:
        raise InputError(f"stem_lr={stem_lr!r} must be a finite number above 0")


def _stem_names(model: nn.Module) -> set[str]:
    """Return the names of the first layer's parameters, as in `model.named_parameters()`."""
    roots = [root for root in (getattr(model, "conv1", None), model) if isinstance(root, nn.Module)]
    units = (unit for root in roots for unit in root.modules() if isinstance(unit, _ConvNd | PushPullConv2d))
    first = next(units, None)
    if first is None:
        raise InputError("stem_weight_decay is given, but the model has no convolution; leave it out")
    ids = {id(parameter) for parameter in first.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}
