"""AutoAugment, RandAugment and TrivialAugment, with random numbers of its own for every image."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import UInt8
from torch import Tensor

from pushpull.augment.batch import ImageDraws, register_augmentation
from pushpull.augment.operations import GEOMETRIC, OPS, apply_ops

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
