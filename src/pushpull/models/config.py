"""What a recipe says of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pushpull.errors import InputError, choice

InputStyle = Literal["imagenet", "cifar"]


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Args:
        name: resnet18, 34, 50, 101, 152, resnext50_32x4d, a small CIFAR one (resnet8, 14, 20, 32),
            `timm:NAME` or `torchvision:NAME`.
        stem: the first layer: plain; pp0, pp3, pp5 (push-pull; the number is the side of the pooling);
            pp0_alpha, pp3_alpha, pp5_alpha (the inhibition strength is trained); pp0_mean, pp3_mean, pp5_mean
            (the pull kernel is 2 mean(W) - W) or pp3_balanced (ours, see docs/findings.md); for comparison
            strisciuglio, blurpool and blur_after_conv; and those that `--plugins` register, see
            `pushpull.models.STEMS`.
        input_style: imagenet (7x7, stride 2, max-pool) or cifar (3x3, stride 1, no max-pool); null takes
            cifar for networks of ours on images of up to 64 pixels.
        pretrained: start from the library's published weights.
        weights: start from this file of weights (safetensors or .pth); a missing file is an error.
        alpha: inhibition strength of a push-pull stem, 0 or more; where a trained one starts; null
            for the stem's own, 1 for most.
        start: unit (the stem at once), or preserve: a push-pull stem starts as the plain convolution and
            becomes the unit over the first `optim.gate_share` of the steps.

    Raises:
        InputError: an alpha that is negative or not finite, or no name.
    """

    name: str = "resnet14"
    stem: str = "plain"
    input_style: InputStyle | None = None
    pretrained: bool = False
    weights: str | None = None
    alpha: float | None = None
    start: Literal["unit", "preserve"] = "unit"

    def __post_init__(self) -> None:
        for name in ("name", "stem"):
            if not isinstance(getattr(self, name), str):
                raise InputError(
                    f"model.{name}={getattr(self, name)!r} must be text, such as resnet14, plain"
                )
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise InputError(f"model.alpha={self.alpha} must be a finite number of at least 0, or null")
        choice("model.start", self.start, ("unit", "preserve"))
