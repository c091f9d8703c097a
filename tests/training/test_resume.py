"""What a second `train` in the same folder keeps, and what several processes do in one."""

import csv
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation import Results, evaluate
from pushpull.training import load_run, train
from pushpull.training.module import Classifier


@pytest.fixture
def recipe(recipe):
    return replace(recipe, epochs=3)


def test_a_resumed_run_keeps_the_log_of_the_epochs_before(few, recipe, tmp_path, monkeypatch):
    step = Classifier.training_step

    def killed(self, batch, number):
        if self.current_epoch == 2:
            raise RuntimeError("killed")
        return step(self, batch, number)

    monkeypatch.setattr(Classifier, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(recipe, tmp_path / "run", progress=False, splits=few)
    monkeypatch.undo()
    train(recipe, tmp_path / "run", resume=True, progress=False, splits=few)
    with (tmp_path / "run" / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for quantity in ("train_loss", "validation_error"):
        assert [row["epoch"] for row in rows if row[quantity]] == ["0", "1", "2"]


def test_resuming_a_finished_run_keeps_its_evaluation(few, recipe, tmp_path, capsys):
    recipe = replace(recipe, epochs=1)
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    options = {"corruptions": ["contrast"], "limit": 20, "output": str(folder), "overwrite": True}
    evaluate(load_run(folder), few, **options, progress=False)
    before = Results.load(folder)
    train(recipe, folder, resume=True, progress=False, splits=few)
    assert Results.load(folder).corrupted == before.corrupted != {}
    train(recipe, folder, resume=True, splits=few)
    assert "resuming after epoch 1 of 1" in capsys.readouterr().err
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors, though its epochs are done"):
        train(recipe, folder, resume="auto", progress=False, splits=few)


def test_resume_and_overwrite_exclude_each_other(few, recipe, tmp_path):
    with pytest.raises(InputError, match="give one of the two"):
        train(recipe, tmp_path, resume=True, overwrite=True, splits=few)


def test_a_run_killed_before_its_first_checkpoint_says_how_to_go_on(few, recipe, tmp_path):
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(MissingFileError, match="start again with overwrite"):
        train(recipe, tmp_path, resume=True, splits=few)


def test_two_processes_train_one_network(tmp_path):
    options = "--model.name resnet8 --data.fraction 0.05 --epochs 1 --batch_size 16 --accelerator cpu"
    program = "import sys; from pushpull.cli import main; sys.exit(main())"
    script = tmp_path / "train.py"
    script.write_text(program)
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, script, "train", *options.split(), "--devices", "2", "--output", folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds the run") == 1
    run = load_run(folder)
    alone = evaluate(run.model, "digits", corruptions=(), preprocessing=run.preprocessing, progress=False)
    assert Results.load(folder).clean == replace(alone.clean, seconds=Results.load(folder).clean.seconds)


def test_an_empty_checkpoint_is_one_clear_line(few, recipe, tmp_path):
    folder = train(replace(recipe, epochs=1), tmp_path / "run", progress=False, splits=few)
    (folder / "last.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match="not a readable checkpoint") as caught:
        train(recipe, folder, resume=True, progress=False, splits=few)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_checkpoints_that_kills_left_half_written_go(few, recipe, tmp_path, how):
    folder = train(replace(recipe, epochs=1), tmp_path / "run", progress=False, splits=few)
    left = folder / ".last.0123456789ab.ckpt"
    left.write_bytes(b"half")
    train(replace(recipe, epochs=1), folder, progress=False, splits=few, **{how: True})
    assert not left.exists()
    assert (folder / "last.ckpt").is_file()


def _wide(content):
    return content["state_dict"] | {"model.fc.weight": torch.zeros(3, 64)}


def _past(content):
    content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] = 7
    return content["loops"]


def _other_buffers(content):
    (optimiser,) = content["optimizer_states"]
    next(iter(optimiser["state"].values()))["momentum_buffer"] = torch.zeros(1)
    return [optimiser]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer_states", lambda content: [], "has no optimizer_states to continue with"),
        ("optimizer_states", None, r"not a readable checkpoint \(KeyError: 'optimizer_states'\)"),
        ("optimizer_states", lambda content: [{}], "not a checkpoint of this training"),
        ("optimizer_states", _other_buffers, "has the optimiser of another network"),
        ("state_dict", _wide, r"of another network: model.fc.weight is \(3, 64\), here \(10, 64\)"),
        ("state_dict", lambda content: {"a": torch.zeros(1)}, "of another network: .* is not there"),
        ("loops", _past, "has 7 epochs, more than epochs=1"),
        ("loops", lambda content: {"fit_loop": 3}, "not a readable checkpoint"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_with_is_one_line(tmp_path, few, recipe, key, value, message):
    folder = train(replace(recipe, epochs=1), tmp_path / "run", progress=False, splits=few)
    path = folder / "last.ckpt"
    content = torch.load(path, weights_only=True)
    if value is None:
        del content[key]
    else:
        content[key] = value(content)
    torch.save(content, path)
    with pytest.raises(InputError, match=message) as caught:
        train(replace(recipe, epochs=1), folder, resume=True, progress=False, splits=few)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
