"""Between the 256 grey levels and numbers in [0, 1], with the published programs' truncation.

Those compute in double precision and drop the fraction at the end. What is mathematically a whole level then
becomes that level or, half an ulp short, the one below. float32 cannot tell; where it matters (whole levels
are common after brightness + 0.2, say) the functions here decide it as double precision does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushpull.corruptions.constants import BELOW, FORGIVEN, STEPS
from pushpull.random import native


def to_floats(x: Tensor) -> Tensor:
    """Return images, uint8 or floating-point, as float32 in [0, 1]."""
    if x.dtype != torch.uint8:
        return x.float()
    if native.applies(x):
        from pushpull.corruptions import loops

        return native.made(loops.to_floats, torch.float32, x)
    return x.float().div_(255.0)


def to_bytes(x: Tensor) -> Tensor:
    """Return images, uint8 or floating-point in [0, 1], as uint8, rounded."""
    return x if x.dtype == torch.uint8 else x.float().mul(255.0).round_().to(torch.uint8)


def truncate_to_bytes(x: Tensor) -> Tensor:
    """Turn values in [0, 1] into uint8 as the published programs do: clip, times 255, drop the fraction.

    uint8 is returned as it is. 2^-13 of a level is added first: k / 255 in float32 times 255 may lie just
    under k.
    """
    if x.dtype == torch.uint8:
        return x
    if x.dtype == torch.float32 and native.applies(x):
        from pushpull.corruptions import loops

        return native.made(loops.truncate, torch.uint8, x)
    return x.mul(255.0).add_(FORGIVEN).clamp_(0.0, 255.0).to(torch.uint8)


def in_steps(x: Tensor) -> Tensor:
    """Return floats in [0, 1] as whole numbers, `STEPS` a level; float64, float32 on a device without."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64).mul(255.0 * STEPS).round_()


def in_double(x: Tensor) -> Tensor:
    """Return float32 values as float64, k / 255 where they stand for it; as they are on a device without."""
    if x.device.type == "mps":
        return x
    scaled = x.double() * 255.0
    whole = scaled.round()
    return torch.where((scaled - whole).abs() < FORGIVEN, whole, scaled).div_(255.0)


def from_double(x: Tensor) -> Tensor:
    """Return float64 values in [0, 1] as float32 that `truncate_to_bytes` takes to the level of float64."""
    scaled = x * 255.0
    whole = scaled.floor()
    return scaled.sub_(whole).clamp_(max=1.0 - BELOW).add_(whole).div_(255.0).float()
