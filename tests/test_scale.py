"""docs/scale.md: its commands can be given, its example works in two processes, divided work adds up."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from data.hub import NAME, stand_in
from data.made import encoded, picture, tar
from pushpull.cli import main
from pushpull.cli.corrupt import corrupt_command
from pushpull.cli.evaluate import evaluate_command
from pushpull.cli.parser import parse
from pushpull.cli.train import train_command

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text()
COMMANDS = {"train": train_command, "evaluate": evaluate_command, "corrupt": corrupt_command}

NETWORK = """
import torch

class ByBrightness(torch.nn.Module):
    def forward(self, x):
        return -(x.mean(dim=(1, 2, 3))[:, None] - torch.arange(3) / 3).abs()

def network():
    return ByBrightness()
"""


def lines():
    """Every line of the page that begins a command of ours."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in "\n".join(blocks).replace("\\\n", " ").replace("$name", "fog").splitlines():
        found = re.search(r"pushpull (train|evaluate|corrupt) .*", line)
        if found:
            yield shlex.split(found[0])[1:]


def test_every_command_can_be_given():
    found = list(lines())
    assert [words[0] for words in found] == ["train", "train", "train", "evaluate", "corrupt"]
    for name, *words in found:
        assert parse(name, COMMANDS[name], words)


@pytest.fixture
def shards(tmp_path):
    members = {}
    for number in range(24):
        members |= {
            f"{number:02}.cls": number % 3,
            f"{number:02}.png": encoded(picture(10 * number, (32, 32))),
        }
    tar(tmp_path / "shards" / "test-0.tar", members)
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path / "shards"


def test_the_example_gives_in_two_processes_what_the_command_gives_in_one(shards, tmp_path, capsys):
    spec = f"{tmp_path / 'network.py'}:network"
    several, one = tmp_path / "several", tmp_path / "one"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    example = [str(ROOT / "examples" / "evaluate_ranks.py"), spec, str(shards), str(several)]
    done = subprocess.run([*launcher, *example], check=False, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("clean error") == 1
    assert (
        main(["evaluate", spec, "--data", str(shards), "--output", str(one), "--device", "cpu", "--quiet"])
        == 0
    )
    errors = [json.loads((folder / "results.json").read_text())["corrupted"] for folder in (several, one)]
    for by_severity in (*errors[0].values(), *errors[1].values()):
        for condition in by_severity.values():
            del condition["seconds"]
    assert errors[0] == errors[1]
    assert len(errors[0]) == 15


def test_images_read_in_place_give_the_results_of_the_folder(tmp_path, monkeypatch):
    (tmp_path / "network.py").write_text(NETWORK)
    folder, spec = tmp_path / "set", f"{tmp_path / 'network.py'}:network"
    cells = [encoded(picture(10 * number, (32, 32))) for number in range(24)]
    rows = {"image": cells, "label": [0, 1, 2] * 8}
    folder.mkdir()
    Dataset.from_dict(rows).to_parquet(folder / "test.parquet", batch_size=5)
    found = []
    with stand_in(folder, monkeypatch):
        for data in (str(folder), f"hf://datasets/{NAME}"):
            words = ["--data", data, "--corruptions", "fog", "--output", str(tmp_path / "out"), "--overwrite"]
            assert main(["evaluate", spec, *words, "--device", "cpu", "--quiet"]) == 0
            found.append(json.loads((tmp_path / "out" / "results.json").read_text()))
            for condition in found[-1]["corrupted"]["fog"].values():
                del condition["seconds"]
    here, there = found
    assert here["corrupted"] == there["corrupted"]
    assert here["clean"] | {"seconds": 0} == there["clean"] | {"seconds": 0}


def test_a_copy_in_parts_is_one_set(shards, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    levels = ["--severities", "1", "5", "--quiet"]
    options = ["--format", "webdataset", "--scale", "cifar", "--workers", "0", *levels]
    assert main(["corrupt", str(shards), str(whole), *options, "--corruptions", "fog", "contrast"]) == 0
    for name in ("fog", "contrast"):
        assert main(["corrupt", str(shards), str(parts / name), *options, "--corruptions", name]) == 0
        for file in (whole / name).rglob("*.tar"):
            assert (parts / name / file.relative_to(whole)).read_bytes() == file.read_bytes()
    found = []
    for place in (whole, parts):
        output = tmp_path / f"of-{place.name}"
        spec = f"{tmp_path / 'network.py'}:network"
        words = ["evaluate", spec, "--data", str(shards), "--corrupted", str(place), "--output", str(output)]
        assert main([*words, *levels, "--device", "cpu"]) == 0
        found.append(json.loads((output / "results.json").read_text()))
    for name in ("fog", "contrast"):
        for severity in ("1", "5"):
            one, other = (results["corrupted"][name][severity] for results in found)
            assert one["class_errors"] == other["class_errors"]
