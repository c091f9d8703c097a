"""The arguments that the corruptions' entry points share, checked; each mistake is one clear line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions.registry import REGISTRY, Corruption
from pushpull.errors import InputError, integer

SMALLEST_PX = 16


class Level(NamedTuple):
    """One corruption at one severity of one scale."""

    corruption: Corruption
    severity: int
    params: Any


def checked_level(name: str, severity: int, scale: str) -> Level:
    """Return the corruption of that name with the constants of its severity and scale, or raise."""
    corruption = REGISTRY.find(name)
    level = checked_severity(severity)
    return Level(corruption, level, corruption.params(level, scale))


def checked_jpeg_quality(jpeg_quality: int | None, *, quantize: bool = True) -> int | None:
    """Return the quality as int, or None; raise unless it is in 1..100 and goes with `quantize`."""
    if not isinstance(quantize, bool):
        raise InputError(f"quantize={quantize!r} is neither True nor False")
    if jpeg_quality is None:
        return None
    quality = integer("jpeg_quality", jpeg_quality, "give one of 1..100, or None for no JPEG")
    if not 1 <= quality <= 100:
        raise InputError(f"jpeg_quality={quality} is outside 1..100; 85 is what ImageNet-C was stored with")
    if not quantize:
        raise InputError(
            f"jpeg_quality={quality} goes through 8 bits, which quantize=False forbids; leave one of them out"
        )
    return quality


def checked_severity(severity: object) -> int:
    """Return a severity of 1..5 as int, or raise."""
    level = integer("severity", severity, "give one of 1..5")
    if not 1 <= level <= 5:
        raise InputError(f"severity={level} is outside 1..5; give one of 1, 2, 3, 4, 5")
    return level


def checked_seed(seed: object) -> int:
    """Return a seed as int, or raise."""
    return integer("seed", seed, "give any whole number")


def check_images(images: Tensor, *, smallest_px: int = SMALLEST_PX, verb: str = "corrupt") -> None:
    """Raise unless `images` is a batch of RGB images, uint8 or in [0, 1], none smaller than `smallest_px`.

    `verb` says what is not to be done after normalising.
    """
    if not isinstance(images, Tensor):
        raise InputError(
            f"images is a {type(images).__name__}, not a tensor; give a (N, 3, H, W) torch tensor"
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"images has the shape {tuple(images.shape)}, not (N, 3, H, W); give a batch of RGB images"
        )
    height, width = images.shape[2:]
    check_size(height, width, smallest_px)
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise InputError(
            f"images has the dtype {images.dtype}; give uint8 in 0..255 or floating point in [0, 1]"
        )
    if images.numel() == 0:
        return
    low, high = (bound.item() for bound in images.detach().aminmax())
    # Written so that NaN, for which every comparison is false, fails too.
    if not (low >= 0.0 and high <= 1.0):
        raise InputError(
            f"images spans {low:.8g}..{high:.8g}, outside [0, 1]; {verb} before normalising, or give uint8"
        )


def checked_size(size: object) -> tuple[int, int]:
    """Return (height, width) in px as integers, or raise unless images of that size can be corrupted."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise InputError(f"size={size!r} is not (height, width); give two integers")
    height, width = (integer("size", side, "give (height, width) in px") for side in size)
    check_size(height, width)
    return height, width


def check_size(height: int, width: int, smallest_px: int = SMALLEST_PX) -> None:
    """Raise unless images of this size, px, are large enough."""
    if min(height, width) < smallest_px:
        raise InputError(
            f"images of {height}x{width} are too small; give at least {smallest_px}x{smallest_px}"
        )


def identities(index: Tensor | Sequence[int] | None, count: int, device: torch.device) -> Tensor:
    """Return (N,) int64 on `device`: the given identities, or new ones."""
    if index is None:
        return torch.randint(0, 2**62, (count,), device="cpu").to(device)
    try:
        # By way of a fresh array: torch takes neither backward views nor lists of numpy's uint64.
        given = index if isinstance(index, Tensor) else torch.from_numpy(np.array(index, order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"index of type {type(index).__name__} holds no integers; give {count} integers"
        ) from error
    if given.numel() == 0 and count == 0:
        return torch.zeros(0, dtype=torch.int64, device=device)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise InputError(f"index has the dtype {given.dtype}; give {count} integers, one per image")
    if given.shape != (count,):
        raise InputError(
            f"index has the shape {tuple(given.shape)}, the batch {count} images; give ({count},) integers"
        )
    return given.to(device=device, dtype=torch.int64)
