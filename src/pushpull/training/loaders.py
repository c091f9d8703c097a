"""Batches for training: what happens to an image (crop, flip, policy), in memory together or streamed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from pushpull.augment import augment_batch
from pushpull.data import DataSplits, ImageSplit, StreamDataset, collate_readable, eval_batches
from pushpull.data.batches import StreamBatch
from pushpull.data.decode import SkipLimit
from pushpull.data.images import AS_IS
from pushpull.errors import InputError
from pushpull.training.recipe import AugmentConfig, Recipe

_CIFAR_PX = 64  # the longer side of the largest images that take the settings for CIFAR


def _crc(*numbers: int) -> int:
    """Return a seed that depends on all numbers: the CPU generator reads 32 bits of it."""
    return zlib.crc32(",".join(map(str, numbers)).encode())


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
        images: (n, c, h, w), on any device.
        generator: on the CPU; every image has draws of its own.
        crop: side of the crop in pixels; None keeps the images whole.
        padding: zeros in pixels on each side before the crop; without a crop there are none.
        flip: mirror each image left to right with probability 1/2.

    Returns:
        (n, c, crop, crop), or (n, c, h, w) without a crop, on the images' device.

    Raises:
        InputError: a crop that is larger than the padded images.
    """
    n, _, *size = images.shape
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
    return _picked(padded, rows.to(images.device), columns.to(images.device))


def _picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return of each image its own rows (n, height) and columns (n, width)."""
    image, channel = (torch.arange(size, device=images.device) for size in images.shape[:2])
    return images[
        image[:, None, None, None],
        channel[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


class ImageTransform:
    """Resize, crop, flip and policy of one image, drawn from (seed, epoch, image index) and nothing else.

    So an image is augmented in the same way whatever the worker or the batch it is in. Picklable.
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
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's default generator
            torch.default_generator.manual_seed(_crc(self.seed, self.epoch, index))
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
    """Apply the policy on the images' device, with one draw per image: see `augment_batch`."""
    if config.policy == "none":
        return images
    scale = config.scale or ("cifar" if max(images.shape[2:]) <= _CIFAR_PX else "imagenet")
    return augment_batch(images, config.policy, index=index, seed=seed, epoch=epoch, view=view, scale=scale)


def views(images: Tensor, index: Tensor, recipe: Recipe, epoch: int) -> Tensor:
    """Return the batch as the recipe augments it.

    Args:
        images: (n, 3, H, W) uint8, cropped and flipped.
        index: (n,) their numbers in the source split: what is drawn depends on them, the seed and the epoch.
        recipe: names the policy and the loss.
        epoch: its number.

    Returns:
        (n, 3, H, W) or, where the loss asks for consistency, (3n, 3, H, W): the images as they are, then one
        augmented view of each, then another.
    """
    config, seed = recipe.augment, recipe.seed
    if not recipe.loss.jsd:
        return apply_policy(images, index, config, seed, epoch)
    drawn = [apply_policy(images, index, config, seed, epoch, view) for view in (0, 1)]
    return torch.cat([images, *drawn])


