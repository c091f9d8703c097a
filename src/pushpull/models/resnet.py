"""ResNets with a chosen first layer: those for large images, registered with timm, and those for 32 px."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock as SmallBlock

from pushpull.errors import InputError, choice
from pushpull.models.stems import give_stem
from pushpull.unit.optim import alpha_names

INPUT_STYLES = ("imagenet", "cifar")

VARIANTS: dict[str, dict[str, Any]] = {
    "resnet10": {"block": BasicBlock, "layers": (1, 1, 1, 1)},
    "resnet18": {"block": BasicBlock, "layers": (2, 2, 2, 2)},
    "resnet34": {"block": BasicBlock, "layers": (3, 4, 6, 3)},
    "resnet50": {"block": Bottleneck, "layers": (3, 4, 6, 3)},
    "resnet101": {"block": Bottleneck, "layers": (3, 4, 23, 3)},
    "resnet152": {"block": Bottleneck, "layers": (3, 8, 36, 3)},
    "resnext50_32x4d": {"block": Bottleneck, "layers": (3, 4, 6, 3), "cardinality": 32, "base_width": 4},
}
_WIDTHS = (16, 32, 64)  # of the small networks' stages


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
        kind: Any = block  # timm annotates the class as its instance
        shape = (num_classes, in_chans, output_stride, global_pool, cardinality, base_width)
        rates: dict[str, Any] = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        super().__init__(kind, layers, *shape, **rates, zero_init_last=False)
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


class CifarResNet(nn.Module):
    """The residual network for small images: depth = 6 * blocks + 2 layers, widths 16, 32, 64.

    x (N, in_chans, H, W), normalised, any H and W -> logits (N, num_classes). The first layer is
    3x3 with stride 1; state-dict keys are named as torchvision's ResNets'.

    Args:
        blocks: residual blocks in each of the three stages.
        stem: one of `STEMS`.
        num_classes: width of the output.
        in_chans: channels of the image.

    Raises:
        InputError: an unknown stem.

    Source: He et al., CVPR 2016, section 4.2.
    Differs from the paper: where a stage changes width, the shortcut is a 1x1 convolution with batch norm
    (its option B), not zero padding (option A).

    >>> CifarResNet(blocks=1, num_classes=4)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 4])
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
    first = SmallBlock(width_in, width, stride, shortcut)
    return nn.Sequential(first, *(SmallBlock(width, width) for _ in range(blocks - 1)))


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
        shape = {**VARIANTS[name], "num_classes": num_classes, "in_chans": in_chans}
        rates: dict[str, Any] = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        return PushPullResNet(**shape, **rates, stem=stem, input_style=input_style)

    style = 'input_style: "imagenet" (7x7, stride 2, max-pool) or "cifar" (3x3, stride 1, no max-pool).'
    rates = "drop_rate, drop_path_rate: as timm's ResNet."
    return _named(build, name, f"Return an untrained {name}; see `PushPullResNet`.", style, rates)


def _small_factory(name: str, blocks: int) -> Callable[..., nn.Module]:
    def build(
        *, stem: str = "pp3", input_style: str = "cifar", num_classes: int = 10, in_chans: int = 3
    ) -> nn.Module:
        if input_style != "cifar":
            choice("input_style", input_style, INPUT_STYLES)
            raise InputError(
                f"{name} is a network for small images: give input_style='cifar', or use resnet18"
            )
        return CifarResNet(blocks, stem=stem, num_classes=num_classes, in_chans=in_chans)

    style = 'input_style: "cifar" (3x3, stride 1, no max-pool), the only one that it has.'
    return _named(build, name, f"Return an untrained {name} for small images; see `CifarResNet`.", style)


def _named(build: Callable[..., nn.Module], name: str, summary: str, *more: str) -> Callable[..., nn.Module]:
    """Give a factory the name and the documentation of its network; `more` arguments, a line each."""
    build.__name__ = build.__qualname__ = name
    newline = "\n        "
    build.__doc__ = f"""{summary}

    Args:
        stem: one of `pushpull.models.STEMS`.
        num_classes: width of the output.
        in_chans: channels of the image.
        {newline.join(more)}

    Returns:
        The network, with initial weights.

    Raises:
        InputError: an unknown stem or input style.
    """
    return build


RESNETS: dict[str, Callable[..., nn.Module]] = {name: _factory(name) for name in VARIANTS}
resnet10 = RESNETS["resnet10"]
resnet18 = RESNETS["resnet18"]
resnet34 = RESNETS["resnet34"]
resnet50 = RESNETS["resnet50"]
resnet101 = RESNETS["resnet101"]
resnet152 = RESNETS["resnet152"]
resnext50_32x4d = RESNETS["resnext50_32x4d"]

CIFAR_RESNETS: dict[str, Callable[..., nn.Module]] = {
    name: _small_factory(name, blocks)
    for name, blocks in (("resnet8", 1), ("resnet14", 2), ("resnet20", 3), ("resnet32", 5))
}
resnet8 = CIFAR_RESNETS["resnet8"]
resnet14 = CIFAR_RESNETS["resnet14"]
resnet20 = CIFAR_RESNETS["resnet20"]
resnet32 = CIFAR_RESNETS["resnet32"]


PREFIX = "pushpull_"

# timm looks for this name beside an entry point. It names no source of weights: none are published yet.
default_cfgs = generate_default_cfgs(
    {
        PREFIX + name: {"first_conv": "conv1", "classifier": "fc", "interpolation": "bilinear"}
        for name in VARIANTS
    }
)


def _register(name: str) -> None:
    def entry(
        pretrained: bool = False, *, stem: str = "pp3", input_style: str = "imagenet", **kwargs: Any
    ) -> nn.Module:
        # kwargs are timm's: features_only, num_classes, in_chans, pretrained_cfg and the like.
        if pretrained and not (kwargs.get("pretrained_cfg") or kwargs.get("pretrained_cfg_overlay")):
            raise InputError(no_published_weights(name))
        options = {**VARIANTS[name], "stem": stem, "input_style": input_style, **kwargs}
        return build_model_with_cfg(PushPullResNet, PREFIX + name, pretrained, **options)

    entry.__name__ = entry.__qualname__ = PREFIX + name
    entry.__doc__ = f"{name} with a push-pull stem (`stem`, `input_style`); see `PushPullResNet`."
    register_model(entry)


def no_published_weights(name: str) -> str:
    """Return the message for someone who asks for weights that do not exist."""
    instead = f", or 'timm:{name}' and its weights" if name in VARIANTS else ""
    return f"{name} has no published weights; use pretrained=False and load_weights(model, path){instead}"


for _name in VARIANTS:
    _register(_name)
