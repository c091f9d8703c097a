"""The one entry point: a batch of images in, the corrupted batch out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import filters
from pushpull.corruptions.random import Draws
from pushpull.corruptions.registry import REGISTRY
from pushpull.corruptions.severities import SEVERITIES
from pushpull.errors import InputError, choice, integer

SMALLEST_PX = 16


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    scale: str = "imagenet",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
) -> Tensor:
    """Corrupt a batch of images as the common-corruptions benchmark does.

    The same image, index, name, severity, scale and seed give the same result, bit for bit, whatever else is
    in the batch; no global random state is read or changed unless `index` is None.

    Args:
        images: (N, 3, H, W) RGB, uint8 in 0..255 or floating point in [0, 1]; H, W >= 16, on any device.
        name: one of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
        severity: 1..5.
        scale: which constants: "imagenet" (made for 224 pixels), "cifar" (32) or "tiny" (64).
        seed: any integer, modulo 2^64; another seed is another drawing.
        index: (N,) integers, which images these are. None: new identities from torch's default generator, so
            that `torch.manual_seed` governs them.

    Returns:
        The same shape, dtype and device. uint8 is truncated, as the published program does; floating point is
        clipped to [0, 1] and not rounded, except by a corruption that itself goes through 8 bits.

    Raises:
        InputError: for an argument that is not as above.

    Source: Hendrycks & Dietterich, ICLR 2019.
    """
    corruption = REGISTRY[choice("corruption", name, REGISTRY)]
    level, word = checked_severity(severity), checked_seed(seed)
    params = SEVERITIES[choice("scale", scale, SEVERITIES)][name][level - 1]
    _check_images(images)
    identities = _identities(index, len(images), images.device)
    if len(images) == 0:
        return images.clone()
    x = images.float().div_(255.0) if images.dtype == torch.uint8 else images.float()
    x = x.contiguous()  # one result whatever the memory order, and flat views in the corruptions
    draws = Draws(identities, seed=word, name=name, severity=level)
    # Autocast would round the filters that are matrix products to half precision.
    with torch.autocast(x.device.type, enabled=False):
        corrupted = corruption.apply(x, params, corruption.sample(draws, params, tuple(x.shape)))
    if images.dtype == torch.uint8:
        return filters.truncate_to_bytes(corrupted)
    return corrupted.clamp(0.0, 1.0).to(images.dtype)


def checked_severity(severity: object) -> int:
    """Return a severity of 1..5 as int, or raise."""
    level = integer("severity", severity, "give one of 1..5")
    if not 1 <= level <= 5:
        raise InputError(f"severity={level} is outside 1..5; give one of 1, 2, 3, 4, 5")
    return level


def checked_seed(seed: object) -> int:
    """Return a seed as int, or raise."""
    return integer("seed", seed, "give any whole number")


def _check_images(images: Tensor) -> None:
    """Raise unless `images` is a batch as `corrupt` takes it."""
    if not isinstance(images, Tensor):
        raise InputError(
            f"images is a {type(images).__name__}, not a tensor; give a (N, 3, H, W) torch tensor"
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"images has the shape {tuple(images.shape)}, not (N, 3, H, W); give a batch of RGB images"
        )
    if min(images.shape[2:]) < SMALLEST_PX:
        height, width = images.shape[2:]
        raise InputError(
            f"images of {height}x{width} are too small; give at least {SMALLEST_PX}x{SMALLEST_PX}"
        )
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
            f"images spans {low:.8g}..{high:.8g}, outside [0, 1]; corrupt before normalising, or give uint8"
        )


def _identities(index: Tensor | Sequence[int] | None, count: int, device: torch.device) -> Tensor:
    """Return (N,) int64 on `device`: the given identities, or new ones."""
    if index is None:
        return torch.randint(0, 2**62, (count,)).to(device)
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
        raise InputError(f"index has the dtype {given.dtype}; give {count} integers, one an image")
    if given.shape != (count,):
        raise InputError(
            f"index has the shape {tuple(given.shape)}, the batch {count} images; give ({count},) integers"
        )
    return given.to(device=device, dtype=torch.int64)
