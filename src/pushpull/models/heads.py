"""The last layers of a network: those with an output for each class, side heads among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn


def is_head(layer: nn.Module, classes: int) -> bool:
    """Whether it is a linear layer or 1x1 convolution with so many outputs."""
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels == classes and layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear) and layer.out_features == classes


def heads(model: nn.Module, classes: int) -> list[str]:
    """Return the names of the layers with one output per class, in the order of registration."""
    return [name for name, layer in model.named_modules() if is_head(layer, classes)]


def keep_rows(model: nn.Module, names: Iterable[str], rows: Sequence[int]) -> None:
    """Keep these outputs of the named layers, in this order, in place."""
    at = torch.as_tensor(rows)
    for name in names:
        layer = model.get_submodule(name)
        for kind, old in list(layer.named_parameters(recurse=False)):
            kept = old.detach()[at.to(old.device)].clone()
            setattr(layer, kind, nn.Parameter(kept, requires_grad=old.requires_grad))
        setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(rows))
