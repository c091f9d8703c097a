"""The LightningModule: loss, metrics, optimiser."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from pushpull.augment import jsd_loss
from pushpull.data import Preprocessing
from pushpull.training.losses import distillation
from pushpull.training.recipe import LossConfig, OptimConfig
from pushpull.training.teacher import Teacher
from pushpull.unit.optim import parameter_groups


class Classifier(L.LightningModule):
    """A network trained on uint8 batches, which it normalises itself.

    A batch has an image a label or, for the consistency loss, three: the image and two augmented views.

    Args:
        model: (N, 3, H, W) normalised float images to logits.
        preprocessing: mean, std and size of the network.
        optim: optimiser and learning rate.
        steps: optimiser steps of the whole run.
        channels_last: give the network images as (N, H, W, C) in memory.
        loss: what is added to the cross-entropy.
        teacher: the network to distil from, where the loss has one.
        compile: the network by torch.compile.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        optim: OptimConfig,
        steps: int,
        channels_last: bool,
        *,
        loss: LossConfig | None = None,
        teacher: Teacher | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.layout)
        if compile:
            self.model.compile()  # in place: the names of the weights stay
        self.preprocessing, self.optim, self.steps = preprocessing, optim, steps
        self.loss, self.teacher = loss or LossConfig(), teacher
        # By default a mean leaves out what is no number, and training would go on unaware.
        self.train_loss, self.validation_error = MeanMetric(nan_strategy="disable"), MeanMetric()
        self.train_loss.persistent(True)  # a checkpoint in the middle of an epoch holds the mean so far

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of (N, 3, H, W) uint8 images."""
        return self.model(self.preprocessing(images).contiguous(memory_format=self.layout))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch."""
        images, labels = batch
        outputs = self(images)
        logits, *aside = (outputs,) if isinstance(outputs, Tensor) else outputs
        loss = self._loss(logits, images, labels)
        # GoogLeNet and Inception train side heads too, at this weight (Szegedy et al., CVPR 2015, section 5).
        loss = loss + 0.3 * sum(self._cross_entropy(other, labels) for other in aside if other is not None)
        self.train_loss.update(loss.detach())
        return loss

    def _loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.optim.label_smoothing
        if self.loss.jsd:
            clean, one, other = logits.chunk(3)
            return jsd_loss(clean, (one, other), labels, weight=self.loss.jsd, label_smoothing=smoothing)
        if self.teacher is None:
            return self._cross_entropy(logits, labels)
        return distillation(
            logits,
            self.teacher(images),
            labels,
            temperature=self.loss.temperature,
            teacher_weight=self.loss.teacher_weight,
            label_smoothing=smoothing,
        )

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits[: len(labels)], labels, label_smoothing=self.optim.label_smoothing)

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch."""
        self.log("train_loss", self.train_loss.compute(), prog_bar=True)
        self.train_loss.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Count the errors of one batch."""
        images, labels = batch
        self.validation_error.update((self(images).argmax(1) != labels).float())

    def on_validation_epoch_end(self) -> None:
        """Log the error over all validation images of all devices."""
        self.log("validation_error", self.validation_error.compute(), prog_bar=True)
        self.validation_error.reset()

    def configure_optimizers(self) -> Any:
        """SGD, and one cycle: cosine from the initial rate up to the peak and down to the last."""
        config, warmup = self.optim, self.optim.warmup
        if warmup * self.steps == 1:  # a rise of no step, by which the schedule would divide
            warmup *= 1 - 1e-9
        optimizer = torch.optim.SGD(
            parameter_groups(self.model, config.weight_decay, stem_weight_decay=config.stem_weight_decay),
            lr=config.initial_lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=config.max_lr,
            total_steps=self.steps,
            pct_start=warmup,
            div_factor=config.max_lr / config.initial_lr,
            final_div_factor=config.initial_lr / config.final_lr,
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
