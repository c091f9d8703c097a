"""The operations of AutoAugment and its kin on batches of 8-bit images, each image with its own magnitude.

They are torchvision's: for the same operation and magnitude `apply_ops` gives what
`torchvision.transforms.v2.functional` gives for one image (`tests/augment/test_operations.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from pushpull.augment.batch import to_levels
from pushpull.augment.chains import Work, put, rows_by_value, take

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
TONE = ("brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize", "invert")
OPS = ("identity", *GEOMETRIC, *TONE, "color", "sharpness")
"""Every operation; `apply_ops` counts them so."""

_FAMILIES = (GEOMETRIC, TONE, ("color",), ("sharpness",))  # each is applied to all its images together


def apply_ops(
    images: UInt8[Tensor, "n 3 h w"],
    op: Int64[Tensor, " n"],
    magnitude: Float[Tensor, " n"],
    *,
    bilinear: bool = False,
) -> UInt8[Tensor, "n 3 h w"]:
    """Apply one operation to each image.

    Args:
        images: on any device.
        op: numbers of `OPS`, on the CPU.
        magnitude: on the CPU; what it means, `affine_map`, `tone_table`, `saturate` and `sharpen` say.
        bilinear: how geometric operations read between pixels; else the nearest pixel.
    """
    result = images.clone()
    size = (images.shape[2], images.shape[3])
    for numbers, function, arguments in ops_work(op, magnitude, size, bilinear=bilinear):
        rows = numbers.to(images.device)
        put(result, rows, function(take(images, rows), *arguments))
    return result


def ops_work(op: Tensor, magnitude: Tensor, size: tuple[int, int], *, bilinear: bool) -> list[Work]:
    """Return what `apply_ops` does, a family of operations at a time; nothing for the identity."""
    family = {name: kind for kind, names in enumerate(_FAMILIES) for name in names}
    works: list[Work] = []
    for kind, rows in rows_by_value(torch.tensor([family.get(name, -1) for name in OPS])[op]):
        own, strength = op[rows], magnitude[rows]
        if kind == 0:
            maps = torch.empty(len(rows), 2, 3)
            for number, at in rows_by_value(own):
                maps[at] = affine_map(OPS[number], strength[at], *size)
            works.append((rows, warp_affine, (maps, bilinear)))
        elif kind == 1:
            works.append((rows, _tone, (own, strength)))
        else:
            works.append((rows, saturate if kind == 2 else sharpen, (strength,)))
    return works


def _tone(images: Tensor, op: Tensor, magnitude: Tensor) -> Tensor:
    table = torch.empty(len(images), 3, 256, dtype=torch.uint8, device=images.device)
    magnitude = magnitude.to(images.device)
    for number, rows in rows_by_value(op):
        there = rows.to(images.device)
        put(table, there, tone_table(OPS[number], take(images, there), magnitude[there]))
    return table.gather(2, images.flatten(2).long()).view(images.shape)


def affine_map(name: str, magnitude: Float[Tensor, " n"], height: int, width: int) -> Float[Tensor, "n 2 3"]:
    """Return maps from a pixel (x, y, 1) of the result to where it is read, both about the image's centre.

    Args:
        name: of `GEOMETRIC`.
        magnitude: shear: px per px, about the upper left corner; translate: px, to the right or down, with
            the fraction dropped; rotate: degrees, counter-clockwise.
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
    images: UInt8[Tensor, "n c h w"], maps: Float[Tensor, "n 2 3"], bilinear: bool
) -> UInt8[Tensor, "n c h w"]:
    """Read every pixel where its image's map says; zeros outside; rounded.

    Args:
        images: any number of channels.
        maps: from `affine_map`.
        bilinear: else the nearest pixel.
    """
    height, width = images.shape[-2:]
    maps = maps.to(images.device)
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


def saturate(images: UInt8[Tensor, "n 3 h w"], magnitude: Float[Tensor, " n"]) -> UInt8[Tensor, "n 3 h w"]:
    """Move every pixel from its grey by the factor 1 + magnitude, of 0 and more."""
    factor = 1 + magnitude.to(images.device)[:, None, None, None]
    blended = torch.addcmul(images * factor, grey(images), 1 - factor)
    return to_levels(blended.clamp_(0, 255))


def sharpen(images: UInt8[Tensor, "n 3 h w"], magnitude: Float[Tensor, " n"]) -> UInt8[Tensor, "n 3 h w"]:
    """Move every pixel but the border's from its smoothed value by the factor 1 + magnitude.

    Smoothed: 5 parts of itself and one of each of its eight neighbours, over 13, rounded.
    """
    result = images.float()
    inner = result[..., 1:-1, 1:-1]
    # Whole numbers, exact in any order; as shifted sums, which take a tenth of a pooling's time on a CPU.
    lines = result[..., :-2, :] + result[..., 1:-1, :]
    lines += result[..., 2:, :]
    smooth = lines[..., :-2] + lines[..., 1:-1]
    smooth += lines[..., 2:]
    smooth.add_(inner, alpha=4.0).div_(13.0).round_()
    inner.addcmul_(smooth.sub_(inner), -magnitude.to(images.device)[:, None, None, None])
    return to_levels(result.clamp_(0, 255))
