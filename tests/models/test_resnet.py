"""Our ResNets: the stems, the input styles, the entry points."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import pushpull.models
from pushpull import InputError, PushPullConv2d
from pushpull.models import STEMS, CifarResNet, PushPullResNet, create_model

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return getattr(pushpull.models, name)(**options)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"]
)
def test_state_dict_is_torchvisions(name: str) -> None:
    with torch.device("meta"):
        reference = torchvision.models.get_model(name, weights=None).state_dict()
    ours = meta(name, stem="pp3").state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in reference.items()}


def test_a_resnet50_has_25_6_million_parameters() -> None:
    # torchvision's and timm's count of the plain network; the unit adds none, a trained alpha 64.
    assert count(meta("resnet50", stem="plain")) == count(meta("resnet50", stem="pp3")) == 25_557_032
    assert count(meta("resnet50", stem="pp3_alpha")) == 25_557_032 + 64


# By hand, ResNet-8: 464 (first layer) + 4,672 + 14,528 + 57,728 (stages, two with projections) + 650 (head).
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet8", 78_042), ("resnet14", 175_258), ("resnet20", 272_474), ("resnet32", 466_906)],
)
def test_small_networks(name: str, parameters: int) -> None:
    model = getattr(pushpull.models, name)()
    assert isinstance(model, CifarResNet)
    assert count(model) == parameters
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) + 2 == int(
        name[6:]
    )
    assert model(IMAGE).shape == (2, 10)
    assert model.layer3(model.layer2(model.layer1(model.conv1(IMAGE)))).shape == (2, 64, 8, 8)


@pytest.mark.parametrize("stem", ["plain", *(name for name in STEMS if re.fullmatch(r"pp\d(_alpha)?", name))])
@pytest.mark.parametrize("name", ["resnet14", "resnet18"])
def test_every_stem_on_small_images(name: str, stem: str) -> None:
    model = getattr(pushpull.models, name)(stem=stem, input_style="cifar", num_classes=7)
    model(IMAGE).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    conv = model.conv1
    assert (conv.kernel_size, conv.stride, conv.padding, conv.bias) == ((3, 3), (1, 1), (1, 1), None)
    if stem == "plain":
        assert type(conv) is nn.Conv2d
        assert model.no_weight_decay() == set()
        return
    assert isinstance(conv, PushPullConv2d)
    assert conv.avg_kernel_size == int(stem[2])
    assert conv.trainable_alpha == stem.endswith("_alpha")
    assert model.no_weight_decay() == ({"conv1.alpha"} if stem.endswith("_alpha") else set())
    torch.testing.assert_close(torch.as_tensor(conv.alpha).mean().item(), 1.0)


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_twins_share_every_initial_weight_and_the_random_state_after(name: str) -> None:
    def make(stem: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        torch.manual_seed(3)
        model = getattr(pushpull.models, name)(stem=stem, input_style="cifar")
        return model.state_dict(), torch.rand(1)

    (plain, next_plain), (twin, next_twin) = make("plain"), make("pp3_alpha")
    assert set(twin) - set(plain) == {"conv1.alpha"}
    assert all(torch.equal(twin[key], plain[key]) for key in plain)
    assert torch.equal(next_plain, next_twin)


def test_initial_weights_are_kaiming_fan_out_and_no_branch_starts_at_zero() -> None:
    torch.manual_seed(0)
    model = pushpull.models.resnet18(input_style="cifar")
    small = pushpull.models.resnet14()
    for weight in (model.conv1.weight, model.layer2[0].conv1.weight, small.layer3[0].conv1.weight):
        expected = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
        torch.testing.assert_close(weight.std().item(), expected, rtol=0.05, atol=0)
    assert torch.equal(model.layer1[0].bn2.weight, torch.ones(64))


def test_input_styles() -> None:
    imagenet, cifar = meta("resnet18"), meta("resnet18", input_style="cifar")
    assert (imagenet.conv1.kernel_size, imagenet.conv1.stride) == ((7, 7), (2, 2))
    assert isinstance(imagenet.maxpool, nn.MaxPool2d)
    assert (cifar.conv1.kernel_size, cifar.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(cifar.maxpool, nn.Identity)
    assert create_model("resnet8", num_classes=10).conv1.kernel_size == (3, 3), "its only style, unasked"
    assert create_model("resnet10", num_classes=10).conv1.kernel_size == (7, 7)
    with pytest.raises(InputError, match="input_style='tiny' is not one of imagenet, cifar"):
        meta("resnet18", input_style="tiny")
    with pytest.raises(InputError, match="resnet20 is a network for small images"):
        meta("resnet20", input_style="imagenet")


def test_timm_entry_points() -> None:
    model = timm.create_model("pushpull_resnet18", num_classes=5, in_chans=1, input_style="cifar", stem="pp5")
    assert isinstance(model, PushPullResNet)
    assert model.conv1.avg_kernel_size == 5
    assert model(IMAGE[:, :1]).shape == (2, 5)
    model.reset_classifier(3)
    assert model(IMAGE[:, :1]).shape == (2, 3)
    assert timm.create_model("pushpull_resnet50").conv1.avg_kernel_size == 3
    with pytest.raises(InputError, match="no published weights"):
        timm.create_model("pushpull_resnet50", pretrained=True)


@pytest.mark.parametrize(("style", "sides"), [("imagenet", [16, 8, 4, 2, 1]), ("cifar", [32, 32, 16, 8, 4])])
def test_features_only(style: str, sides: list[int]) -> None:
    model = timm.create_model("pushpull_resnet18", features_only=True, input_style=style)
    maps = model.eval()(IMAGE)
    assert [m.shape[-1] for m in maps] == sides
    assert [32 // side for side in sides] == model.feature_info.reduction()
    assert (maps[0] >= 0).all()


def test_torch_hub_from_a_clone_that_is_not_installed() -> None:
    program = f"""
import importlib.util, sys, torch
sys.path[:] = [p for p in sys.path if p not in ({str(REPOSITORY / "src")!r}, {str(REPOSITORY)!r}, "")]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
found = importlib.util.find_spec("pushpull")
assert found is None or found.origin is None
model = torch.hub.load({str(REPOSITORY)!r}, "resnet18", source="local", stem="pp5", num_classes=4)
print(model.conv1.avg_kernel_size, model.fc.out_features)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "4"]
