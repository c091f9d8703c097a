"""The small ResNets for 32x32 images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from pushpull.errors import InputError, choice
from pushpull.models.stems import give_stem
from pushpull.unit.optim import alpha_names

_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """The residual network for small images: depth = 6 * blocks + 2 layers, widths 16, 32, 64.

    x (N, in_chans, H, W), normalised, any H and W -> logits (N, num_classes). The first layer is
    3x3 with stride 1; state-dict keys are named as torchvision's ResNets'.

    Args:
        blocks: residual blocks in each of the three stages.
        stem: one of `STEMS`.
        num_classes: width of the output.
        in_chans: channels of the image.

    Source: He et al., CVPR 2016, section 4.2.
    Differs from the paper: where a stage changes width, the shortcut is a 1x1 convolution with batch norm
    (its option B), not zero padding (option A).
    """

    def __init__(self, blocks: int, *, stem: str = "pp3", num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv2d(in_chans, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(_WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        give_stem(self, stem)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Return the logits."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that must not be decayed: a trained inhibition strength."""
        return alpha_names(self)


def _stage(width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1:
        shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    first = BasicBlock(width_in, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))


def _factory(name: str, blocks: int) -> Callable[..., nn.Module]:
    def build(
        *, stem: str = "pp3", input_style: str = "cifar", num_classes: int = 10, in_chans: int = 3
    ) -> nn.Module:
        if choice("input_style", input_style, ("imagenet", "cifar")) != "cifar":
            raise InputError(
                f"{name} is a network for small images: give input_style='cifar', or use resnet18"
            )
        return CifarResNet(blocks, stem=stem, num_classes=num_classes, in_chans=in_chans)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Return an untrained {name} for small images with the stem named; see `CifarResNet`."
    return build


resnet8 = _factory("resnet8", 1)
resnet14 = _factory("resnet14", 2)
resnet20 = _factory("resnet20", 3)
resnet32 = _factory("resnet32", 5)

CIFAR_RESNETS: dict[str, Callable[..., nn.Module]] = {
    factory.__name__: factory for factory in (resnet8, resnet14, resnet20, resnet32)
}
