"""What `harden` may be asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pushpull.errors import InputError

_UNITS_S = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class HardenOptions:
    """How a network is made more robust.

    Args:
        stem: the first layer that its first convolution becomes, behind a gate that opens: pp3, pp5,
            pp3_balanced, ...; plain: none, only the training, which was measured to gain more in short
            trainings of a pretrained network (docs/harden.md).
        alpha: inhibition strength of the new stem; null for its own.
        policy: augmentation: prime, augmix9, or another.
        jsd: weight of the consistency loss between an image and two augmented views, 12 in AugMix and
            PRIME; a step then costs three times as much. 0 for none.
        teacher_weight: share, in [0, 1), of the distillation from the network as it came; with jsd on the
            clean images, else on the augmented ones. 0 for none.
        epochs: passes over the training images.
        budget: time for everything, such as 30m or 2h: fits epochs, test images and, where need be, training
            images.
        algorithm: sgd or adamw.
        max_lr: learning rate at the peak; for sgd on a pretrained network some thousandths at most.
        weight_decay: of the weights.
        ema: decay of the average of the weights that is kept; null for none.
        freeze_norms: keep the running statistics of batch norms as they came: those of few classes or of
            small batches are worse than what a pretrained network brings.
        batch_size: images a step.
        clean_loss: how many points of percent the clean error may rise, on validation images.
        mean: red, green and blue mean that the network expects images in [0, 1] to be normalised with; null:
            what it brings, else 0 0 0.
        std: likewise the standard deviations; null: what it brings, else 1 1 1.
        size: side in pixels that the network gets its images in; null: what it brings, else as they are.
        scale: the corruptions' constants; null: those of the nearest image size.
        limit: evaluate at most so many test images.
        seed: of the training.
        precision: of the training: fp32 or bf16.
        workers: processes that decode images which do not fit in memory.
        device: cpu, cuda, cuda:1, ... or auto.

    Raises:
        InputError: a value out of range.

    >>> HardenOptions(budget="1.5h").budget_s
    5400.0
    """

    stem: str = "plain"
    alpha: float | None = None
    policy: str = "prime"
    jsd: float = 0.0
    teacher_weight: float = 0.0
    epochs: int = 5
    budget: str | None = None
    algorithm: Literal["sgd", "adamw"] = "adamw"
    max_lr: float = 1e-4
    weight_decay: float = 1e-5
    ema: float | None = 0.99
    freeze_norms: bool = True
    batch_size: int = 64
    clean_loss: float = 0.5
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: int | None = None
    scale: Literal["cifar", "tiny", "imagenet"] | None = None
    limit: int | None = None
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_weight < 1:
            raise InputError(f"teacher_weight={self.teacher_weight} must be 0 or more and below 1")
        if not 0 <= self.clean_loss <= 100:
            raise InputError(f"clean_loss={self.clean_loss} must be from 0 to 100 points of percent")
        if self.size is not None and self.size < 1:
            raise InputError(f"size={self.size} must be a positive number of pixels")
        if not 0 < self.max_lr < math.inf:
            raise InputError(f"max_lr={self.max_lr} must be positive")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise InputError(f"ema={self.ema} must be 0 or more and below 1, or null for none")
        if self.policy == "none" and self.jsd:
            raise InputError(
                "jsd needs augmented views, which policy=none does not make; give jsd=0, or a policy"
            )
        assert self.budget_s is None or self.budget_s > 0

    @property
    def budget_s(self) -> float | None:
        """The budget in seconds."""
        if self.budget is None:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(self.budget).strip())
        if match is None or float(match[1]) <= 0:
            raise InputError(f"budget={self.budget!r} is not a time; give one such as 90s, 30m or 2h")
        return float(match[1]) * _UNITS_S[match[2]]
