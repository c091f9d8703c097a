"""The disturbance behind a first layer, on a network that was not trained."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pushpull.corruptions import corrupt
from pushpull.data import DataConfig, Preprocessing, eval_batches
from pushpull.evaluation.images import eval_images
from pushpull.files.registry import load_plugin
from pushpull.models import create_model
from support import random_tensor


@pytest.mark.parametrize("stem", ["plain", "pp3", "pp3_norm"])
def test_it_is_the_power_of_the_change_over_the_variance(program, stem):
    benchmark = program("stem_response")
    if stem == "pp3_norm":
        load_plugin(Path(__file__).parents[2] / "benchmarks/variants.py")
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


def test_the_conditions_are_those_of_the_evaluation(program):
    benchmark = program("stem_response")
    run = SimpleNamespace(data=DataConfig("digits"))
    conditions = benchmark.conditions_of(run, 20, 3)
    images = conditions["clean"]
    assert images.shape == (20, 3, 32, 32)
    found = eval_images(run.data, limit=20)
    (batch,) = eval_batches(found.split, found.framing, 20, 0)
    for name in ("gaussian_noise", "fog", "pixelate"):
        expected = corrupt(images, name, 3, scale="cifar", index=batch.index)
        assert torch.equal(conditions[name], expected)


def test_rows_that_are_not_there_are_named(program, tmp_path, capsys, monkeypatch):
    benchmark = program("stem_response")
    monkeypatch.setattr("sys.argv", ["stem_response.py", str(tmp_path), "--rows", "nope"])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "has runs of no row" in capsys.readouterr().err
