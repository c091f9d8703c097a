"""The operations of AutoAugment and its kin on batches of 8-bit images, each image with its own magnitude.

They are torchvision's: for the same operation and magnitude `apply_ops` gives what
`torchvision.transforms.v2.functional` gives for one image (`tests/augment/test_operations.py`).
The policies AutoAugment, RandAugment and TrivialAugment draw them with random numbers of each image's own.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from pushpull.augment.batch import (
    ImageDraws,
    Work,
    put,
    register_augmentation,
    rows_by_value,
    take,
    to_levels,
)

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


Space = dict[str, tuple[float, float]]
"""Operations with their first and last magnitude, between which they have equal steps.

`pushpull.augment.operations` says what a magnitude means; translations of up to 1 are shares of the image's
side. Half of the draws of a magnitude in `SIGNED` are negated.
"""
SIGNED = (*GEOMETRIC, "brightness", "color", "contrast", "sharpness")


def space(shear: float, shift: float, turn_deg: float, bits: tuple[float, float], tone: float) -> Space:
    """Return the thirteen operations that the policies have in common, with these magnitudes at the end."""
    last = dict(zip(SIGNED, (shear, shear, shift, shift, turn_deg, tone, tone, tone, tone), strict=True))
    signed = {name: (0.0, value) for name, value in last.items()}
    return {**signed, "posterize": bits, "solarize": (1.0, 0.0), "autocontrast": (0, 0), "equalize": (0, 0)}


# The magnitudes of torchvision's classes, which took them from the papers' code.
AUTOAUGMENT_SPACE = {**space(0.3, 150 / 331, 30.0, (8, 4), 0.9), "invert": (0, 0)}
RANDAUGMENT_SPACE = {"identity": (0, 0), **space(0.3, 150 / 331, 30.0, (8, 4), 0.9)}
TRIVIAL_SPACE = {"identity": (0, 0), **space(0.99, 32.0, 135.0, (8, 2), 0.99)}

# Cubuk et al., CVPR 2019, appendix; of both operations of a sub-policy: name, probability, and the number of
# the magnitude, of 0..9, where it has one.
_IMAGENET = """
posterize 0.4 8 + rotate 0.6 9, solarize 0.6 5 + autocontrast 0.6, equalize 0.8 + equalize 0.6,
posterize 0.6 7 + posterize 0.6 6, equalize 0.4 + solarize 0.2 4, equalize 0.4 + rotate 0.8 8,
solarize 0.6 3 + equalize 0.6, posterize 0.8 5 + equalize 1, rotate 0.2 3 + solarize 0.6 8,
equalize 0.6 + posterize 0.4 6, rotate 0.8 8 + color 0.4 0, rotate 0.4 9 + equalize 0.6,
equalize 0 + equalize 0.8, invert 0.6 + equalize 1, color 0.6 4 + contrast 1 8, rotate 0.8 8 + color 1 2,
color 0.8 8 + solarize 0.8 7, sharpness 0.4 7 + invert 0.6, shear_x 0.6 5 + equalize 1,
color 0.4 0 + equalize 0.6, equalize 0.4 + solarize 0.2 4, solarize 0.6 5 + autocontrast 0.6,
invert 0.6 + equalize 1, color 0.6 4 + contrast 1 8, equalize 0.8 + equalize 0.6
"""
_CIFAR10 = """
invert 0.1 + contrast 0.2 6, rotate 0.7 2 + translate_x 0.3 9, sharpness 0.8 1 + sharpness 0.9 3,
shear_y 0.5 8 + translate_y 0.7 9, autocontrast 0.5 + equalize 0.9, shear_y 0.2 7 + posterize 0.3 7,
color 0.4 3 + brightness 0.6 7, sharpness 0.3 9 + brightness 0.7 9, equalize 0.6 + equalize 0.5,
contrast 0.6 7 + sharpness 0.6 5, color 0.7 7 + translate_x 0.5 8, equalize 0.3 + autocontrast 0.4,
translate_y 0.4 3 + sharpness 0.2 6, brightness 0.9 6 + color 0.2 8, solarize 0.5 2 + invert 0,
equalize 0.2 + autocontrast 0.6, equalize 0.2 + equalize 0.6, color 0.9 9 + equalize 0.6,
autocontrast 0.8 + solarize 0.2 8, brightness 0.1 3 + color 0.7 0, solarize 0.4 5 + autocontrast 0.9,
translate_y 0.9 9 + translate_y 0.7 9, autocontrast 0.9 + solarize 0.8 3, equalize 0.8 + invert 0.1,
translate_y 0.7 9 + autocontrast 0.9
"""


def _parsed(text: str) -> tuple[tuple[tuple[str, float, int], ...], ...]:
    pairs = [[f"{step} 0".split()[:3] for step in pair.split(" + ")] for pair in text.split(",")]
    return tuple(tuple((op, float(chance), int(level)) for op, chance, level in pair) for pair in pairs)


AUTOAUGMENT = {"imagenet": _parsed(_IMAGENET), "cifar": _parsed(_CIFAR10)}
"""AutoAugment's sub-policies, as the paper's search found them."""

# torchvision's defaults, at both scales.
RANDAUGMENT_OPERATIONS, RANDAUGMENT_MAGNITUDE = 2, 9
_AUTOAUGMENT_BINS, _RANDAUGMENT_BINS, _TRIVIAL_BINS = 10, 31, 31


@register_augmentation("autoaugment", dtype=torch.uint8)
def autoaugment(images: UInt8[Tensor, "n 3 h w"], draws: ImageDraws, scale: str) -> UInt8[Tensor, "n 3 h w"]:
    """Apply one of the scale's sub-policies to every image: two operations, each with its own probability.

    Source: Cubuk et al., CVPR 2019; as in torchvision.
    """
    which, chance, coin = draws.named("autoaugment").uniform(5).split((1, 2, 2), dim=1)
    drawn = _numbers(scale)[(which[:, 0] * len(AUTOAUGMENT[scale])).long()]
    number, level = drawn[..., 0].long(), drawn[..., 2].long()
    op, value = chosen_magnitudes(AUTOAUGMENT_SPACE, _AUTOAUGMENT_BINS, images, number, level, coin)
    return _in_a_row(images, torch.where(chance <= drawn[..., 1], op, OPS.index("identity")), value)


@lru_cache(maxsize=4)
def _numbers(scale: str) -> Tensor:
    """Return (sub-policies, 2, 3): number of the operation in its space, probability, level."""
    names = list(AUTOAUGMENT_SPACE)
    rows = [[(names.index(op), *rest) for op, *rest in pair] for pair in AUTOAUGMENT[scale]]
    return torch.tensor(rows, dtype=torch.float64)


@register_augmentation("randaugment", dtype=torch.uint8)
def randaugment(images: UInt8[Tensor, "n 3 h w"], draws: ImageDraws) -> UInt8[Tensor, "n 3 h w"]:
    """Apply two uniformly chosen operations to every image, both at one magnitude, number 9 of 31.

    Source: Cubuk et al., NeurIPS 2020; as in torchvision.
    """
    which, coin = draws.named("randaugment").uniform(2, RANDAUGMENT_OPERATIONS).unbind(1)
    number = (which * len(RANDAUGMENT_SPACE)).long()
    level = torch.full_like(number, RANDAUGMENT_MAGNITUDE)
    chosen = chosen_magnitudes(RANDAUGMENT_SPACE, _RANDAUGMENT_BINS, images, number, level, coin)
    return _in_a_row(images, *chosen)


@register_augmentation("trivialaugment", dtype=torch.uint8)
def trivialaugment(images: UInt8[Tensor, "n 3 h w"], draws: ImageDraws) -> UInt8[Tensor, "n 3 h w"]:
    """Apply one uniformly chosen operation to every image, at one of 31 magnitudes, uniformly too.

    Source: Müller & Hutter, ICCV 2021, the wide space; as in torchvision.
    """
    which, step, coin = draws.named("trivialaugment").uniform(3, 1).unbind(1)
    number, level = (which * len(TRIVIAL_SPACE)).long(), (step * _TRIVIAL_BINS).long()
    return _in_a_row(images, *chosen_magnitudes(TRIVIAL_SPACE, _TRIVIAL_BINS, images, number, level, coin))


def _in_a_row(images: Tensor, op: Tensor, magnitude: Tensor) -> Tensor:
    for step in range(op.shape[1]):
        images = apply_ops(images, op[:, step], magnitude[:, step])
    return images


def chosen_magnitudes(
    space: Space, bins: int, images: Tensor, number: Tensor, level: Tensor, coin: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the operation, a number of `operations.OPS`, and the magnitude of each draw.

    Args:
        space: the operations that are drawn from.
        bins: how many magnitudes each has.
        images: (N, C, H, W); their size decides some magnitudes.
        number: of the operation in the space; any shape, as `level` and `coin`.
        level: of its magnitudes, 0..bins - 1.
        coin: uniform in (0, 1); up to 1/2 negates a signed magnitude.
    """
    op, values, signed = magnitude_tables(tuple(space.items()), bins, (images.shape[2], images.shape[3]))
    value = values[number, level]
    return op[number], torch.where(signed[number] & (coin <= 0.5), -value, value)


@lru_cache(maxsize=16)
def magnitude_tables(
    space: tuple[tuple[str, tuple[float, float]], ...], bins: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a space's operations for images of (height, width) `size`, in its order.

    Returns:
        (K,) numbers of `operations.OPS`; (K, bins) magnitudes; (K,) whether half of the draws are negated.
    """
    values = []
    for name, (first, last) in space:
        if name == "posterize":
            values.append((first - torch.arange(bins) / ((bins - 1) / (first - last))).round())
            continue
        side = {"translate_x": size[1], "translate_y": size[0]}.get(name, 1) if last <= 1 else 1
        values.append(torch.linspace(first * side, last * side, bins))
    op = torch.tensor([OPS.index(name) for name, _ in space])
    return op, torch.stack(values), torch.tensor([name in SIGNED for name, _ in space])
