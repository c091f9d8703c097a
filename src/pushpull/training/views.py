"""What the network sees of a batch: one augmented view an image or, for the consistency loss, three."""

from __future__ import annotations

import torch
from torch import Tensor

from pushpull.training.augment import apply_policy
from pushpull.training.recipe import Recipe


def views(images: Tensor, index: Tensor, recipe: Recipe, epoch: int) -> Tensor:
    """Return the batch as the recipe augments it.

    Args:
        images: (n, 3, H, W) uint8, cropped and flipped.
        index: (n,) their numbers in the source split: what is drawn depends on them, the seed and the epoch.
        recipe: names the policy and the loss.
        epoch: its number.

    Returns:
        (n, 3, H, W) or, where the loss asks for consistency, (3n, 3, H, W): the images as they are, then one
        augmented view of each, then another.
    """
    config, seed = recipe.augment, recipe.seed
    if not recipe.loss.jsd:
        return apply_policy(images, index, config, seed, epoch)
    drawn = [apply_policy(images, index, config, seed, epoch, view) for view in (0, 1)]
    return torch.cat([images, *drawn])


def in_batches(recipe: Recipe, device: torch.device) -> bool:
    """Whether streamed images get their policy together, on the device, and not one by one in a worker."""
    return bool(recipe.loss.jsd) or (recipe.augment.policy != "none" and device.type != "cpu")
