"""ResNets with a push-pull stem, on timm's ResNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from pushpull.errors import choice
from pushpull.models.stems import INPUT_STYLES, give_stem
from pushpull.unit.optim import alpha_names

VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "layers": (2, 2, 2, 2)},
    "resnet34": {"block": BasicBlock, "layers": (3, 4, 6, 3)},
    "resnet50": {"block": Bottleneck, "layers": (3, 4, 6, 3)},
    "resnet101": {"block": Bottleneck, "layers": (3, 4, 23, 3)},
    "resnet152": {"block": Bottleneck, "layers": (3, 8, 36, 3)},
    "resnext50_32x4d": {"block": Bottleneck, "layers": (3, 4, 6, 3), "cardinality": 32, "base_width": 4},
}


class PushPullResNet(ResNet):
    """timm's ResNet with a chosen first layer and input style; state-dict keys are torchvision's.

    x (N, in_chans, H, W), normalised -> logits (N, num_classes). Two networks made from one seed that differ
    in the stem only share every initial weight.

    Args:
        block, layers, num_classes, in_chans, output_stride, global_pool, cardinality, base_width, drop_rate,
            drop_path_rate: as timm's ResNet.
        stem: one of `STEMS`.
        input_style: "imagenet" (7x7, stride 2, then max-pool) or "cifar" (3x3, stride 1, no max-pool).

    Raises:
        InputError: an unknown stem or input style.

    Source: He et al., CVPR 2016; Bennabhaktula et al., ICPR 2024.
    Differs from the paper: its first convolution has a bias, in the baseline too; here none has, as the batch
    norm that follows absorbs it. As there, convolutions start kaiming-normal (fan-out) and no branch at zero.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, ...],
        num_classes: int = 1000,
        in_chans: int = 3,
        output_stride: int = 32,
        global_pool: str = "avg",
        cardinality: int = 1,
        base_width: int = 64,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        *,
        stem: str = "pp3",
        input_style: str = "imagenet",
    ) -> None:
        choice("input_style", input_style, INPUT_STYLES)
        super().__init__(
            block,  # type: ignore[arg-type]  # timm annotates the class as its instance
            layers,
            num_classes=num_classes,
            in_chans=in_chans,
            output_stride=output_stride,
            global_pool=global_pool,
            cardinality=cardinality,
            base_width=base_width,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            zero_init_last=False,
        )
        if input_style == "cifar":
            self._take_small_images(in_chans)
        give_stem(self, stem)

    def _take_small_images(self, in_chans: int) -> None:
        conv1 = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv1.weight, mode="fan_out", nonlinearity="relu")
        self.add_module("conv1", conv1)
        self.add_module("maxpool", nn.Identity())
        infos: list[dict[str, Any]] = self.feature_info
        stem, *stages = infos
        self.feature_info = [
            {**stem, "reduction": 1},
            *({**stage, "reduction": stage["reduction"] // 4} for stage in stages),
        ]

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return the parameters that timm's optimizers must not decay: a trained inhibition strength."""
        return alpha_names(self)


def _factory(name: str) -> Callable[..., nn.Module]:
    def build(
        *,
        stem: str = "pp3",
        input_style: str = "imagenet",
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> nn.Module:
        return PushPullResNet(
            **VARIANTS[name],
            stem=stem,
            input_style=input_style,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Return an untrained {name} with the stem and input style named; see `PushPullResNet`."
    return build


RESNETS: dict[str, Callable[..., nn.Module]] = {name: _factory(name) for name in VARIANTS}
resnet18 = RESNETS["resnet18"]
resnet34 = RESNETS["resnet34"]
resnet50 = RESNETS["resnet50"]
resnet101 = RESNETS["resnet101"]
resnet152 = RESNETS["resnet152"]
resnext50_32x4d = RESNETS["resnext50_32x4d"]
