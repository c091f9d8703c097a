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


def test_mistakes() -> None:
    for decay in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="weight_decay="):
            parameter_groups(resnet8(), decay)
    with pytest.raises(InputError, match="requires a gradient"):
        parameter_groups(resnet8().requires_grad_(False), 0.1)
