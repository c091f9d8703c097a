"""A network of any kind as `harden` needs it: a copy with one output for each class of the data."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pushpull.data import DataSplits
from pushpull.errors import InputError, one_line
from pushpull.evaluation.classes import Outputs
from pushpull.models.expected import assumed_preprocessing
from pushpull.models.heads import heads, keep_rows
from pushpull.models.network import Network, load_network
from pushpull.training.hardenoptions import HardenOptions


def fitted(model: Any, splits: DataSplits, options: HardenOptions) -> tuple[Network, list[str]]:
    """Return the network with one output for each class of the data, and what it expects of images.

    Beside it the names of the layers that were cut to these classes.
    """
    side = max(splits.image_size or (224,))
    network = load_network(model, classes=splits.classes, side_px=side)
    own = network.preprocessing or assumed_preprocessing(network.model)[0]
    own = own if options.size is None else replace(own, size=(options.size, options.size))
    try:
        copied = copy.deepcopy(network.model).cpu().eval()
    except Exception as error:  # old weight_norm, handles of other libraries
        raise InputError(
            f"{network.name} cannot be copied ({one_line(error)}); take off what stands in the way, such as "
            "torch.nn.utils.remove_weight_norm"
        ) from error
    network = replace(network, model=copied, preprocessing=own)
    shape = (2, 3, *(splits.image_size or (224, 224)))
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            logits = copied(own(image))
    except Exception as error:
        raise InputError(
            f"{network.name} does not take images of {tuple(own(image).shape[1:])} in fp32 "
            f"({one_line(error)}); give the size that it takes (--size), or its weights as fp32"
        ) from error
    outputs = Outputs(splits.classes, network.classes)
    outputs.take(logits, 2, len(splits.classes) - 1)
    rows, cut = outputs.positions, list[str]()
    if rows is not None and rows != list(range(logits.shape[1])):
        network, cut = _cut(network, rows, logits, own(image))
    return replace(network, classes=list(splits.classes)), cut


def _cut(network: Network, rows: list[int], logits: Tensor, image: Tensor) -> tuple[Network, list[str]]:
    """Return the network with these of its outputs only, and the layers that were cut.

    These are all with so many outputs, side heads among them, or the last one, where others are hidden.
    """
    found = heads(network.model, logits.shape[1])
    for names in (found, found[-1:]):
        model = copy.deepcopy(network.model)
        keep_rows(model, names, rows)
        try:
            with torch.no_grad():
                fits = torch.allclose(model(image), logits[:, rows], rtol=1e-4, atol=1e-5)
        except RuntimeError:  # shapes
            continue
        if fits:
            return replace(network, model=model), names
    raise InputError(
        f"{network.name} has {logits.shape[1]} outputs, and no last layer that could be cut to the data's "
        f"{len(rows)} classes in their order; give a network with just these outputs"
    )
