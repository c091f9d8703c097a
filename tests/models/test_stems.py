"""First layers of the user's own, by name; names of the study."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from torch import nn

import pushpull
from pushpull import InputError, PushPullConv2d, create_model, register_stem
from pushpull.models import STEMS
from pushpull.models.factory import ModelConfig
from pushpull.models.network import build_model
from pushpull.unit.layers import push_pull_twin

CIFAR = {"input_style": "cifar", "num_classes": 7}


class Smooth(nn.Module):
    """A first layer of a user: holds the convolution, and a unit behind it."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.pool = push_pull_twin(conv, alpha=0.3), nn.AvgPool2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.pool(x))


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with patch.dict(STEMS):
        yield


def test_a_stem_of_ones_own_stands_in_any_network() -> None:
    @register_stem("smooth")
    def smooth(conv: nn.Conv2d) -> nn.Module:
        return Smooth(conv)

    assert STEMS["smooth"] is smooth
    for name, options in (
        ("resnet8", CIFAR),
        ("resnet18", CIFAR),
        ("timm:resnet18", {"num_classes": 7}),
        ("torchvision:mobilenet_v3_small", {"num_classes": 7}),
    ):
        torch.manual_seed(1)
        plain = create_model(name, **options)
        torch.manual_seed(1)
        model = create_model(name, stem="smooth", alpha=0.7, **options)
        (layer,) = (module for module in model.modules() if isinstance(module, Smooth))
        assert layer.conv.strength == 0.7
        pairs = zip(model.parameters(), plain.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
        assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_a_recipe_names_it() -> None:
    register_stem("smooth")(Smooth)
    model = build_model(ModelConfig("resnet8", stem="smooth", input_style="cifar", alpha=0.5), 7)
    assert isinstance(model.conv1, Smooth)
    assert model.conv1.conv.strength == 0.5


def test_a_stem_may_change_the_whole_network() -> None:
    @register_stem("bare", network=True)
    def bare(model: nn.Module) -> None:
        model.bn1 = nn.Identity()

    assert isinstance(create_model("resnet8", stem="bare", **CIFAR).bn1, nn.Identity)
    with pytest.raises(
        InputError, match="stem='bare' is for networks of ours, such as resnet50, not for timm"
    ):
        create_model("timm:resnet18", stem="bare")

    # Defined again as a layer (a notebook's cell that is run twice), it is one.
    @register_stem("bare")
    def bare(conv: nn.Conv2d) -> nn.Module:  # noqa: F811
        return push_pull_twin(conv)

    assert isinstance(create_model("resnet8", stem="bare", **CIFAR).conv1, PushPullConv2d)


def test_mistakes_are_one_clear_line() -> None:
    with pytest.raises(InputError, match="stem name 'my stem' must be a word"):
        register_stem("my stem")(Smooth)
    with pytest.raises(InputError, match="stem 'pp3' exists already; choose another name"):
        register_stem("pp3")(Smooth)
    register_stem("forgetful")(lambda conv: None)
    for name, options in (("resnet8", CIFAR), ("timm:resnet18", {})):
        with pytest.raises(
            InputError, match="stem 'forgetful' returned a NoneType; it must return the first"
        ):
            create_model(name, stem="forgetful", **options)


@pytest.mark.parametrize("name", ["pp3_zero", "pp5_late", "pp0_zero_alpha", "pp3_norm"])
def test_a_stem_of_the_study_names_its_file(name: str) -> None:
    STEMS.pop(name, None)  # where another test has loaded the file
    with pytest.raises(InputError, match=rf"stem='{name}' is a study's: .*--plugins benchmarks/variants.py"):
        create_model("resnet8", stem=name, **CIFAR)
    with pytest.raises(InputError, match="stem='pp4_zero' is not one of plain"):
        STEMS.find("pp4_zero")


def test_the_public_name() -> None:
    assert pushpull.register_stem is register_stem
