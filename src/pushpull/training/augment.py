"""What happens to a training image: crop, flip and policy, from given seeds; decoded images in batches."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from pushpull.augment import augment_batch
from pushpull.errors import InputError
from pushpull.training.recipe import AugmentConfig

_CIFAR_PX = 64


def random_crop_flip(
    images: UInt8[Tensor, "n c h w"],
    generator: torch.Generator,
    *,
    crop: int | None,
    padding: int,
    flip: bool,
) -> UInt8[Tensor, "n c crop_h crop_w"]:
    """Pad with zeros, crop at a uniform place and mirror half of the images: one gather for the batch.

    Args:
        images: any type, on any device.
        generator: on the CPU; the draws are an image's own.
        crop, padding: pixels; without a crop nothing is padded.
        flip: whether to mirror.
    """
    n, channels, *size = images.shape
    if crop is None and not flip:
        return images
    if crop is None:
        padded, kept = images, size
    else:
        check_crop(crop, padding, size)
        padded, kept = F.pad(images, (padding,) * 4), [crop, crop]
    rows, columns = (
        torch.randint(whole - part + 1, (n, 1), generator=generator) + torch.arange(part)
        for whole, part in zip(padded.shape[-2:], kept, strict=True)
    )
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    image, channel = (torch.arange(size, device=images.device) for size in (n, channels))
    where = (
        image[:, None, None, None],
        channel[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    )
    return padded[where]


class ImageTransform:
    """Resize, crop, flip and policy of one image, drawn from (seed, epoch, image index) and nothing else.

    So an image is augmented alike whatever the worker or the batch it is in. Picklable.
    """

    def __init__(self, config: AugmentConfig, seed: int, epoch: int) -> None:
        self.config, self.seed, self.epoch = config, seed, epoch
        steps: list[torch.nn.Module] = [v2.PILToTensor()]
        if config.resize is not None:
            steps.append(v2.Resize(config.resize, antialias=True))
        if config.crop is not None:
            steps.append(v2.RandomCrop(config.crop, padding=config.padding or None))
        if config.flip:
            steps.append(v2.RandomHorizontalFlip())
        self._steps = v2.Compose(steps)

    def __call__(self, image: Image.Image, index: int) -> UInt8[Tensor, "3 h w"]:
        """Return the augmented image number `index`."""
        if self.config.crop is not None and self.config.resize is None:
            check_crop(self.config.crop, self.config.padding, [image.height, image.width])
        with _seeded(self.seed, self.epoch, index):
            framed = self._steps(image)
        number = torch.tensor([index])
        augmented: Tensor = apply_policy(framed[None], number, self.config, self.seed, self.epoch)
        return augmented[0]


def check_crop(crop: int, padding: int, size: Sequence[int]) -> None:
    """Raise `InputError` where images of (height, width) `size` have no such crop."""
    if crop > min(size) + 2 * padding:
        raise InputError(
            f"augment.crop={crop} is larger than images of {size[0]}x{size[1]} with padding {padding}; "
            "give a smaller crop or a resize"
        )


def apply_policy(
    images: UInt8[Tensor, "n 3 h w"],
    index: Tensor,
    config: AugmentConfig,
    seed: int,
    epoch: int,
    view: int = 0,
) -> UInt8[Tensor, "n 3 h w"]:
    """Apply the policy on the images' device, with one draw an image: see `augment_batch`.

    Where the recipe names no scale, images of up to 64 px take the settings for CIFAR.
    """
    if config.policy == "none":
        return images
    scale = config.scale or ("cifar" if max(images.shape[2:]) <= _CIFAR_PX else "imagenet")
    return augment_batch(images, config.policy, index=index, seed=seed, epoch=epoch, view=view, scale=scale)


@contextmanager
def _seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Torchvision draws from torch's default generator: seed it inside, and give it back as it was."""
    with torch.random.fork_rng(devices=[]):
        # The CPU generator reads 32 bits of its seed: a checksum makes them depend on all three numbers.
        torch.default_generator.manual_seed(zlib.crc32(f"{seed},{epoch},{index}".encode()))
        yield
