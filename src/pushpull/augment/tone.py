"""Operations that map the grey levels of 8-bit images, each as a table of 256 entries a channel."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

TONE = ("brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize", "invert")


def tone_table(
    name: str, images: UInt8[Tensor, "n 3 h w"], magnitude: Float[Tensor, " n"]
) -> UInt8[Tensor, "n 3 256"]:
    """Return what each grey level of each image and channel becomes.

    Args:
        name: of `TONE`.
        images: those the tables are for.
        magnitude: brightness, contrast: the factor less 1, of -1 and more; posterize: bits that remain;
            solarize: share of 255 from which on levels are inverted; no meaning for the others.
    """
    levels = torch.arange(256, device=images.device)
    value = magnitude[:, None, None]
    if name == "equalize":
        return equalize_table(images)
    if name == "autocontrast":
        return _autocontrast_table(images)
    if name == "brightness":
        table = levels.float() * (1 + value)
    elif name == "contrast":
        factor = 1 + value
        mean = grey(images).double().mean((1, 2, 3)).float()[:, None, None]
        table = levels.float() * factor + mean * (1 - factor)
    elif name == "posterize":
        lost = 2 ** (8 - value.long())
        table = levels // lost * lost
    elif name == "solarize":
        table = torch.where(levels >= value * 255, 255 - levels, levels)
    else:
        table = (255 - levels).view(1, 1, 256)
    return table.clamp(0, 255).to(torch.uint8).expand(len(images), 3, 256)


def apply_table(
    images: UInt8[Tensor, "n 3 h w"], table: UInt8[Tensor, "n 3 256"]
) -> UInt8[Tensor, "n 3 h w"]:
    """Return every value's entry of its image's and channel's table."""
    return table.gather(2, images.flatten(2).long()).view(images.shape)


def grey(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Return 0.2989 R + 0.587 G + 0.114 B, fraction dropped."""
    red, green, blue = images.unbind(1)
    total = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return total.floor_()[:, None]


def _autocontrast_table(images: Tensor) -> Tensor:
    """Stretch each channel's levels to 0..255; a channel of one level stays."""
    levels = torch.arange(256, device=images.device).float()
    low, high = (bound[..., None].float() for bound in images.flatten(2).aminmax(dim=2))
    flat = high == low
    step = torch.where(flat, 1.0, (high - low) * (1.0 / 255))
    table = (levels - torch.where(flat, 0.0, low)) / step
    return table.clamp_(0, 255).to(torch.uint8)


def equalize_table(images: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 3 256"]:
    """Spread each channel's levels so that its histogram becomes even, as Pillow does.

    With step = (pixels not of the highest level) // 255 the table is (pixels below the level + step // 2) //
    step; with step 0 the channel stays.
    """
    flat = images.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(2, flat, torch.ones((), dtype=torch.int32, device=images.device).expand_as(flat))
    highest = images.flatten(2).amax(2, keepdim=True).long()
    step = (flat.shape[2] - counts.gather(2, highest)) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    levels = torch.arange(256, device=images.device)
    return torch.where(step == 0, levels, table).to(torch.uint8)
