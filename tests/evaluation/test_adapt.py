"""Batch norms adapted to the test images."""

import copy

import pytest
import torch
from torch import nn

from pushpull import InputError, compare, evaluate
from pushpull.evaluation import EvaluationOptions
from pushpull.evaluation.passes import adapted_norms

SMALL = {"corruptions": ["brightness"], "severities": (5,), "scale": "cifar"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(4 * 30 * 30, 3),
    )
    nn.init.constant_(layers[1].running_mean, 0.3)
    return layers.eval()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (30, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.arange(30) % 3


@pytest.mark.parametrize("prior", [0.0, 16.0])
def test_statistics_are_mixed_by_equation_3_and_come_back(model, prior):
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(8, 3, 32, 32)
    response = model[0](images)
    with adapted_norms(model, model, images, prior):
        share = 8 / (8 + prior)
        mean = (1 - share) * before["1.running_mean"] + share * response.mean((0, 2, 3))
        variance = (1 - share) * before["1.running_var"] + share * response.var((0, 2, 3))
        torch.testing.assert_close(model[1].running_mean, mean)
        torch.testing.assert_close(model[1].running_var, variance)
        assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[1].momentum == 0.1


def test_results_are_marked_and_do_not_depend_on_the_batch(model, data, tmp_path):
    results = [
        evaluate(model, data, adapt="bn", adapt_images=12, batch_size=size, progress=False, **SMALL)
        for size in (7, 30)
    ]
    assert results[0].clean.top1_error == results[1].clean.top1_error
    assert (
        results[0].corrupted["brightness"][5].class_errors
        == results[1].corrupted["brightness"][5].class_errors
    )
    assert results[0].model["adapted"] == "batch norms, 12 images of each condition, prior 16"
    assert results[0].label.endswith(", batch norms adapted")


def test_adapted_ones_are_compared_with_others_only_if_asked(model, data, tmp_path):
    for name, options in (("plain", {}), ("adapted", {"adapt": "bn"})):
        evaluate(model, data, output=str(tmp_path / name), progress=False, **options, **SMALL)
    paths = str(tmp_path / "plain"), [str(tmp_path / "adapted")]
    with pytest.raises(InputError, match=r"batch norms adapted to the test images.*--adapted"):
        compare(*paths)
    assert len(compare(*paths, adapted=True).rows) == 2
    with pytest.raises(InputError, match=r"holds another evaluation \(model.adapted"):
        evaluate(model, data, output=str(tmp_path / "plain"), adapt="bn", progress=False, **SMALL)


def test_refusals(data):
    with pytest.raises(InputError, match="no batch norm with running statistics"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), data, adapt="bn", progress=False, **SMALL)
    for wrong, message in (
        ({"adapt": "ln"}, "adapt"),
        ({"adapt_images": 0}, "adapt_images=0: need at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            EvaluationOptions(**wrong)
    with pytest.raises(InputError, match="adapt_prior=-1"):
        EvaluationOptions(adapt_prior=-1)


def test_one_image_has_no_variance_behind_the_pooling(data):
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 3)).eval()
    with pytest.raises(InputError, match=r"adapt=bn: .*more than 1 value per channel.*--adapt-images"):
        evaluate(pooled, data, adapt="bn", adapt_images=1, progress=False, **SMALL)
    assert not any(module.training for module in pooled.modules())
    assert torch.equal(pooled[2].running_mean, torch.zeros(3))
