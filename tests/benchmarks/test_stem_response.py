"""The disturbance behind a first layer, on a network that was not trained."""

from types import SimpleNamespace

import pytest
import torch

from pushpull.data import Preprocessing
from pushpull.models import create_model
from support import random_tensor


@pytest.mark.parametrize("stem", ["plain", "pp3", "pp3_norm"])
def test_it_is_the_power_of_the_change_over_the_variance(program, stem):
    benchmark = program("stem_response")
    model = create_model("resnet8", stem=stem, input_style="cifar", num_classes=10)
    preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    clean, other = (
        random_tensor(4, 3, 16, 16, seed=seed).abs().clamp(max=1).mul(255).to(torch.uint8) for seed in (1, 2)
    )
    found = benchmark.disturbances(
        SimpleNamespace(model=model, preprocessing=preprocessing),
        {"clean": clean, "same": clean, "other": other},
    )
    with torch.no_grad():
        before, after = (
            model.relu(model.bn1(model.conv1(preprocessing(images)))).double() for images in (clean, other)
        )
    assert found["same"] == 0
    variance = before.var((0, 2, 3), unbiased=False).sum() * 4 * 16 * 16
    assert found["other"] == pytest.approx(float((after - before).square().sum() / variance))
