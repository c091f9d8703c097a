"""Recipes: every setting of a training run, as plain data that a YAML file holds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pushpull.augment import AUGMENTATIONS
from pushpull.data import DataConfig, Preprocessing
from pushpull.errors import InputError, choice
from pushpull.files.yaml import from_dict, packaged_file, read_yaml
from pushpull.models.factory import ModelConfig

_MOST_SIDE_PX = 4096  # of a training image: 50 MB
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to a training image, in this order: resize, random crop, flip, policy.

    Args:
        resize: shorter side in pixels; null leaves the image as it is.
        crop: side of the random crop in pixels; null for none.
        padding: zeros in pixels added on each side before the crop.
        flip: mirror half of the images, left to right.
        policy: none, autoaugment, randaugment, trivialaugment, augmix (torchvision's, of all operations),
            augmix9 (its authors', of nine), prime, or a registered one; drawn for each image.
        mixup: parameter of the beta distribution that two images of a batch are mixed by (Zhang et al., ICLR
            2018; torchvision's MixUp); 0 for none. Not together with loss.jsd or a teacher.
        cutmix: likewise, for a rectangle of the other image (Yun et al., ICCV 2019); with both, one is drawn.
        scale: whose settings the policy has, cifar or imagenet; null takes cifar's for images of up to 64 px.

    Raises:
        InputError: a value out of range, or a crop that is larger than the resized image.
    """

    resize: int | None = None
    crop: int | None = 32
    padding: int = 4
    flip: bool = True
    policy: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    scale: Literal["cifar", "imagenet"] | None = None

    def __post_init__(self) -> None:
        AUGMENTATIONS.find(self.policy, "augment.policy")
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"augment.{name}={getattr(self, name)} must be 0 or more, such as 0.2")
        for name in ("resize", "crop"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST_SIDE_PX:
                raise InputError(f"augment.{name}={value} must be 1..{_MOST_SIDE_PX} pixels, or null")
        most = max(self.crop or _MOST_SIDE_PX, 4)  # 4 is the default, whatever the crop
        if not 0 <= self.padding <= most:
            raise InputError(
                f"augment.padding={self.padding} must be 0..{most} pixels: beyond augment.crop, a crop would "
                "hold nothing of the image"
            )
        if self.crop and self.resize and self.crop > self.resize + 2 * self.padding:
            raise InputError(
                f"augment.crop={self.crop} is larger than augment.resize={self.resize} with "
                f"padding {self.padding}; give a smaller crop or a larger resize"
            )


@dataclass(frozen=True)
class OptimConfig:
    """How the weights descend, with a one-cycle learning rate: up, and down in half a cosine.

    Args:
        algorithm: sgd, or adamw (PyTorch's; weight decay is then decoupled from the gradient).
        initial_lr: learning rate at the first step.
        max_lr: learning rate at the peak.
        final_lr: learning rate at the last step.
        warmup: share of the steps until the peak, in (0, 1).
        momentum: of the descent, constant; of adamw beta 1.
        nesterov: look ahead.
        weight_decay: of every parameter but a trained inhibition strength.
        label_smoothing: of the cross-entropy, in [0, 1).
        clip_norm: largest norm of the gradient; null for no limit.
        stem_weight_decay: of the first layer's parameters; null for that of the others.
        stem_lr: factor of the first layer's learning rates, above 0.
        ema: decay of an exponential average of the weights over the steps, in [0, 1), such as 0.999; it is
            what is validated and kept. null for none.
        freeze_norms: leave the running statistics of batch norms as they are and normalise by them, as in
            evaluation: for a pretrained network and data of few classes or small batches.
        gate_share: share of the steps, in [0, 1], after which a stem with `model.start: preserve` is a unit.

    Raises:
        InputError: a value out of range, or learning rates that are not in rising order.
    """

    algorithm: Literal["sgd", "adamw"] = "sgd"
    initial_lr: float = 0.005
    max_lr: float = 0.2
    final_lr: float = 2e-6
    warmup: float = 0.3
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-5
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    stem_weight_decay: float | None = None
    stem_lr: float = 1.0
    ema: float | None = None
    freeze_norms: bool = False
    gate_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.stem_lr < math.inf:
            raise InputError(f"optim.stem_lr={self.stem_lr} must be above 0; 1 is the rate of the others")
        choice("optim.algorithm", self.algorithm, ("sgd", "adamw"))
        if self.ema is not None and not 0 <= self.ema < 1:
            raise InputError(f"optim.ema={self.ema} must be below 1 and not negative, such as 0.999, or null")
        if not 0 < self.warmup < 1:
            raise InputError(f"optim.warmup={self.warmup} must be above 0 and below 1")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"optim.{name}={getattr(self, name)} must be below 1 and not negative")
        if self.nesterov and self.momentum == 0:
            raise InputError("optim.nesterov needs a momentum, but optim.momentum=0; give one above 0")
        if not 0 < self.final_lr <= self.initial_lr <= self.max_lr < math.inf:
            raise InputError(
                f"optim.final_lr={self.final_lr}, initial_lr={self.initial_lr}, max_lr={self.max_lr} "
                "must be positive and in rising order"
            )
        if self.stem_weight_decay is not None and not 0 <= self.stem_weight_decay < math.inf:
            raise InputError(f"optim.stem_weight_decay={self.stem_weight_decay} must be 0 or more, or null")
        if not 0 <= self.gate_share <= 1:
            raise InputError(f"optim.gate_share={self.gate_share} must be from 0 to 1")
        clips = self.clip_norm is None or 0 < self.clip_norm < math.inf
        if not (0 <= self.weight_decay < math.inf and clips):
            raise InputError(
                f"optim.weight_decay={self.weight_decay} must be 0 or more, "
                f"clip_norm={self.clip_norm} positive or null"
            )


