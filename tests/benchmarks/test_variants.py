"""The study's variants of the unit against slow, literal versions."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oracles.push_pull import push_pull_oracle
from pushpull.files.registry import load_plugin
from pushpull.models import STEMS, create_model, resnet8, resnet18
from pushpull.models.comparators import taking_over
from support import assert_near, random_tensor

VARIANTS: Any = load_plugin(Path(__file__).parents[2] / "benchmarks/variants.py")
VariantPushPullConv2d = VARIANTS.VariantPushPullConv2d
OURS = ("_alpha", "_mean", "_balanced")
NAMES = [name for name in STEMS if name.startswith("pp") and "_" in name and name[3:] not in OURS]


def conv() -> nn.Conv2d:
    layer = nn.Conv2d(2, 4, 3, padding=1, dtype=torch.float64)
    layer.weight.data, layer.bias.data = random_tensor(4, 2, 3, 3, seed=1), random_tensor(4, seed=2)
    return layer


@pytest.mark.parametrize("size", [0, 3, 5])
@pytest.mark.parametrize("pooling", ["first", "late"])
@pytest.mark.parametrize("norm", ["behind", "before"])
@pytest.mark.parametrize("offset", ["filter", "channel", "zero"])
def test_every_variant_is_its_formula(offset: str, norm: str, pooling: str, size: int) -> None:
    plain, x = conv(), random_tensor(2, 2, 9, 8, seed=3)
    layer = taking_over(
        VariantPushPullConv2d,
        plain,
        offset=offset,
        pooling=pooling,
        norm=norm,
        avg_kernel_size=size,
        alpha=0.6,
    )

    def normalised(response: Tensor, scale: float, shift: float) -> Tensor:
        if norm == "behind":
            return response
        mean = response.mean((0, 2, 3), keepdim=True)
        variance = response.var((0, 2, 3), keepdim=True, unbiased=False)
        return (response - mean) / (variance + 1e-5).sqrt() * scale + shift

    def pooled(response: Tensor) -> Tensor:
        return nn.AvgPool2d(size, 1, size // 2, count_include_pad=False)(response) if size else response

    if norm == "before":
        for inside, scale, shift in ((layer.push_norm, 1.3, 0.2), (layer.pull_norm, 0.7, -0.1)):
            nn.init.constant_(inside.weight, scale)
            nn.init.constant_(inside.bias, shift)
    kernel = -plain.weight
    for filter_ in range(4):
        whole = plain.weight[filter_]
        for part in range(2):
            seen = {"filter": whole, "channel": whole[part], "zero": torch.zeros(1)}[offset]
            kernel[filter_, part] = kernel[filter_, part] + seen.max() + seen.min()
    push = normalised(F.conv2d(x, plain.weight, None, 1, 1), 1.3, 0.2).relu()
    pull = F.conv2d(x, kernel, None, 1, 1)
    if pooling == "first":
        pull = normalised(pooled(pull), 0.7, -0.1).relu()
    else:
        pull = pooled(normalised(pull, 0.7, -0.1).relu())
    assert_near(layer(x), push - 0.6 * pull + plain.bias[:, None, None])


def test_the_batch_norm_stands_in_one_place() -> None:
    small, large = resnet8(stem="pp3_norm"), resnet18(stem="pp3_norm", input_style="cifar")
    for model in (small, large):
        assert type(model.bn1) is nn.Identity
        assert type(model.conv1.push_norm) is type(model.conv1.pull_norm) is nn.BatchNorm2d
    layer = taking_over(VariantPushPullConv2d, conv().to("meta"), norm="before", avg_kernel_size=3)
    assert all(tensor.is_meta for tensor in layer.state_dict().values())
    assert layer.push_norm.weight.dtype == torch.float64


def test_without_offset_pooling_and_strength_it_is_the_plain_convolution() -> None:
    plain, x = conv(), random_tensor(2, 2, 9, 8, seed=3)
    assert_near(taking_over(VariantPushPullConv2d, plain, offset="zero", avg_kernel_size=0)(x), plain(x))


def test_of_one_channel_the_offsets_over_filter_and_channel_are_one() -> None:
    plain = nn.Conv2d(1, 4, 3, padding=1, dtype=torch.float64)
    x = random_tensor(2, 1, 9, 8)
    layer = taking_over(VariantPushPullConv2d, plain, offset="channel", avg_kernel_size=3)
    assert_near(layer(x), push_pull_oracle(x, plain.weight, plain.bias, padding=1))


def test_the_plugin_registers_every_stem_that_the_package_had() -> None:
    endings = ["channel", "zero", "zero_alpha", "norm"]
    late = [f"pp{side}_{ending}" for side in (3, 5) for ending in ("late", "zero_late")]
    assert sorted(NAMES) == sorted([f"pp{side}_{ending}" for side in (0, 3, 5) for ending in endings] + late)


@pytest.mark.parametrize("stem", NAMES)
@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_every_variant_trains_and_shares_the_plain_weights(name: str, stem: str) -> None:
    def make(stem: str) -> nn.Module:
        torch.manual_seed(3)
        return create_model(name, stem=stem, input_style="cifar", num_classes=7)

    plain, model = make("plain"), make(stem)
    values = plain.state_dict()
    assert all(
        torch.equal(value, values[key])
        for key, value in model.state_dict().items()
        if "alpha" not in key and not key.startswith("conv1.pu")  # the batch norms of its own
    )
    x = random_tensor(2, 3, 32, 32, dtype=torch.float32)
    same = torch.allclose(model.eval()(x), plain.eval()(x), atol=1e-4)
    assert same == (stem in ("pp0_zero", "pp0_zero_alpha"))
    model(x).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_balanced_stem_is_pp3_zero_with_strength_2() -> None:
    models = []
    for options in ({"stem": "pp3_balanced"}, {"stem": "pp3_zero", "alpha": 2.0}):
        torch.manual_seed(3)
        models.append(create_model("resnet8", input_style="cifar", num_classes=7, **options).eval())
    x = random_tensor(2, 3, 32, 32, dtype=torch.float32)
    assert_near(models[0](x), models[1](x))


@pytest.mark.parametrize("options", [{}, {"trainable_alpha": True}])
def test_a_strength_is_checked_when_it_is_set(options: dict[str, bool]) -> None:
    layer = VariantPushPullConv2d(2, 4, 3, avg_kernel_size=3, **options)
    with pytest.raises(ValueError, match="must be a finite number of at least 0"):
        layer.set_strength(-3.0)
    layer.set_strength(2)
    assert torch.as_tensor(layer.strength).max() == 2.0
