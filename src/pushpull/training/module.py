"""What is trained: the network with its loss, metrics and optimiser; distillation from another run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torchmetrics import MeanMetric

from pushpull.augment import jsd_loss
from pushpull.data import Preprocessing
from pushpull.errors import InputError, one_line
from pushpull.evaluation.passes import tracking_norms
from pushpull.models.network import load_run
from pushpull.training.recipe import LossConfig, OptimConfig
from pushpull.unit.optim import parameter_groups


def distillation(
    logits: Float[Tensor, "n classes"],
    teacher: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    *,
    temperature: float = 2.0,
    teacher_weight: float = 0.7,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy mixed with the distance to a teacher's softened probabilities.

    w T^2 KL(softmax(teacher / T) || softmax(logits / T)) + (1 - w) CE(logits, labels), mean over the batch

    Args:
        logits: (n, classes), floating.
        teacher: (n, classes), the teacher's logits for the same images; no gradient reaches them.
        labels: (n,), integers in 0..classes-1.
        temperature: T > 0.
        teacher_weight: w in [0, 1].
        label_smoothing: of the cross-entropy, in [0, 1).

    Returns:
        The loss, a tensor without dimensions.

    Source: Hinton, Vinyals, Dean, arXiv 1503.02531; T^2 keeps the gradients' size whatever T is.

    >>> logits, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    >>> round(distillation(logits, teacher, torch.tensor([1])).item(), 3)
    2.959
    """
    soft = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher.detach() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return teacher_weight * temperature**2 * soft + (1 - teacher_weight) * hard


def load_teacher(folder: str | Path, classes: Sequence[str]) -> Callable[[Tensor], Tensor]:
    """Return the network of a run folder as a teacher: a function from uint8 images to logits.

    It is no `nn.Module`: the student's checkpoints and optimiser must not hold it.

    Args:
        folder: of the run.
        classes: those of the student, in the order of its logits.

    Returns:
        A function of (n, 3, H, W) uint8 images, which computes where they are and without gradients.

    Raises:
        InputError: no such run, or one of other classes.
    """
    run = load_run(folder)
    if list(run.classes or ()) != list(classes):
        raise InputError(
            f"loss.teacher={str(folder)!r} knows {len(run.classes or ())} classes, and not those of the data "
            f"({len(classes)}) in their order; give a run on the same classes"
        )
    return as_teacher(run.model, run.preprocessing or Preprocessing())


