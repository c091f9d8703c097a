"""`pushpull harden`: from a function in the user's own file to a report and a file to deploy."""

import json

import pytest

from pushpull.cli import main

OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, 10),
    )
"""
QUICK = [
    "--epochs",
    "1",
    "--limit",
    "10",
    "--policy",
    "augmix9",
    "--jsd",
    "1",
    "--batch_size",
    "512",
    "--mean",
    "0.5",
    "0.5",
    "0.5",
    "--std",
    "0.25",
    "0.25",
    "0.25",
    "--device",
    "cpu",
]


def test_an_own_network_is_hardened_reported_and_exported(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    own, out = f"{tmp_path / 'mine.py'}:build", tmp_path / "out"
    command = ["harden", own, "--data", "digits", "--output", str(out), *QUICK]
    assert main([*command, "--export", "exported-program"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    for part in ("Clean accuracy:", "Mean corruption error", "The network:", "index.html", "model.pt2"):
        assert part in said
    page = (out / "index.html").read_text()
    assert page.index("Clean accuracy:") < page.index("<table")
    for part in ("The same images, every answer", "Calibration", "The first layer"):
        assert part in page
    assert "No kernels" not in page
    assert "Clean accuracy:" in (out / "comparison.md").read_text()
    asked = "--policy augmix9 --jsd 1.0 --epochs 1 --batch_size 512 --mean 0.5 0.5 0.5 --std 0.25 0.25 0.25"
    assert f"harden {own} --data digits --output {out} --export exported-program {asked} --limit 10" in page
    assert (out / "model.pt2").is_file()
    words = ["--weights", str(out / "model.safetensors"), "--corruptions", "none", "--limit", "10"]
    assert main(["evaluate", own, "--data", "digits", *words, "--output", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    after = json.loads((out / "after" / "results.json").read_text())
    assert again["clean"]["top1_error"] == after["clean"]["top1_error"]
    assert main(command) == 0, "the same command again is done at once"
    assert main([*command, "--epochs", "2"]) == 2
    assert "holds the hardening of another options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["timm:nothing", "--data", "digits"], "timm has no classification model 'nothing'"),
        (["timm:resnet10t"], "--data is missing: timm:resnet10t is not a run folder"),
        (["{mine}", "--budget", "soon"], "is not a time"),
        (["{mine}", "--data", "nowhere/at/all"], "nowhere/at/all"),
        (["{mine}", "--data", "digits", "--stem", "pp4"], "pp4"),
        (["{mine}", "--export", "safetensors"], "needs a network that has a name"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    words = [word.replace("{mine}", f"{tmp_path / 'mine.py'}:build") for word in words]
    assert main(["harden", *words, "--output", str(tmp_path / "out"), *QUICK]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len([line for line in error.splitlines() if line.startswith("pushpull: error")]) == 1
