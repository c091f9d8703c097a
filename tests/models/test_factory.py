"""create_model: every way to name a network, and every way to get the name wrong."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from torch import nn

from pushpull import InputError, PushPullConv2d, create_model
from pushpull.data.preprocessing import Preprocessing
from pushpull.models import MODELS, libraries, model_preprocessing, resnet18
from pushpull.models.libraries import assumed_preprocessing


def test_own_networks() -> None:
    with torch.device("meta"):
        plain = create_model("resnet18")
        pp5 = create_model("resnet18", stem="pp5", input_style="cifar", num_classes=10)
    assert type(plain.conv1) is nn.Conv2d
    assert plain.fc.out_features == 1000
    assert (pp5.conv1.avg_kernel_size, pp5.conv1.stride, pp5.fc.out_features) == (5, (1, 1), 10)
    assert MODELS[:2] == ("resnet10", "resnet18")


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:squeezenet1_1", "timm:tf_mixnet_s"])
def test_library_networks_take_a_stem(name: str) -> None:
    model = create_model(name, stem="pp5_alpha", num_classes=3)
    units = [module for module in model.modules() if isinstance(module, PushPullConv2d)]
    assert [(unit.avg_kernel_size, unit.trainable_alpha) for unit in units] == [(5, True)]
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    plain = create_model(name, num_classes=3)
    assert not any(isinstance(module, PushPullConv2d) for module in plain.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet51"}, "model='resnet51' is not one of resnet10.*did you mean 'resnet50'"),
        ({"name": "densenet121"}, "say torchvision:densenet121"),
        ({"name": "vit_tiny_patch16_224"}, "say timm:vit_tiny_patch16_224"),
        ({"name": "timm:resnet5o"}, "timm has no .*'resnet5o'.*did you mean timm:resnet50"),
        ({"name": "timm:resnet50.a1_in2k"}, "timm:resnet50.a1_in1k"),
        ({"name": "timm:pushpull_resnet50"}, "ask for 'resnet50' and a stem"),
        ({"name": "torchvision:resnet51"}, "torchvision has no .*did you mean torchvision:resnet50"),
        ({"name": "torchvision:fcn_resnet50"}, "no classification model 'fcn_resnet50'"),
        ({"name": "keras:resnet50"}, "'keras' is not one of timm, torchvision"),
        ({"name": "resnet18", "stem": "pp4"}, "stem='pp4' is not one of plain, pp0, pp3"),
        ({"name": "resnet18", "input_style": "mnist"}, "input_style='mnist' is not one of imagenet, cifar"),
        ({"name": "timm:resnet18", "input_style": "cifar"}, "input_style must be 'imagenet'"),
        ({"name": "resnet14", "input_style": "imagenet"}, "give input_style='cifar'"),
        ({"name": "resnet18", "num_classes": 0}, "num_classes=0 must be"),
        ({"name": "resnet18", "pretrained": True}, "no published weights.*timm:resnet18"),
        (
            {"name": "resnet14", "input_style": "cifar", "pretrained": True},
            "resnet14 has no published weights",
        ),
        (
            {"name": "timm:vit_tiny_patch16_224", "stem": "pp3"},
            "name='patch_embed.proj' to replace_first_conv",
        ),
    ],
)
def test_mistakes_are_one_clear_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        create_model(**options)
    assert "\n" not in str(caught.value)


def test_networks_of_small_images_point_to_no_missing_weights() -> None:
    with pytest.raises(InputError) as caught:
        create_model("resnet14", input_style="cifar", pretrained=True)
    assert "timm:" not in str(caught.value)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_a_failed_download_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(libraries, "hub_answers", lambda: True)
    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr(torchvision.models, "get_model", unreachable)
    wanted = f"{name}: its published weights could not be loaded .*no route to host.*--weights FILE.*load_"
    with pytest.raises(InputError, match=wanted) as caught:
        create_model(name, pretrained=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"{name} could not be built .*no route to host"):
        create_model(name)


def test_without_a_network_the_hub_is_asked_once_and_what_is_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    class Session:
        def head(self, address: str, timeout: float) -> None:
            asked.append(address)
            raise OSError("no route to host")

    cache = tmp_path / "hub"
    for name in ("timm--resnet10t.c3_in1k", "someone--else"):
        place = cache / f"models--{name}" / "snapshots" / ("0" * 40)
        place.mkdir(parents=True)
        (place / "model.safetensors").touch()
        (cache / f"models--{name}" / "refs").mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").touch()
    monkeypatch.setattr(libraries, "scan_cache_dir", functools.partial(libraries.scan_cache_dir, cache))
    monkeypatch.setattr(libraries.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(libraries, "get_session", Session)
    before = dict(os.environ)
    with pytest.raises(InputError, match=r"no answer from .*--weights FILE") as caught:
        create_model("timm:resnet18", pretrained=True)
    assert "timm:resnet10t.c3_in1k, torchvision:resnet18 are on this machine" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(asked) == 1
    assert (dict(os.environ), constants.HF_HUB_OFFLINE) == (before, False)


def test_pretrained_torchvision_networks_keep_their_preprocessing_and_get_a_new_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = torchvision.models.get_model
    requested = []

    def offline(name: str, weights: object, progress: bool) -> nn.Module:
        requested.append(weights)
        return build(name, weights=None)

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    model = create_model("torchvision:mobilenet_v3_small", stem="pp3", num_classes=4, pretrained=True)
    assert requested == [torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1]
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    expected = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224))
    assert model_preprocessing(model, published=True) == expected


def test_replace_heads() -> None:
    model = nn.Sequential(nn.Linear(4, 10), nn.Conv2d(3, 10, 1, bias=False), nn.Conv2d(3, 10, 3))
    libraries.replace_heads(model, 10, 2)
    assert (model[0].out_features, model[1].out_channels, model[2].out_channels) == (2, 2, 10)
    assert model[1].bias is None
    with pytest.raises(InputError, match="no layer with 11 outputs"):
        libraries.replace_heads(model, 11, 2)


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224))


def test_a_configuration_counts_only_for_weights_it_can_belong_to() -> None:
    with torch.device("meta"):
        whole, ten = timm.create_model("resnet18"), timm.create_model("resnet18", num_classes=10)
    assert assumed_preprocessing(whole) == (IMAGENET, "of its configuration (assumed)")
    assert model_preprocessing(ten) is None
    assert model_preprocessing(ten, published=True) == IMAGENET
    with pytest.warns(UserWarning, match=r"ResNet has 10 outputs.*images as they are, in \[0, 1\]"):
        found, why = assumed_preprocessing(ten)
    assert (found, why) == (Preprocessing(), "none known: images as they are, in [0, 1] (assumed)")


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
        timm.utils.ModelEmaV3,
        torch.compile,
        lambda m: nn.DataParallel(torch.compile(m)),
    ],
)
def test_wrappers_do_not_hide_the_preprocessing(wrap: Callable[[nn.Module], nn.Module]) -> None:
    assert model_preprocessing(wrap(timm.create_model("resnet10t"))) == Preprocessing(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (176, 176)
    )


def test_a_wrapper_that_carries_the_configuration_may_normalise_itself() -> None:
    class Normalised(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net
            self.pretrained_cfg = net.pretrained_cfg

    with pytest.warns(UserWarning, match="Normalised wraps a network and carries its configuration"):
        assert assumed_preprocessing(Normalised(timm.create_model("resnet18")))[0] == IMAGENET


def test_preprocessing_is_that_of_published_weights() -> None:
    with torch.device("meta"):
        inception = timm.create_model("tf_efficientnet_b1.ap_in1k")
        assert model_preprocessing(resnet18()) is None
        assert model_preprocessing(timm.create_model("pushpull_resnet18")) is None
        assert model_preprocessing(create_model("torchvision:resnet18")) is None
    expected = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (240, 240))
    assert model_preprocessing(inception) == expected
    config = {"mean": (0.5, 0.5, 0.5), "std": [0.25, 0.25, 0.25], "input_size": (3, 8, 9), "url": "somewhere"}
    named = nn.Module()
    named.pretrained_cfg = config
    assert model_preprocessing(named) == Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (8, 9))
