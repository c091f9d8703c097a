"""Training that is stopped or killed in the middle of an epoch, and goes on there."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pushpull.training import train
from pushpull.training.callbacks import OutOfTime
from pushpull.training.module import Classifier


@pytest.fixture
def recipe(recipe):
    """Five steps an epoch, a policy and crops that are drawn."""
    return replace(recipe, augment=replace(recipe.augment, policy="trivialaugment"), workers=0)


def _last(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def _same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class After:
    """True once it was asked so often."""

    def __init__(self, times):
        self.left = times

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("streamed", [False, True], ids=["resident", "streamed"])
def test_stopped_in_the_middle_of_each_epoch_it_ends_as_uninterrupted(few, recipe, tmp_path, streamed):
    if streamed:
        few = replace(few, train=replace(few.train, memory_limit_gib=0.0))
    whole = train(recipe, tmp_path / "whole", progress=False, splits=few)
    # Asked after 4 of 5 steps of an epoch, and at the start of the second.
    for times, (epoch, step) in ((2, (0, 3)), (3, (1, 7))):
        with pytest.raises(OutOfTime):
            train(
                recipe,
                tmp_path / "part",
                resume=epoch > 0,
                progress=False,
                splits=few,
                stop=After(times),
            )
        state = torch.load(tmp_path / "part" / "last.ckpt", weights_only=True)
        assert (state["epoch"], state["global_step"]) == (epoch, step)
    part = train(recipe, tmp_path / "part", resume=True, progress=False, splits=few)
    assert _same(_last(whole), _last(part))
    lines = [(folder / "logs" / "metrics.csv").read_text().splitlines() for folder in (whole, part)]
    assert lines[0] == lines[1]


def test_a_killed_run_loses_what_came_after_its_last_checkpoint_only(few, recipe, tmp_path, monkeypatch):
    whole = train(recipe, tmp_path / "whole", progress=False, splits=few)
    step, steps = Classifier.training_step, []

    def killed(self, batch, number):
        steps.append((self.current_epoch, number))
        if self.current_epoch == 1 and number == 3 and len(steps) < 10:
            raise RuntimeError("killed")
        return step(self, batch, number)

    monkeypatch.setattr("pushpull.training.run._CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(Classifier, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        train(recipe, tmp_path / "part", progress=False, splits=few)
    part = train(recipe, tmp_path / "part", resume=True, progress=False, splits=few)
    assert steps[-2:] == [(1, 3), (1, 4)]
    assert len(steps) == 11
    assert _same(_last(whole), _last(part))


def test_stopped_between_two_epochs(few, recipe, tmp_path):
    with pytest.raises(OutOfTime):
        train(recipe, tmp_path / "run", progress=False, splits=few, stop=After(4))
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 5


@pytest.mark.parametrize("left", [2, None], ids=["within_an_epoch", "at_its_end"])
def test_a_checkpoint_that_breaks_off_leaves_the_one_before(few, recipe, tmp_path, monkeypatch, left):
    folder, save, written = tmp_path / "run", torch.save, []
    with pytest.raises(OutOfTime):
        train(recipe, folder, progress=False, splits=few, stop=After(2))
    names, before = set(os.listdir(folder)), (folder / "last.ckpt").read_bytes()

    def half(checkpoint, target):
        written.append(Path(target).parent)
        save(checkpoint, target)
        os.truncate(target, 1000)
        raise RuntimeError("killed")

    monkeypatch.setattr(torch, "save", half)
    options = {"resume": True, "progress": False, "splits": few}
    with pytest.raises(RuntimeError, match="killed"):
        train(recipe, folder, **options, stop=None if left is None else After(left - 2))
    # Beside the old one: a file elsewhere may have to be copied into its place, which a kill can cut short.
    assert written == [folder]
    assert (folder / "last.ckpt").read_bytes() == before
    assert not [name for name in set(os.listdir(folder)) - names if name.endswith(".ckpt")]
    monkeypatch.undo()
    train(recipe, folder, **options)
