"""Affine maps of 8-bit images, each image with its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from pushpull.augment.rows import to_levels

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


def affine_map(name: str, magnitude: Float[Tensor, " n"], height: int, width: int) -> Float[Tensor, "n 2 3"]:
    """Return maps from a pixel (x, y, 1) of the result to where it is read, both about the image's centre.

    Args:
        name: of `GEOMETRIC`.
        magnitude: shear: px a px, about the upper left corner; translate: px, to the right or down, of which
            the fraction is dropped; rotate: degrees, counter-clockwise.
        height, width: px.
    """
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    if name == "shear_x":
        rows = (one, magnitude, magnitude * (height / 2), zero, one, zero)
    elif name == "shear_y":
        rows = (one, zero, zero, magnitude, one, magnitude * (width / 2))
    elif name == "translate_x":
        rows = (one, zero, -magnitude.trunc(), zero, one, zero)
    elif name == "translate_y":
        rows = (one, zero, zero, zero, one, -magnitude.trunc())
    else:
        angle = magnitude.double().deg2rad()
        cos, sin = angle.cos().float(), angle.sin().float()
        rows = (cos, -sin, zero, sin, cos, zero)
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def warp_affine(
    images: UInt8[Tensor, "n c h w"], maps: Float[Tensor, "n 2 3"], *, bilinear: bool
) -> UInt8[Tensor, "n c h w"]:
    """Read every pixel where its image's map says; zeros outside; rounded.

    Args:
        images: any number of channels.
        maps: from `affine_map`, on the images' device.
        bilinear: else the nearest pixel.
    """
    height, width = images.shape[-2:]
    # grid_sample counts from -1 to 1 between the outer edges.
    scaled = maps / maps.new_tensor([0.5 * width, 0.5 * height])[:, None]
    x = torch.arange(width, device=images.device) + (1 - width) / 2
    y = torch.arange(height, device=images.device) + (1 - height) / 2
    grid = maps.new_empty(len(images), height, width, 2)
    for axis in range(2):
        from_x, from_y, constant = scaled[:, axis].unbind(1)
        row = from_x[:, None] * x
        column = torch.addcmul(constant[:, None], from_y[:, None], y)
        torch.add(row[:, None], column[..., None], out=grid[..., axis])
    mode = "bilinear" if bilinear else "nearest"
    return to_levels(F.grid_sample(images.float(), grid, mode=mode, align_corners=False).round_())
