"""The networks of timm and torchvision with a push-pull first layer: the right one, and it trains."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from pushpull import InputError, PushPullConv2d, replace_first_conv

# Network -> its first convolution, and the side of the images (px) that keeps the test fast.
TORCHVISION = {
    "resnet18": ("conv1", 64),
    "resnet50": ("conv1", 64),
    "resnext50_32x4d": ("conv1", 64),
    "wide_resnet50_2": ("conv1", 64),
    "densenet121": ("features.conv0", 64),
    "alexnet": ("features.0", 64),
    "vgg11": ("features.0", 32),
    "efficientnet_b0": ("features.0.0", 64),
    "mobilenet_v3_small": ("features.0.0", 64),
}
TIMM = {
    "resnet50d": ("conv1.0", 64),
    "tf_efficientnet_b0": ("conv_stem", 65),
    "resnetv2_50x1_bit": ("stem.conv", 64),
    "hrnet_w18_small": ("conv1", 64),
}
PATCHES = {"torchvision:convnext_tiny": "features.0.0", "timm:vit_small_patch16_224": "patch_embed.proj"}


def build(name: str) -> nn.Module:
    library, _, rest = name.partition(":")
    torch.manual_seed(0)
    if library == "torchvision":
        return torchvision.models.get_model(rest, weights=None, num_classes=10)
    return timm.create_model(rest, num_classes=10)


def train_step(model: nn.Module, side_px: int) -> torch.Tensor:
    """Return the gradient of the first layer's weights after a step on two images."""
    image = torch.linspace(-2, 2, 2 * 3 * side_px * side_px).sin().reshape(2, 3, side_px, side_px)
    logits = model.train()(image)
    assert logits.shape == (2, 10)
    nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    unit = next(module for module in model.modules() if isinstance(module, PushPullConv2d))
    return unit.weight.grad


@pytest.mark.parametrize(
    ("name", "first", "side_px"),
    [(f"torchvision:{name}", *rest) for name, rest in TORCHVISION.items()]
    + [(f"timm:{name}", *rest) for name, rest in TIMM.items()],
)
def test_the_first_layer_is_replaced_and_trains(name: str, first: str, side_px: int) -> None:
    model = build(name)
    keys, weight = list(model.state_dict()), model.get_submodule(first).weight
    done = replace_first_conv(model)
    assert done.name == first
    assert model.get_submodule(first) is done.new
    assert done.new.weight is weight
    assert list(model.state_dict()) == keys
    assert train_step(model, side_px).abs().sum() > 0


@pytest.mark.parametrize(("name", "first"), PATCHES.items())
def test_patch_embeddings_only_when_named(name: str, first: str) -> None:
    model = build(name)
    with pytest.raises(InputError, match=f"meets '{first}', a patch embedding.*name='{first}'"):
        replace_first_conv(model)
    assert not any(isinstance(module, PushPullConv2d) for module in model.modules())
    replace_first_conv(model, name=first)
    assert train_step(model, 224 if "vit" in name else 64).abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "side_px"),
    [(f"torchvision:{name}", side) for name, (_, side) in TORCHVISION.items()]
    + [(f"timm:{name}", side) for name, (_, side) in TIMM.items()]
    + [("timm:repvgg_a0", 64)],
)
def test_with_its_gate_at_0_a_converted_network_gives_the_same_logits(name: str, side_px: int) -> None:
    model = build(name).eval()
    image = torch.linspace(-2, 2, 2 * 3 * side_px * side_px).sin().reshape(2, 3, side_px, side_px)
    with torch.no_grad():
        before = model(image)
        replace_first_conv(model, start="preserve", avg_kernel_size=3)
        torch.testing.assert_close(model(image), before, rtol=1e-5, atol=1e-5 * before.abs().max().item())