@dataclass(frozen=True)
class LossConfig:
    """What is added to the cross-entropy.

    Args:
        jsd: weight of the Jensen-Shannon consistency between an image and two augmented views of it; 0 for
            none, 12 in AugMix and PRIME. A step then costs as much as three.
        teacher: folder of the run to distil from, or hf:OWNER/NAME of the hub; null for none. Together
            with jsd it is asked about the clean images.
        temperature: divides the logits of both networks in the distillation; above 0.
        teacher_weight: share of the distillation in the loss, in (0, 1]; the rest is the cross-entropy.

    Raises:
        InputError: a value out of range.

    Source: Hendrycks et al., AugMix, arXiv 1912.02781 (jsd); Hinton, Vinyals, Dean, arXiv 1503.02531.
    """

    jsd: float = 0.0
    teacher: str | None = None
    temperature: float = 2.0
    teacher_weight: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.jsd < math.inf:
            raise InputError(f"loss.jsd={self.jsd} must be 0 or more, such as 12")
        if not 0 < self.temperature < math.inf or not 0 < self.teacher_weight <= 1:
            raise InputError(
                f"loss.temperature={self.temperature} must be above 0, "
                f"teacher_weight={self.teacher_weight} above 0 and at most 1"
            )


@dataclass(frozen=True)
class Recipe:
    """All that makes a training run.

    Args:
        model: which network.
        data: which images.
        preprocessing: mean, std and input size of the network; null takes the pretrained network's own, else
            ImageNet's mean and std.
        size: side in pixels that the network gets its images in; null: as preprocessing says.
        augment: what happens to a training image.
        optim: the optimiser and its learning rate.
        loss: what is added to the cross-entropy.
        epochs: passes over the training images.
        batch_size: images per step, over all devices.
        seed: of the weights, the order and the augmentation.
        precision: fp32, or bf16 (mixed).
        channels_last: keep images as (N, H, W, C) in memory, which is faster on most devices.
        compile: the network by torch.compile: a minute at the start, then faster steps on a GPU.
        workers: processes that decode and augment where the data does not fit in memory.
        accelerator: auto, cpu, cuda or mps.
        devices: how many of them on this machine, or their numbers, such as [1] for the second.
        num_nodes: how many machines.
        logger: one of Lightning's loggers beside the run's own, as class_path (WandbLogger, CSVLogger, ...)
            and init_args; null for none.

    Raises:
        InputError: a value out of range, or settings that exclude each other.

    >>> recipe = Recipe(model=ModelConfig("resnet8", "pp3"), epochs=3)
    >>> recipe.optim.max_lr, recipe.to_dict()["model"]["stem"]
    (0.2, 'pp3')
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: Preprocessing | None = None
    size: int | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 30
    batch_size: int = 64
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    workers: int = 2
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int | list[int] = 1
    num_nodes: int = 1
    logger: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)
        choice("accelerator", self.accelerator, ("auto", "cpu", "cuda", "mps"))
        if self.size is not None:
            Preprocessing(size=self.size)
        if isinstance(self.devices, list) and (
            not self.devices or min(self.devices) < 0 or len(set(self.devices)) < len(self.devices)
        ):
            raise InputError(f"devices={self.devices} must be numbers from 0, each once, such as [0, 1]")
        for name, low in (("epochs", 1), ("batch_size", 2), ("workers", 0), ("num_nodes", 1)):
            if getattr(self, name) < low:
                raise InputError(f"{name}={getattr(self, name)} must be at least {low}")
        if self.device_count < 1:
            raise InputError(f"devices={self.devices} must be at least 1")
        if self.loss.jsd and self.augment.policy == "none":
            raise InputError(
                "loss.jsd compares an image with augmented views, but augment.policy is none; "
                "give one, such as prime or augmix9"
            )
        if (self.augment.mixup or self.augment.cutmix) and (self.loss.jsd or self.loss.teacher):
            raise InputError(
                "augment.mixup and cutmix mix the labels, which loss.jsd and loss.teacher do not take; give "
                "one of the two"
            )
        if self.logger is not None:
            if unknown := set(self.logger) - {"class_path", "init_args"}:
                raise InputError(f"logger.{min(unknown)} is neither class_path nor init_args; leave it out")
            given = self.logger.get("class_path"), self.logger.get("init_args") or {}
            if not isinstance(given[0], str) or not isinstance(given[1], dict):
                raise InputError(
                    f"logger={self.logger} must hold a class_path, such as CSVLogger, and may hold init_args"
                )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed} must be in 0..{2**32 - 1}")

    @property
    def device_count(self) -> int:
        """How many devices of this machine it runs on."""
        return self.devices if isinstance(self.devices, int) else len(self.devices)

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts and lists of plain values, as the YAML holds them."""
        preprocessing = self.preprocessing.to_dict() if self.preprocessing else None
        return dataclasses.asdict(self) | {"preprocessing": preprocessing}


def read_recipe(path: Path | str) -> Recipe:
    """Return the recipe that a YAML file holds.

    Args:
        path: of the file; `packaged_recipe` finds those that come with the package.

    Raises:
        MissingFileError: no such file.
        InputError: an unknown key, a value of another type or out of range; names it.

    >>> read_recipe(packaged_recipe("digits")).model.name
    'resnet8'
    """
    return from_dict(Recipe, read_yaml("recipe", path), str(path))


def packaged_recipe(name: str) -> Path:
    """Return the path of a recipe: `name` itself where it is a file, else one that comes with the package.

    Raises:
        InputError: neither; lists those that come with it.
    """
    return packaged_file("recipe", name)