def mixing(config: AugmentConfig, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return what mixes a batch with itself, by torch's default generator, or None."""
    kinds = ((v2.MixUp, config.mixup), (v2.CutMix, config.cutmix))
    chosen = [kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds if alpha]
    return v2.RandomChoice(chosen) if chosen else None


def check_augment(config: AugmentConfig, splits: DataSplits) -> None:
    """Raise `InputError` where the training images would not agree in size, or be far from those evaluated.

    A network trained on crops of half the evaluated side or less is hardly ever meant: it is what becomes of
    a crop for small images on large ones.
    """
    if splits.image_size is None:
        return
    side = min(splits.image_size)
    remedy = f"augment.crop={side}" + (
        f" and augment.resize={splits.framing.resize}" if splits.framing.resize else ""
    )
    if config.crop is None and splits.framing != AS_IS:
        raise InputError(f"the images of {splits.label} differ in size, so they need a crop: set {remedy}")
    if config.crop is not None and config.resize is None and splits.framing == AS_IS:
        check_crop(config.crop, config.padding, splits.image_size)
    if config.crop is not None and 2 * config.crop <= side:
        raise InputError(
            f"augment.crop={config.crop} is half of the images that are evaluated, or less "
            f"({splits.image_size[0]}x{splits.image_size[1]}): set {remedy}"
        )


class ImageData(L.LightningDataModule):
    """The training and validation batches of a recipe.

    Data whose images share one size and fit in memory is kept there decoded (on the device where there is
    one); anything else is streamed. The order of an epoch depends on the recipe's seed and the epoch's number
    only, the augmentation on the step's too, and the batches know how many of them were given out: so a run
    that is resumed in the middle of an epoch sees what an uninterrupted one would have seen.
    """

    def __init__(self, recipe: Recipe, splits: DataSplits) -> None:
        super().__init__()
        self.recipe, self.splits, self.train = recipe, splits, splits.required("train")
        self.skips = SkipLimit("the training split", len(self.train), recipe.data.unreadable_limit)
        # A resize needs the original; one resized copy in memory would fix the crop's framing for all epochs.
        resident = recipe.augment.resize is None and splits.framing == AS_IS and self.train.fits(AS_IS)
        self.images = self.train.resident(AS_IS) if resident else None
        self._validation: ImageSplit | None = None

    @property
    def images_per_epoch(self) -> int:
        """How many training images there are."""
        return len(self.images.labels) if self.images is not None else len(self.train)

    def steps_per_epoch(self, world_size: int) -> int:
        """Return the number of optimiser steps of an epoch; a last, smaller batch is left out."""
        steps = self.images_per_epoch // self.recipe.batch_size
        if self.recipe.batch_size % world_size:
            raise InputError(
                f"batch_size={self.recipe.batch_size} must be a multiple of {world_size} devices"
            )
        if steps < 1:
            raise InputError(
                f"batch_size={self.recipe.batch_size} is more than the {self.images_per_epoch} training "
                "images; give a smaller one"
            )
        return steps

    def train_dataloader(self) -> Any:
        """Return the batches of the current epoch, this device's share of them."""
        trainer = self.trainer
        assert trainer is not None
        epoch, rank, world = trainer.current_epoch, trainer.global_rank, trainer.world_size
        steps = self.steps_per_epoch(world)
        size, generator = self.recipe.batch_size, torch.Generator().manual_seed(_crc(self.recipe.seed, epoch))
        if self.images is None:
            order = self.train.shuffled(generator)
        else:
            order = torch.randperm(self.images_per_epoch, generator=generator)
        share = [batch[rank::world] for batch in order[: steps * size].split(size)]
        if self.images is not None:
            device = trainer.strategy.root_device
            self.images = replace(
                self.images, images=self.images.images.to(device), labels=self.images.labels.to(device)
            )
            return _ResidentBatches(self, share, epoch, rank)
        return _StreamedBatches(self, share, epoch, trainer.strategy.root_device)

    def val_dataloader(self) -> Any:
        """Return the validation batches, this device's share of them."""
        trainer, split = self.trainer, self.splits.validation
        assert trainer is not None
        if split is None:
            return []
        if self._validation is None:  # once: the share keeps its decoded images
            share = torch.arange(trainer.global_rank, len(split), trainer.world_size)
            self._validation = split.subset(share) if trainer.world_size > 1 else split
        return _Validation(self._validation, self.splits, self.recipe, trainer.strategy.root_device)


class _EpochBatches:
    """The batches of one epoch, and how many were given out, which Lightning keeps in its checkpoints."""

    def __init__(self, data: ImageData, batches: list[Tensor], epoch: int) -> None:
        self.recipe, self.batches, self.epoch, self.given = data.recipe, batches, epoch, 0

    def __len__(self) -> int:
        return len(self.batches)

    def state_dict(self) -> dict[str, int]:
        """Return how far the epoch is."""
        return {"epoch": self.epoch, "given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin where the epoch was left; the state of an epoch that was at its end is not this one's."""
        self.given = state["given"] if state["epoch"] == self.epoch else 0


class _ResidentBatches(_EpochBatches):
    """Batches from decoded images, augmented together."""

    def __init__(self, data: ImageData, batches: list[Tensor], epoch: int, rank: int) -> None:
        super().__init__(data, batches, epoch)
        assert data.images is not None
        self.images, self.rank = data.images, rank

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        config = self.recipe.augment
        for step in range(self.given, len(self.batches)):
            seed = _crc(self.recipe.seed, self.epoch, step, self.rank)
            generator = torch.Generator().manual_seed(seed)
            batch = self.batches[step]
            at = batch.to(self.images.labels.device)
            images = random_crop_flip(
                self.images.images[at], generator, crop=config.crop, padding=config.padding, flip=config.flip
            )
            self.given = step + 1
            yield views(images, self.images.index[batch], self.recipe, self.epoch), self.images.labels[at]


class _StreamedBatches(_EpochBatches):
    """Batches that workers decode and crop, without their unreadable images, which are counted.

    Every step has one, whatever could be read.
    """

    def __init__(self, data: ImageData, batches: list[Tensor], epoch: int, device: torch.device) -> None:
        super().__init__(data, batches, epoch)
        self.train, self.skips, self.device = data.train, data.skips, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        config = self.recipe.augment
        # The policy is for the batch on its device; for the image, in a worker, where that is the CPU.
        together = bool(self.recipe.loss.jsd) or (config.policy != "none" and self.device.type != "cpu")
        config = replace(config, policy="none") if together else config
        dataset = StreamDataset(self.train, ImageTransform(config, self.recipe.seed, self.epoch))
        loader = DataLoader(
            dataset,
            batch_sampler=map(Tensor.tolist, self.batches[self.given :]),  # read once
            num_workers=self.recipe.workers,
            collate_fn=collate_readable,
            pin_memory=self.device.type == "cuda",
            # Without its own generator a loader draws its workers' seed from the global one.
            generator=torch.Generator(),
        )
        for loaded in loader:
            batch = self._large_enough(loaded, self.given, dataset)
            self.given += 1
            images = batch.images
            if together:
                moved = images.to(self.device, non_blocking=True)
                images = views(moved, batch.index, self.recipe, self.epoch)
            yield images, batch.labels

    def _large_enough(self, batch: StreamBatch, step: int, dataset: StreamDataset) -> StreamBatch:
        """Return `batch`, or where it lost all but one of its images the epoch's next that did not.

        So an epoch has as many steps as Lightning, the learning rate and the other devices count on.
        """
        for ahead in range(1, len(self.batches) + 1):
            self.skips.admit(batch.errors)
            if len(batch.labels) >= min(2, len(self.batches[step])):  # batch norm needs two
                return batch
            positions = self.batches[(step + ahead) % len(self.batches)].tolist()
            batch = collate_readable([dataset[position] for position in positions])
        raise InputError(
            f"no batch of {len(self.batches[step])} has two readable images; raise batch_size, or repair "
            "the images"
        )


class _Validation:
    """Images and labels of the validation split."""

    def __init__(self, split: ImageSplit, splits: DataSplits, recipe: Recipe, device: torch.device) -> None:
        self.split, self.device = split, device
        self.framing = splits.validation_framing or splits.framing
        self.batch_size, self.workers = max(recipe.batch_size, 256), recipe.workers

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = eval_batches(self.split, self.framing, self.batch_size, self.workers, self.device)
        return ((batch.images, batch.labels) for batch in batches)
