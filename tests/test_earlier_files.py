"""What an earlier version (commit ec61bc6) wrote is still read: a run, its recipe, results and checkpoint.

`fixtures/run_of_ec61bc6` is a resnet8 with pp3_alpha on a fifth of the digits, stopped after the first of two
epochs, then evaluated on 20 images in fog and contrast at severities 1 and 5.
"""

import shutil
from pathlib import Path

import pytest
import torch

from pushpull import Results, evaluate, load_run
from pushpull.cli import main
from pushpull.training import read_recipe, train

RUN = Path(__file__).parent / "fixtures" / "run_of_ec61bc6"


@pytest.fixture
def run(tmp_path):
    """A copy, at the place that its results name: relative to the folder that the commands ran in."""
    return Path(shutil.copytree(RUN, tmp_path / "runs" / "digits"))


def test_the_recipe():
    recipe = read_recipe(RUN / "recipe.yaml")
    assert (recipe.model.name, recipe.model.stem, recipe.epochs) == ("resnet8", "pp3_alpha", 2)
    assert (recipe.data.name, recipe.data.fraction) == ("digits", 0.2)
    assert recipe.optim.final_lr == 2e-6


def test_the_network():
    network = load_run(RUN)
    assert (network.name, network.stem, network.seed) == ("resnet8", "pp3_alpha", 0)
    assert network.label == "resnet8 pp3_alpha seed 0"
    assert network.classes == [str(digit) for digit in range(10)]
    assert network.preprocessing.mean == (0.5, 0.5, 0.5)
    assert network.data.fraction == 0.2
    with torch.no_grad():
        assert network.model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_the_results():
    results = Results.load(RUN)
    assert results.clean_error == 0.9
    assert list(results.corrupted) == ["fog", "contrast"]
    assert [condition.top1_error for condition in results.corrupted["fog"].values()] == [0.9, 0.85]
    assert results.complete


def test_an_evaluation_continues_in_its_file(run):
    before = Results.load(run)
    options = {"corruptions": ["fog", "contrast", "brightness"], "severities": (1, 5), "limit": 20}
    results = evaluate(load_run(run), output=str(run), progress=False, **options)
    assert results.corrupted["fog"] == before.corrupted["fog"]  # not measured again: its seconds are the same
    assert set(results.corrupted) == {"fog", "contrast", "brightness"}


def test_the_same_numbers_are_measured_again():
    before = Results.load(RUN)
    options = {"corruptions": ["fog", "contrast"], "severities": (1, 5), "limit": 20}
    again = evaluate(load_run(RUN), progress=False, **options)
    assert again.model["weights_sha256"] == before.model["weights_sha256"]
    assert again.data["sha256"] == before.data["sha256"]
    for name, by_severity in before.corrupted.items():
        for severity, condition in by_severity.items():
            assert again.corrupted[name][severity].class_errors == condition.class_errors


def test_training_continues_from_its_checkpoint(run):
    train(read_recipe(run / "recipe.yaml"), run, resume=True, progress=False)
    checkpoint = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    assert checkpoint["epoch"] == 1
    assert Results.load(run).data["limit"] is None  # the clean error of the whole test split


def test_a_report_reads_them(run, tmp_path, capsys):
    other = shutil.copytree(RUN, tmp_path / "other")
    assert main(["compare", str(run), str(other), "--output", str(tmp_path / "report")]) == 0
    assert "resnet8 pp3_alpha" in capsys.readouterr().out