def as_teacher(model: nn.Module, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
    """Return a network as a function from uint8 images to logits, without gradients."""
    model.eval()

    @torch.no_grad()
    def teach(images: Tensor) -> Tensor:
        return model.to(images.device)(preprocessing(images))

    return teach


class Classifier(L.LightningModule):
    """A network trained on uint8 batches, which it normalises itself.

    A batch has one image per label or, for the consistency loss, three: the image and two augmented views.

    Args:
        model: (N, 3, H, W) normalised float images to logits.
        preprocessing: mean, std and size of the network.
        optim: optimiser and learning rate.
        steps: optimiser steps of the whole run.
        channels_last: give the network images as (N, H, W, C) in memory.
        loss: what is added to the cross-entropy.
        teacher: (N, 3, H, W) uint8 images to the logits to distil from, where the loss has it.
        compile: the network by torch.compile.
        mix: mixes a batch, (n, 3, H, W) as the network takes it and labels, with itself: MixUp, CutMix.
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
        teacher: Callable[[Tensor], Tensor] | None = None,
        compile: bool = False,
        mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.mix = mix
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.layout)
        if compile:
            self.model.compile()  # in place: the names of the weights stay
        self.preprocessing, self.optim, self.steps = preprocessing, optim, steps
        self.loss, self.teacher = loss or LossConfig(), teacher
        # By default a mean leaves out NaN, and training would not notice it.
        self.train_loss, self.validation_error = MeanMetric(nan_strategy="disable"), MeanMetric()
        self.train_loss.persistent(True)  # a checkpoint in the middle of an epoch holds the mean so far

    def on_train_epoch_start(self) -> None:
        """Hold batch norms that are to keep their statistics; Lightning keeps the mode of each layer."""
        if self.optim.freeze_norms:
            for norm in tracking_norms(self.model):
                norm.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of (N, 3, H, W) uint8 images."""
        return self.model(self.preprocessing(images).contiguous(memory_format=self.layout))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch."""
        images, labels = batch
        if self.mix is None:
            outputs = self(images)
        else:
            mixed, labels = self.mix(self.preprocessing(images), labels)
            outputs = self.model(mixed.contiguous(memory_format=self.layout))
        logits, *aside = (outputs,) if isinstance(outputs, Tensor) else outputs
        loss = self._loss(logits, images, labels)
        # GoogLeNet and Inception train side heads too, at this weight (Szegedy et al., CVPR 2015, section 5).
        loss = loss + 0.3 * sum(self._cross_entropy(other, labels) for other in aside if other is not None)
        self.train_loss.update(loss.detach())
        return loss

    def _loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.optim.label_smoothing
        clean, *views = logits.split(len(labels))
        loss = self._cross_entropy(clean, labels)
        if self.loss.jsd:
            one, other = views
            apart = jsd_loss(clean, (one, other), labels, weight=self.loss.jsd, label_smoothing=smoothing)
            if self.teacher is None:
                return apart
            loss = apart - loss  # the cross-entropy is in the distillation
        elif self.teacher is None:
            return loss
        else:
            loss = torch.zeros_like(loss)
        return loss + distillation(
            clean,
            self.teacher(images[: len(labels)]),
            labels,
            temperature=self.loss.temperature,
            teacher_weight=self.loss.teacher_weight,
            label_smoothing=smoothing,
        )

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits[: len(labels)], labels, label_smoothing=self.optim.label_smoothing)

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch."""
        self.log("train_loss", self.train_loss.compute())
        self.train_loss.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Count the errors of one batch."""
        images, labels = batch
        self.validation_error.update((self(images).argmax(1) != labels).float())

    def on_validation_epoch_end(self) -> None:
        """Log the error over all validation images of all devices."""
        self.log("validation_error", self.validation_error.compute())
        self.validation_error.reset()

    def configure_optimizers(self) -> Any:
        """SGD or AdamW, and one cycle: cosine from the initial rate up to the peak and down to the last."""
        config, warmup = self.optim, self.optim.warmup
        if warmup * self.steps == 1:  # a rise of no step, by which the schedule would divide
            warmup *= 1 - 1e-9
        groups = parameter_groups(
            self.model,
            config.weight_decay,
            stem_weight_decay=config.stem_weight_decay,
            stem_lr=config.stem_lr,
        )
        optimizer: torch.optim.Optimizer
        if config.algorithm == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=config.initial_lr, betas=(config.momentum, 0.999))
        else:
            optimizer = torch.optim.SGD(
                groups, lr=config.initial_lr, momentum=config.momentum, nesterov=config.nesterov
            )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[config.max_lr * group.get("lr_scale", 1.0) for group in groups],
            total_steps=self.steps,
            pct_start=warmup,
            div_factor=config.max_lr / config.initial_lr,
            final_div_factor=config.initial_lr / config.final_lr,
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def check_network(
    model: nn.Module, name: str, preprocessing: Preprocessing, sizes: set[tuple[int, int]], classes: int
) -> None:
    """Send one blank image of each (height, width) through; raise `InputError` if no logits come out."""
    layer = next(model.parameters())
    model.eval()
    try:
        for height, width in sorted(sizes):
            image = torch.zeros(1, 3, height, width, dtype=torch.uint8, device=layer.device)
            with torch.no_grad():
                logits = model(preprocessing(image))
            if not isinstance(logits, Tensor) or tuple(logits.shape) != (1, classes):
                shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                raise InputError(f"{name} gives {shape} for an image, not {classes} logits; use a classifier")
    except InputError:
        raise
    except Exception as error:  # whatever a network's own checks and kernels raise
        raise InputError(
            f"{name} cannot take images of {height}x{width} ({one_line(error)}); "
            "set preprocessing.size to what it takes, such as [224, 224]"
        ) from error
    finally:
        model.train()
