"""Groups of parameters: who is decayed."""

import pytest
import torch
from torch import nn

from pushpull import InputError, PushPullConv2d, parameter_groups
from pushpull.models import resnet8


def ids(group: dict[str, list[nn.Parameter]]) -> list[int]:
    return [id(parameter) for parameter in group["params"]]


def test_alpha_is_not_decayed_and_everything_else_is() -> None:
    model = resnet8(stem="pp3_alpha")
    decayed, alphas = parameter_groups(model, 0.1)
    alpha = dict(model.named_parameters())["conv1.alpha"]
    assert (decayed["weight_decay"], alphas["weight_decay"]) == (0.1, 0.0)
    assert ids(alphas) == [id(alpha)]
    assert ids(decayed) == [id(p) for p in model.parameters() if p is not alpha]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weight = model.conv1.weight.detach().clone()
    torch.optim.SGD(parameter_groups(model, 0.1), lr=1.0).step()
    assert torch.equal(alpha, torch.ones(16))
    torch.testing.assert_close(model.conv1.weight, 0.9 * weight)


def test_one_group_without_a_trained_alpha() -> None:
    model = resnet8(stem="pp3")
    (group,) = parameter_groups(model, 1e-5)
    assert ids(group) == [id(p) for p in model.parameters()]


def test_shared_units_count_once_and_frozen_parameters_not_at_all() -> None:
    unit = PushPullConv2d(3, 3, 3, padding=1, trainable_alpha=True)
    model = nn.Sequential(unit, nn.Sequential(unit), nn.Conv2d(3, 2, 1))
    model[2].bias.requires_grad_(False)
    decayed, alphas = parameter_groups(model, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 3, 3, 3), (3,), (2, 3, 1, 1)]
    assert len(alphas["params"]) == 1


def test_the_stem_is_conv1_or_the_first_convolution() -> None:
    def stem(model: nn.Module) -> list[int]:
        groups = {
            group["weight_decay"]: group for group in parameter_groups(model, 0.1, stem_weight_decay=0.2)
        }
        return ids(groups[0.2])

    early = nn.Module()
    early.aux, early.conv1 = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 3)
    assert stem(early) == [id(early.conv1.weight), id(early.conv1.bias)]
    deep = nn.Module()
    deep.aux, deep.conv1 = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    assert stem(deep) == [id(p) for p in deep.conv1[0].parameters()]
    unnamed = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    assert stem(unnamed) == [id(p) for p in unnamed[1].parameters()]
    for bare in (nn.Conv2d(3, 8, 3), PushPullConv2d(3, 8, 3)):
        assert stem(bare) == [id(bare.weight), id(bare.bias)]
    tied = nn.Module()
    tied.again, tied.conv1 = early.aux, early.aux  # one module by two names; parameters go by the first
    assert stem(tied) == [id(p) for p in early.aux.parameters()]
    for name in ("strisciuglio", "pp3_balanced", "pp3_alpha"):
        model = resnet8(stem=name)
        assert stem(model) == [id(model.conv1.weight)]
    with pytest.raises(InputError, match="the model has no convolution"):
        parameter_groups(nn.Linear(2, 2), 0.1, stem_weight_decay=0.2)


def test_mistakes() -> None:
    for decay in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="weight_decay="):
            parameter_groups(resnet8(), decay)
    with pytest.raises(InputError, match="requires a gradient"):
        parameter_groups(resnet8().requires_grad_(False), 0.1)
