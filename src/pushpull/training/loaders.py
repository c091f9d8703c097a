"""Batches for training: from memory, augmented in batches, or streamed through workers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from pushpull.data import DataSplits, ImageSplit, StreamDataset, collate_readable, eval_batches
from pushpull.data.images import AS_IS
from pushpull.data.unreadable import SkipLimit
from pushpull.errors import InputError
from pushpull.training.augment import ImageTransform, apply_policy, random_crop_flip
from pushpull.training.recipe import Recipe


class ImageData(L.LightningDataModule):
    """The training and validation batches of a recipe.

    Data whose images share one size and fit in memory is kept there decoded (on the device where there is
    one); anything else is streamed. The order and the augmentation of an epoch depend on the recipe's seed
    and the epoch's number only, so a resumed run sees what an uninterrupted one would have seen.
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
    def images_an_epoch(self) -> int:
        """How many images an epoch has."""
        return len(self.images.labels) if self.images is not None else len(self.train)

    def steps_per_epoch(self, world_size: int) -> int:
        """Return the number of optimiser steps of an epoch; a last, smaller batch is left out."""
        steps = self.images_an_epoch // self.recipe.batch_size
        if self.recipe.batch_size % world_size:
            raise InputError(
                f"batch_size={self.recipe.batch_size} must be a multiple of {world_size} devices"
            )
        if steps < 1:
            raise InputError(
                f"batch_size={self.recipe.batch_size} is more than the {self.images_an_epoch} training "
                "images; give a smaller one"
            )
        return steps

    def train_dataloader(self) -> Any:
        """Return the batches of the current epoch, this device's share of them."""
        trainer = self.trainer
        assert trainer is not None
        epoch, rank, world = trainer.current_epoch, trainer.global_rank, trainer.world_size
        steps = self.steps_per_epoch(world)
        batches = _epoch_batches(self.images_an_epoch, self.recipe, epoch, steps)
        share = [batch[rank::world] for batch in batches]
        if self.images is not None:
            device = trainer.strategy.root_device
            self.images = replace(
                self.images, images=self.images.images.to(device), labels=self.images.labels.to(device)
            )
            return _ResidentBatches(self, share, epoch, rank)
        transform = ImageTransform(self.recipe.augment, self.recipe.seed, epoch)
        loader = DataLoader(
            StreamDataset(self.train, transform),
            batch_sampler=_Batches(share),
            num_workers=self.recipe.workers,
            collate_fn=collate_readable,
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )
        return _Readable(loader, self.skips, len(share))

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


def _epoch_batches(images: int, recipe: Recipe, epoch: int, steps: int) -> list[Tensor]:
    """Positions of the images of every step of an epoch, shuffled."""
    generator = torch.Generator().manual_seed(_epoch_seed(recipe, epoch))
    order = torch.randperm(images, generator=generator)
    return list(order[: steps * recipe.batch_size].split(recipe.batch_size))


def _epoch_seed(recipe: Recipe, epoch: int) -> int:
    # The CPU generator reads 32 bits of its seed.
    return zlib.crc32(f"{recipe.seed},{epoch}".encode())


class _ResidentBatches:
    """Batches from decoded images, augmented together."""

    def __init__(self, data: ImageData, batches: list[Tensor], epoch: int, rank: int) -> None:
        assert data.images is not None
        self.images, self.recipe = data.images, data.recipe
        self.batches, self.epoch = batches, epoch
        self.generator = torch.Generator().manual_seed(_epoch_seed(self.recipe, epoch) + 1 + rank)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        config, seed = self.recipe.augment, self.recipe.seed
        for batch in self.batches:
            at = batch.to(self.images.labels.device)
            images = self.images.images[at]
            images = random_crop_flip(
                images, self.generator, crop=config.crop, padding=config.padding, flip=config.flip
            )
            images = apply_policy(images, self.images.index[batch], config, seed, self.epoch)
            yield images, self.images.labels[at]


class _Batches(Sampler[list[int]]):
    """Batches whose positions are already drawn."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches)


class _Readable:
    """Streamed batches without their unreadable images, which are counted."""

    def __init__(self, loader: DataLoader[Any], skips: SkipLimit, length: int) -> None:
        self.loader, self.skips, self.length = loader, skips, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.loader:
            self.skips.admit(batch.errors)
            if len(batch.labels) > 1:  # batch norm needs two
                yield batch.images, batch.labels


class _Validation:
    """Images and labels of the validation split."""

    def __init__(self, split: ImageSplit, splits: DataSplits, recipe: Recipe, device: torch.device) -> None:
        self.split, self.framing, self.device = split, splits.framing, device
        self.batch_size, self.workers = max(recipe.batch_size, 256), recipe.workers

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = eval_batches(self.split, self.framing, self.batch_size, self.workers, self.device)
        return ((batch.images, batch.labels) for batch in batches)
