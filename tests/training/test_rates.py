"""A training whose loss is no number goes on from before, at another rate; machines may change too."""

import json
from dataclasses import replace

import pytest
import torch

from pushpull.errors import InputError
from pushpull.training import read_recipe, train
from pushpull.training.folder import is_finished
from pushpull.training.module import Classifier


def spoiled(monkeypatch, how):
    """Make the loss no number in the second epoch, or the weights alone by its last step."""
    step = Classifier.training_step

    def wrong(self, batch, number):
        loss = step(self, batch, number)
        if self.current_epoch == 1 and number == 2 and how == "loss":
            self.train_loss.update(torch.tensor(torch.nan))
        return loss

    def after_the_last_step(self, outputs, batch, number):
        if self.current_epoch == 1 and number == 4 and how == "weights":
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)

    monkeypatch.setattr(Classifier, "training_step", wrong)
    monkeypatch.setattr(Classifier, "on_train_batch_end", after_the_last_step)


def rates(folder):
    state = torch.load(folder / "last.ckpt", weights_only=True)
    group = state["optimizer_states"][0]["param_groups"][0]
    return state["global_step"], group, state["lr_schedulers"][0]["last_epoch"]


@pytest.mark.parametrize("how", ["loss", "weights"])
def test_it_goes_on_from_the_checkpoint_before_with_another_rate(few, recipe, tmp_path, monkeypatch, how):
    folder, options = tmp_path / "run", {"progress": False, "splits": few}
    monkeypatch.setattr("pushpull.training.run._CHECKPOINT_EVERY_S", 0.0)
    recipe = replace(recipe, epochs=3)
    spoiled(monkeypatch, how)
    with pytest.raises(InputError, match=r"in epoch 2; .*--resume --optim.max_lr LOWER"):
        train(recipe, folder, **options)
    monkeypatch.undo()
    weights = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())
    lower = replace(recipe, optim=replace(recipe.optim, max_lr=0.02, clip_norm=1.0))
    with pytest.raises(InputError, match=r"other settings .optim.max_lr, optim.clip_norm.; .*--resume alone"):
        train(lower, folder, resume="auto", **options)
    with pytest.raises(InputError, match=r"other settings .*optim.momentum"):
        train(replace(lower, optim=replace(lower.optim, momentum=0.5)), folder, resume=True, **options)
    before = (folder / "last.ckpt").read_bytes()
    train(lower, folder, resume=True, **options)
    assert read_recipe(folder / "recipe.yaml").optim == lower.optim
    noted = json.loads((folder / "rates.json").read_text())
    assert noted == [{"from_epoch": 2, "optim.max_lr": [0.05, 0.02], "optim.clip_norm": [None, 1.0]}]
    step, group, at = rates(folder)
    assert (step, group["max_lr"]) == (15, 0.02)
    optimizer = Classifier(torch.nn.Linear(1, 1), None, lower.optim, 15, False).configure_optimizers()
    for _ in range(at):
        optimizer["optimizer"].step()
        optimizer["lr_scheduler"]["scheduler"].step()
    assert optimizer["optimizer"].param_groups[0]["lr"] == group["lr"]
    done = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    # Killed before it had a checkpoint of its own: the folder's recipe alone says the rates then.
    (folder / "last.ckpt").write_bytes(before)
    (folder / "results.json").unlink()
    train(lower, folder, resume="auto", **options)
    again = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(done[name], again[name]) for name in done)
    with pytest.raises(InputError, match=r"other settings .optim.max_lr"):  # a finished run is what it is
        train(recipe, folder, resume=True, **options)


def test_what_cannot_change_the_weights_may_change(few, recipe, tmp_path):
    recipe = replace(recipe, epochs=1)
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    data = replace(recipe.data, memory_limit_gib=1.0, label="Numbers")
    other = replace(recipe, workers=0, accelerator="auto", devices=2, num_nodes=2, data=data)
    assert is_finished(folder, other)
    assert not is_finished(folder, replace(other, batch_size=10))
    train(replace(recipe, workers=0, data=data), folder, resume=True, progress=False, splits=few)
