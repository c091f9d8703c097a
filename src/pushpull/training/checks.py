"""What can be known to fail before the first epoch, said in one line."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushpull.data import DataSplits, Preprocessing
from pushpull.data.images import AS_IS
from pushpull.errors import InputError, one_line
from pushpull.training.augment import check_crop
from pushpull.training.recipe import AugmentConfig


def check_augment(config: AugmentConfig, splits: DataSplits) -> None:
    """Raise `InputError` where the training images would not agree in size, or be far from those evaluated.

    A network trained on crops of half the evaluated side or less is hardly ever meant: it is what becomes of
    a crop for small images on large ones.
    """
    if splits.image_size is None:
        return
    side = min(splits.image_size)
    remedy = f"augment.crop={side}" + (
        f" and augment.resize={splits.framing.resize}" if splits.framing.resize else ""
    )
    if config.crop is None and splits.framing != AS_IS:
        raise InputError(f"the images of {splits.label} differ in size, so they need a crop: set {remedy}")
    if config.crop is not None and config.resize is None and splits.framing == AS_IS:
        check_crop(config.crop, config.padding, splits.image_size)
    if config.crop is not None and 2 * config.crop <= side:
        raise InputError(
            f"augment.crop={config.crop} is half of the images that are evaluated, or less "
            f"({splits.image_size[0]}x{splits.image_size[1]}): set {remedy}"
        )


def check_network(
    model: nn.Module, name: str, preprocessing: Preprocessing, sizes: set[tuple[int, int]], classes: int
) -> None:
    """Send one blank image of each (height, width) through; raise `InputError` if no logits come out."""
    layer = next(model.parameters())
    model.eval()
    try:
        for height, width in sorted(sizes):
            image = torch.zeros(1, 3, height, width, dtype=torch.uint8, device=layer.device)
            with torch.no_grad():
                logits = model(preprocessing(image))
            if not isinstance(logits, Tensor) or tuple(logits.shape) != (1, classes):
                shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                raise InputError(f"{name} gives {shape} for an image, not {classes} logits; use a classifier")
    except InputError:
        raise
    except Exception as error:  # whatever a network's own checks and kernels raise
        raise InputError(
            f"{name} cannot take images of {height}x{width} ({one_line(error)}); "
            "set preprocessing.size to what it takes, such as [224, 224]"
        ) from error
    finally:
        model.train()
