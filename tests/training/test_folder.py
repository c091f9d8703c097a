"""A run's files beside its recipe: the same name elsewhere may hold something else."""

import shutil
from dataclasses import replace

import pytest

from pushpull.data import DataConfig, load_data
from pushpull.errors import InputError
from pushpull.training import LossConfig, ModelConfig, Recipe, read_recipe, train
from pushpull.training.folder import is_finished


def with_classes(recipe, folder, names):
    folder.mkdir(parents=True)
    path = folder / "names.txt"
    path.write_text("\n".join(names) + "\n")
    return replace(recipe, epochs=1, batch_size=128, data=replace(recipe.data, classes=str(path)))


def test_class_lists_are_told_apart_by_what_they_name(recipe, tmp_path):
    first = with_classes(recipe, tmp_path / "a", "01")
    folder = train(first, tmp_path / "run", progress=False)
    assert is_finished(folder, first)
    assert is_finished(folder, with_classes(recipe, tmp_path / "b", ["0  # nought", "", "1"]))
    other = with_classes(recipe, tmp_path / "c", "23")
    assert not is_finished(folder, other)
    with pytest.raises(InputError, match=r"other settings \(what data.classes holds\)"):
        train(other, folder, resume=True, progress=False)
    (tmp_path / "a" / "names.txt").unlink()
    assert is_finished(folder, first)  # what is gone cannot be held against the run


def test_teachers_are_told_apart_by_their_weights(few, recipe, tmp_path):
    def taught(folder):
        return replace(recipe, epochs=1, loss=LossConfig(teacher=str(folder / "seed0")))

    short = replace(recipe, epochs=1)
    for name, seed in (("a", 0), ("b", 1)):
        train(replace(short, seed=seed), tmp_path / name / "seed0", progress=False, splits=few)
    folder = train(taught(tmp_path / "a"), tmp_path / "run", progress=False, splits=few)
    assert is_finished(folder, taught(tmp_path / "a"))
    assert not is_finished(folder, taught(tmp_path / "b"))
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    assert is_finished(folder, taught(tmp_path / "moved"))


def test_settings_that_differ_are_named_in_full(few, recipe, tmp_path):
    folder = train(replace(recipe, epochs=1), tmp_path / "run", progress=False, splits=few)
    other = replace(recipe, epochs=1, data=DataConfig("digits", fraction=0.5))
    with pytest.raises(InputError, match=r"other settings \(data.fraction\)"):
        train(other, folder, resume=True, progress=False, splits=load_data(other.data))


def test_every_path_of_a_recipe_is_recorded_in_full(splits, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    few = replace(splits, train=splits.train.subset(range(40)), validation=None, test=None)
    base = Recipe(model=ModelConfig("resnet8"), epochs=1, batch_size=20, accelerator="cpu")
    first = train(base, "first", progress=False, splits=few)
    (tmp_path / "classes.txt").write_text("1\n2\n")
    recipe = replace(
        base,
        model=replace(base.model, weights="first/model.safetensors"),
        data=DataConfig(classes="~/classes.txt"),
    )
    resolved = read_recipe(train(recipe, "second", progress=False, splits=few) / "recipe.yaml")
    assert resolved.model.weights == str((tmp_path / first / "model.safetensors").resolve())
    assert resolved.data.classes == str((tmp_path / "classes.txt").resolve())
