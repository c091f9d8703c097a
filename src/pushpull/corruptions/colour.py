"""Corruptions of colour: contrast, brightness, saturation. x is always (N, 3, H, W) float32 in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import grey
from pushpull.corruptions.constants import MEAN_GRID
from pushpull.corruptions.filters import wide
from pushpull.corruptions.registry import nothing_random, register_corruption
from pushpull.random import native


@register_corruption(
    "brightness",
    family="weather",
    severities={
        "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
        "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
        "tiny": (0.1, 0.2, 0.3, 0.4, 0.5),
    },
    sample=nothing_random,
)
def brightness(x: Tensor, added: float, drawn: None) -> Tensor:
    """Raise V of HSV (the largest channel) to min(V + added, 1) at fixed hue and saturation.

    At fixed hue and saturation the three channels are proportional to V, so this is one factor per pixel.
    """
    if native.applies(x):
        from pushpull.corruptions import loops

        return native.made(loops.brightness, x.dtype, x, added)
    value = x.amax(dim=1, keepdim=True)
    # 0.2 is 51 levels: whole ones, which double precision sometimes misses.
    raised = grey.from_double((grey.in_double(value) + added).clamp_(max=1.0))
    # Not by 0 where nothing is divided in the end: the gradient would be no number.
    return torch.where(x == value, raised, x * (raised / torch.where(value > 0, value, 1.0)))


@register_corruption(
    "contrast",
    family="digital",
    severities={
        "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
        "tiny": (0.4, 0.3, 0.2, 0.1, 0.05),
    },
    sample=nothing_random,
)
def contrast(x: Tensor, factor: float, drawn: None) -> Tensor:
    """(x - mean) factor + mean, the mean of each channel of each image."""
    if native.applies(x):
        from pushpull.corruptions import loops

        planes = x.flatten(0, 1)
        return native.made(loops.contrast, x.dtype, planes, np.float32(factor)).view_as(x)
    # Of multiples of 2^-30, whose sum is exact in double precision, in whatever order it is taken.
    total = (x.to(wide(x.device)) * MEAN_GRID).round_().sum(dim=(2, 3), keepdim=True)
    mean = (total / (x[0, 0].numel() * MEAN_GRID)).float()
    return (x - mean).mul_(factor).add_(mean)


# Which of p, q, t, v (below) is red, green, blue in each sixth of the circle of hues.
_SIXTHS = ((3, 2, 0), (1, 3, 0), (0, 3, 2), (0, 1, 3), (2, 0, 3), (3, 0, 1))


@register_corruption(
    "saturate",
    family="digital",
    severities={
        "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        "tiny": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    },
    sample=nothing_random,
    extra=True,
)
def saturate(x: Tensor, params: tuple[float, float], drawn: None) -> Tensor:
    """Set S of HSV to clip(gain S + offset, 0, 1) at fixed hue and value.

    With S = (V - min) / V, hue H in sixths of a turn and f its fraction, the channels are V,
    p = V (1 - S), q = V (1 - f S) and t = V (1 - (1 - f) S). Grey pixels have hue 0, red.
    params: gain, offset.
    """
    gain, offset = params
    if native.applies(x):
        from pushpull.corruptions import loops

        return native.made(loops.saturate, x.dtype, x, gain, offset)
    # A gain of 2 makes whole levels of whole levels, of which double precision misses half.
    exact = grey.in_double(x)
    value, spread = exact.amax(dim=1, keepdim=True), exact.amax(dim=1, keepdim=True) - exact.amin(1, True)
    saturation = (spread / torch.where(value > 0, value, 1.0)).mul_(gain).add_(offset)
    saturation.clamp_(0.0, 1.0)
    turn = _hue(exact, value, spread) * 6.0
    sixth = turn.floor()
    fraction = turn - sixth
    p, q, t = (value * (1.0 - part * saturation) for part in (1.0, fraction, 1.0 - fraction))
    table = torch.tensor(_SIXTHS, device=x.device)
    choice = table[sixth.long()[:, 0] % 6].movedim(-1, 1)
    return grey.from_double(torch.cat([p, q, t, value], 1).gather(1, choice))


def _hue(x: Tensor, value: Tensor, spread: Tensor) -> Tensor:
    """Return (N, 1, H, W) hues in turns, in [0, 1); 0 for grey."""
    red, green, blue = x.split(1, dim=1)
    coloured, spread = spread > 0, torch.where(spread > 0, spread, 1.0)
    hue = (green - blue) / spread
    hue = torch.where(green == value, 2.0 + (blue - red) / spread, hue)
    hue = torch.where(blue == value, 4.0 + (red - green) / spread, hue)
    return torch.where(coloured, (hue / 6.0).remainder(1.0), 0.0)
