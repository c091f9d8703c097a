"""Every image's answer: what the file holds, how it is continued, what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pushpull.data import Preprocessing
from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation import Results, evaluate
from pushpull.evaluation.predictions import load_predictions

SOME = ("shot_noise", "fog")


def run(model, data, output, **options):
    defaults = {
        "corruptions": SOME,
        "severities": (1, 5),
        "preprocessing": Preprocessing(),
        "progress": False,
    }
    return evaluate(model, data, output=output, **(defaults | {"save_predictions": True} | options))


def test_predictions_are_those_of_a_plain_loop(network, split, corruptor, tmp_path):
    results = run(network, split, tmp_path, batch_size=16)
    table = load_predictions(tmp_path)
    types = {
        "index": "int64",
        "label": "int64",
        "prediction": "int64",
        "confidence": "float32",
        "severity": "int8",
    }
    assert list(table) == ["index", "label", "prediction", "confidence", "corruption", "severity"]
    assert {name: str(table[name].dtype) for name in types} == types
    order = [("clean", 0), *((name, level) for name in SOME for level in (1, 5))]
    assert list(dict.fromkeys(zip(table.corruption, table.severity, strict=True))) == order
    data = split.resident()
    network.eval()
    for (name, level), rows in table.groupby(["corruption", "severity"]):
        images = data.images
        if level:
            images = corruptor(images, name, level, scale="cifar", seed=0, index=data.index)
        with torch.no_grad():
            p = network(Preprocessing()(images)).softmax(1)
        assert rows["index"].tolist() == data.index.tolist() == list(range(1, 106, 2))
        assert rows.label.tolist() == data.labels.tolist()
        assert rows.prediction.tolist() == p.argmax(1).tolist()
        np.testing.assert_allclose(rows.confidence, p.amax(1).numpy(), rtol=1e-5)
        condition = results.condition(*((name, level) if level else (None, None)))
        assert (rows.label != rows.prediction).mean() == pytest.approx(condition.top1_error)
    assert load_predictions(tmp_path / "results.json").equals(table)
    assert load_predictions(tmp_path / "predictions.parquet").equals(table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.parquet", "results.json"]


@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_killed_evaluation_ends_with_the_same_file(network, split, corruptor, tmp_path, at):
    run(network, split, tmp_path / "whole")
    corruptor.fail_at = len(corruptor.calls) + at
    with pytest.raises(KeyboardInterrupt):
        run(network, split, tmp_path / "killed")
    with pytest.raises(MissingFileError, match="--save-predictions"):
        load_predictions(tmp_path / "killed")
    before = len(corruptor.calls)
    run(network, split, tmp_path / "killed")
    assert len(corruptor.calls) - before == 4 - (at - 1)
    whole, killed = (tmp_path / name / "predictions.parquet" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_what_has_no_predictions_is_measured_anew_and_more_is_added(network, split, corruptor, tmp_path):
    first = run(network, split, tmp_path, save_predictions=False)
    assert not (tmp_path / "predictions.parquet").exists()
    run(network, split, tmp_path, corruptions="fog")
    assert set(load_predictions(tmp_path).corruption) == {"clean", "fog"}
    again = run(network, split, tmp_path)
    assert [c.top1_error for c in again.measured().values()] == [
        c.top1_error for c in first.measured().values()
    ]
    calls = len(corruptor.calls)
    assert calls == 4 + 2 + 2
    run(network, split, tmp_path)
    assert len(corruptor.calls) == calls
    assert list(load_predictions(tmp_path).corruption.unique()) == ["clean", *SOME]
    # Results of another evaluation leave no predictions of this one.
    run(network, split, tmp_path, seed=1, overwrite=True, save_predictions=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json"]


def test_two_results_of_one_folder_have_their_own(network, split, corruptor, tmp_path):
    run(network, split, tmp_path / "a.json", corruptions=())
    run(network, split, tmp_path / "b.json", corruptions="fog")
    assert set(load_predictions(tmp_path / "a.json").corruption) == {"clean"}
    assert set(load_predictions(tmp_path / "b.json").corruption) == {"clean", "fog"}


class Odd(nn.Module):
    """The same logit twice on bright images, NaN on dark ones."""

    def forward(self, x):
        logits = torch.tensor([[0.0, 2.0, 2.0]]).repeat(len(x), 1)
        logits[x.mean(dim=(1, 2, 3)) < 0.5] = torch.nan
        return logits


@pytest.mark.filterwarnings("ignore:.*NaN logits")
def test_equal_logits_and_nan(tmp_path):
    images = torch.tensor([0, 250], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 8, 8).contiguous()
    results = run(Odd(), (images, torch.tensor([0, 1])), tmp_path, corruptions=())
    table = load_predictions(tmp_path)
    assert table.prediction.tolist() == [-1, 1]
    assert np.isnan(table.confidence[0])
    assert table.confidence[1] == pytest.approx(np.exp(2) / (1 + 2 * np.exp(2)))
    expected = -np.log(np.exp(2) / (1 + 2 * np.exp(2)))
    assert results.clean.nll == pytest.approx(expected, abs=1e-6)  # of the one whose logits are numbers


def test_what_is_refused(network, split, tmp_path):
    with pytest.raises(InputError, match="save_predictions needs a folder"):
        run(network, split, None)
    (tmp_path / "predictions.parquet").write_text("no")
    with pytest.raises(InputError, match="holds no predictions"):
        load_predictions(tmp_path)
    pd.DataFrame({"index": [1]}).to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(InputError, match="no column label, prediction"):
        load_predictions(tmp_path)


def test_calibration_is_in_the_results_and_may_be_missing(network, split, corruptor, tmp_path):
    results = run(network, split, tmp_path, save_predictions=False)
    assert all(0 < c.ece < 1 and c.nll > 0 and 0 < c.brier < 2 for c in results.measured().values())
    value = json.loads((tmp_path / "results.json").read_text())
    for name in ("ece", "nll", "brier"):
        del value["clean"][name]
    assert Results.from_json(value).clean.ece is None
    value["clean"]["ece"] = 2.0
    with pytest.raises(InputError, match=r"clean: ece=2.0 is outside \[0, 1\]"):
        Results.from_json(value)


def test_images_of_a_set_on_disk_have_the_rows_of_the_clean_ones(network, split, tmp_path):
    data = split.resident()
    images = data.images.permute(0, 2, 3, 1).numpy()
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "fog.npy", np.concatenate([images] * 5))
    np.save(tmp_path / "set" / "labels.npy", data.labels.numpy())
    run(network, split, tmp_path, corrupted=str(tmp_path / "set"), corruptions="fog")
    table = load_predictions(tmp_path)
    clean, *others = (rows for _, rows in table.groupby("severity"))
    assert len(others) == 2
    for rows in others:  # the same images, so the same answers, row by row
        for name in ("index", "label", "prediction"):
            assert rows[name].tolist() == clean[name].tolist()
    assert clean["index"].tolist() == split.index.tolist()
