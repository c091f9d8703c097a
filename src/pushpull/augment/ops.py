"""The operations of AutoAugment and its kin on batches of 8-bit images, each image with its own magnitude.

They are torchvision's: for the same operation and magnitude `apply_ops` gives what
`torchvision.transforms.v2.functional` gives an image at a time (`tests/augment/test_ops.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from pushpull.augment.geometry import GEOMETRIC, affine_map, warp_affine
from pushpull.augment.mixing import Work
from pushpull.augment.rows import put, rows_by_value, take, to_levels
from pushpull.augment.tone import TONE, apply_table, grey, tone_table

OPS = ("identity", *GEOMETRIC, *TONE, "color", "sharpness")
"""Every operation; `apply_ops` counts them so."""

_FAMILY = {
    name: kind for kind, names in enumerate((GEOMETRIC, TONE, ("color",), ("sharpness",))) for name in names
}


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
        magnitude: on the CPU; what it means, `geometry.affine_map`, `tone.tone_table`, `saturate` and
            `sharpen` say.
        bilinear: how geometric operations read between pixels; else the nearest pixel.
    """
    result = images.clone()
    size = (images.shape[2], images.shape[3])
    for work in ops_work(op, magnitude, size, bilinear=bilinear):
        rows = work.chains.to(images.device)
        put(result, rows, work.apply(take(images, rows)))
    return result


def ops_work(op: Tensor, magnitude: Tensor, size: tuple[int, int], *, bilinear: bool) -> list[Work]:
    """Return what `apply_ops` does, a family of operations at a time; nothing for the identity."""
    families = torch.tensor([_FAMILY.get(name, -1) for name in OPS])
    return [
        Work(rows, _family(kind, op[rows], magnitude[rows], size, bilinear))
        for kind, rows in rows_by_value(families[op])
    ]


def _family(
    kind: int, op: Tensor, magnitude: Tensor, size: tuple[int, int], bilinear: bool
) -> Callable[[Tensor], Tensor]:
    if kind == 0:
        maps = torch.empty(len(op), 2, 3)
        for number, rows in rows_by_value(op):
            maps[rows] = affine_map(OPS[number], magnitude[rows], *size)
        return lambda images: warp_affine(images, maps.to(images.device), bilinear=bilinear)
    if kind == 1:
        return lambda images: _tone(images, op, magnitude)
    blend = saturate if kind == 2 else sharpen
    return lambda images: blend(images, magnitude.to(images.device))


def _tone(images: Tensor, op: Tensor, magnitude: Tensor) -> Tensor:
    table = torch.empty(len(images), 3, 256, dtype=torch.uint8, device=images.device)
    magnitude = magnitude.to(images.device)
    for number, rows in rows_by_value(op):
        there = rows.to(images.device)
        put(table, there, tone_table(OPS[number], take(images, there), magnitude[there]))
    return apply_table(images, table)


def saturate(images: UInt8[Tensor, "n 3 h w"], magnitude: Float[Tensor, " n"]) -> UInt8[Tensor, "n 3 h w"]:
    """Move every pixel from its grey by the factor 1 + magnitude, of 0 and more."""
    factor = 1 + magnitude[:, None, None, None]
    blended = torch.addcmul(images * factor, grey(images), 1 - factor)
    return to_levels(blended.clamp_(0, 255))


def sharpen(images: UInt8[Tensor, "n 3 h w"], magnitude: Float[Tensor, " n"]) -> UInt8[Tensor, "n 3 h w"]:
    """Move every pixel but the border's from its smoothed value by the factor 1 + magnitude.

    Smoothed: 5 parts of itself and one of each of its eight neighbours, over 13, rounded.
    """
    if min(images.shape[2:]) <= 2:
        return images.clone()
    result = images.float()
    inner = result[..., 1:-1, 1:-1]
    # Whole numbers, exact in any order; as shifted sums, which take a tenth of a pooling's time on a CPU.
    lines = result[..., :-2, :] + result[..., 1:-1, :]
    lines += result[..., 2:, :]
    smooth = lines[..., :-2] + lines[..., 1:-1]
    smooth += lines[..., 2:]
    smooth.add_(inner, alpha=4.0).div_(13.0).round_()
    inner.addcmul_(smooth.sub_(inner), -magnitude[:, None, None, None])
    return to_levels(result.clamp_(0, 255))
