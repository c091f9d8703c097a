"""A training that is asked to stop says so, and goes on to the weights of an undisturbed one."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pushpull import InputError, compare, evaluate, load_run
from pushpull.cli import main
from pushpull.evaluation import Results
from pushpull.files import InUseError, folder_lock
from pushpull.models.loading import epochs_left
from pushpull.training import train
from pushpull.training.folder import is_finished
from pushpull.training.recipe import read_recipe

COMMAND = [
    *(sys.executable, "-m", "pushpull", "train", "--config", "digits", "--model.name", "resnet8"),
    *("--epochs", "4", "--data.fraction", "0.3", "--accelerator", "cpu"),
]


def stopped(folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Start the training, send a signal after its first epoch; return exit code and standard error."""
    run = subprocess.Popen([*COMMAND, "--output", folder], stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    said = ""
    while "epoch 1/" not in said:
        line = run.stderr.readline()
        assert line, said
        said += line
    run.send_signal(number)
    said += run.communicate(timeout=60)[1]
    return run.returncode, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_the_same_command_goes_on(
    number: signal.Signals, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    found, said = stopped(folder, number)
    assert found == code, said
    assert said.splitlines()[-1].startswith("pushpull: stopped in epoch "), said
    assert f"--output {folder} --resume auto" in said
    assert epochs_left(folder) is not None
    assert not (folder / ".pushpull.lock").exists()
    recipe = read_recipe(folder / "recipe.yaml")
    assert not is_finished(folder, recipe, weights=False)
    with pytest.warns(UserWarning, match=r"run is not finished: \d of 4 epochs are done"):
        results = evaluate(load_run(folder), corruptions="fog", limit=20, progress=False, output=str(folder))
    assert Results.load(folder).model["epochs"] == results.model["epochs"] == epochs_left(folder)
    assert not is_finished(folder, recipe, weights=False)
    assert re.search(
        r"is not finished: \d of 4 epochs", compare(folder, [folder / "results.json"]).note or ""
    )

    train(recipe, folder, resume="auto")
    assert "resuming at epoch" in capsys.readouterr().err
    assert (epochs_left(folder), is_finished(folder, recipe)) == (None, True)
    assert Results.load(folder).model["epochs"] is None
    undisturbed = train(recipe, tmp_path / "other", resume="auto", progress=False)
    one, other = (load_file(place / "model.safetensors") for place in (folder, undisturbed))
    assert all((one[name] == other[name]).all() for name in one)
    before = (folder / "last.ckpt").stat().st_mtime_ns
    assert train(recipe, folder, resume="auto") == folder
    assert (folder / "last.ckpt").stat().st_mtime_ns == before


def test_a_folder_is_held_by_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run = subprocess.Popen([*COMMAND, "--output", folder], stderr=subprocess.DEVNULL)
    try:
        while not (folder / "recipe.yaml").exists():
            assert run.poll() is None
            time.sleep(0.1)
        assert main([*COMMAND[3:], "--output", str(folder), "--seed", "1", "--overwrite"]) == 2
        assert f"another run writes into {folder} (process {run.pid} since" in capsys.readouterr().err
    finally:
        run.kill()
        run.wait()
    train(read_recipe(folder / "recipe.yaml"), folder, resume="auto", progress=False)
    with folder_lock(folder), pytest.raises(InUseError, match="another run writes into"), folder_lock(folder):
        pass
    with folder_lock(folder):
        train(read_recipe(folder / "recipe.yaml"), tmp_path / "another", resume="auto", progress=False)


def test_resuming_what_is_another_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([*COMMAND[3:], "--epochs", "1", "--output", str(folder)]) == 0
    recipe = read_recipe(folder / "recipe.yaml")
    (folder / "last.ckpt").unlink()
    (folder / "results.json").unlink()
    with pytest.raises(InputError, match="made with other settings"):
        train(replace(recipe, seed=5), folder, resume="auto", progress=False)
    train(recipe, folder, resume="auto", progress=False)
    assert is_finished(folder, recipe)
