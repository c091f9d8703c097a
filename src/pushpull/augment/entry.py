"""The entry point: a batch of images in, the augmented batch out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pushpull.augment import augmix as mixtures
from pushpull.augment import policies
from pushpull.augment.identity import Identity
from pushpull.augment.prime import prime
from pushpull.augment.rows import to_levels
from pushpull.augment.settings import (
    AUGMIX_AUTHORS,
    AUGMIX_TORCHVISION,
    PRIME,
    RANDAUGMENT,
    SCALES,
)
from pushpull.augment.subpolicies import AUTOAUGMENT
from pushpull.corruptions.arguments import check_images, checked_seed, identities
from pushpull.corruptions.grey import to_bytes, to_floats
from pushpull.errors import choice, integer
from pushpull.random.native import tables_on_the_host

# 8-bit images, what they are in between, and whose they are -> grey levels, uint8 or not yet rounded.
_ON_BYTES: dict[str, Callable[[Tensor, str, Identity], Tensor]] = {
    "autoaugment": lambda x, scale, who: policies.autoaugment(x, AUTOAUGMENT[scale], who),
    "randaugment": lambda x, scale, who: policies.randaugment(x, RANDAUGMENT[scale], who),
    "trivialaugment": lambda x, scale, who: policies.trivialaugment(x, who),
    "augmix": lambda x, scale, who: mixtures.augmix(x, AUGMIX_TORCHVISION[scale], who),
    "augmix9": lambda x, scale, who: mixtures.augmix9(x, AUGMIX_AUTHORS[scale], who),
}
AUGMENTATIONS = ("none", *_ON_BYTES, "prime")
"""Every augmentation's name."""

SMALLEST_PX = 8

# Images of so many pixels are augmented together: on a CPU what a step leaves shall still be in the cache at
# the next; an accelerator needs much work a step, and its memory bounds it.
_PIXELS_A_THREAD = 8 * 224 * 224
_PIXELS_ELSEWHERE = 256 * 224 * 224


def augment_batch(
    images: Tensor,
    name: str,
    *,
    index: Tensor | Sequence[int] | None = None,
    seed: int = 0,
    epoch: int = 0,
    view: int = 0,
    scale: str = "imagenet",
) -> Tensor:
    """Augment a batch of images, each by draws of its own.

    The same image, index, name, seed, epoch, view and scale give the same result, whatever else is in the
    batch; no global random state is read or changed unless `index` is None.

    Args:
        images: (N, 3, H, W) RGB, uint8 or floating point in [0, 1], on any device; H, W >= 8. Before
            normalisation, after cropping.
        name: one of `AUGMENTATIONS`.
        index: (N,) integers, which images these are; on the CPU, or it is fetched from the device. None: new
            identities from torch's default generator.
        seed, epoch: integers; another of either is another drawing.
        view: 0, or the number of a further drawing of the same images, as `jsd_loss` needs two.
        scale: which settings: "cifar" (for about 32 px) or "imagenet" (224).

    Returns:
        The same shape, dtype and device; uint8 is rounded. Floating-point images go through 8 bits in all
        but `none` and `prime`; their mixtures are not rounded.

    Raises:
        InputError: for an argument that is not as above.
    """
    choice("augmentation", name, AUGMENTATIONS)
    choice("scale", scale, SCALES)
    check_images(images, smallest_px=SMALLEST_PX, verb="augment")
    who = Identity(
        identities(index, len(images), torch.device("cpu")),
        checked_seed(seed),
        integer("epoch", epoch, "give the number of the pass"),
        integer("view", view, "give 0, 1, ..."),
    )
    if name == "none" or len(images) == 0:
        return images.clone()
    # What names no device here is on the host, whatever `torch.set_default_device` says; only then, because
    # the context slows every operation down.
    on_host = tables_on_the_host()
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False), on_host:
        parts = [_augmented(images[part], name, scale, who.taken(part)) for part in _parts(images)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _augmented(images: Tensor, name: str, scale: str, who: Identity) -> Tensor:
    eight_bit = images.dtype == torch.uint8
    if name == "prime":
        x = to_floats(images.contiguous())
        levels = prime(x, PRIME[scale], who, eight_bit=eight_bit)
        if not eight_bit:
            return levels.clamp_(0.0, 1.0).to(images.dtype)
        levels *= 255
    else:
        levels = _ON_BYTES[name](to_bytes(images.contiguous()), scale, who)
    if eight_bit:
        return levels if levels.dtype == torch.uint8 else to_levels(levels.round_().clamp_(0, 255))
    return levels.to(torch.float32).div_(255.0).clamp_(0.0, 1.0).to(images.dtype)


def _parts(images: Tensor) -> Iterator[slice]:
    """Yield slices that cover the batch."""
    on_cpu = images.device.type == "cpu"
    pixels = _PIXELS_A_THREAD * torch.get_num_threads() if on_cpu else _PIXELS_ELSEWHERE
    step = max(1, pixels // (images.shape[2] * images.shape[3]))
    for start in range(0, len(images), step):
        yield slice(start, start + step)
