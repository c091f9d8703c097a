"""docs/extend.md shows the very files of examples/, and the commands and programs on it work."""

import gc
import importlib
import json
import re
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from pushpull.cli import main
from pushpull.files.registry import Registry

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text()
FILES = sorted((ROOT / "examples").glob("my_*"))
LANGUAGES = {".py": "python", ".yaml": "yaml"}

# What makes the page's commands a matter of seconds.
SHORTER = {
    "train --config digits": "--epochs 1 --data.fraction 0.1",
    "train --config examples/my_recipe.yaml": "--epochs 1",
    "evaluate": "--limit 10 --quiet",
    "reproduce": "--seeds 0 --limit 10 --epochs 1 --quiet",
    "export": "",
}


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def _commands():
    text = "\n".join(_blocks("sh")).replace("\\\n", " ")
    return [line.removeprefix("pushpull ") for line in text.splitlines() if line.strip()]


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """Work beside a copy of examples/; what it registers is forgotten afterwards."""
    for package in ("augment", "corruptions", "data", "models"):
        importlib.import_module(f"pushpull.{package}")
    registries = [thing for thing in gc.get_objects() if type(thing) is Registry]
    monkeypatch.setattr("pushpull.files.registry._loaded", {})
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    with ExitStack() as kept:
        for registry in registries:
            kept.enter_context(patch.dict(registry))
        yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_page_shows_the_files_very_text(path):
    assert f"```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n" in PAGE


def test_every_command_works(examples, capsys):
    commands = _commands()
    assert {command.split()[0] for command in commands} == {"train", "evaluate", "reproduce", "export"}
    for command in commands:
        shorter = next(more for start, more in SHORTER.items() if command.startswith(start))
        assert main([*shlex.split(command), *shlex.split(shorter)]) == 0, capsys.readouterr().err
    results = json.loads((examples / "runs" / "digits" / "results.json").read_text())
    assert set(results["corrupted"]) == {"rain"}
    assert list(results["corrupted"]["rain"]) == ["1", "2", "3", "4", "5"]
    assert (examples / "runs" / "my_network.onnx").is_file()
    table = json.loads((examples / "runs" / "tables" / "my_table" / "table.json").read_text())
    assert table["complete"]
    assert [row["name"] for row in table["rows"]] == ["plain", "push-pull", "mine"]
    assert "differences" in table["rows"][2]


def test_every_program_works(examples, monkeypatch):
    monkeypatch.syspath_prepend(examples / "examples")
    shown = [path.read_text() for path in FILES]
    names = {}
    for program in _blocks("python"):
        if program not in shown:
            exec(compile(program, "docs/extend.md", "exec"), names)
    images, wet, covered = names["images"], names["wet"], names["covered"]
    assert (wet >= images - 1 / 255).all()
    assert (wet > images + 0.05).any()
    assert names["model"](torch.rand(2, 3, 64, 64)).shape == (2, 10)
    assert (covered == images).float().mean().item() == pytest.approx(15 / 16, abs=0.001)
    assert names["splits"].classes == ["disc", "square"]
