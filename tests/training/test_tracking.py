"""What TensorBoard and a recipe's logger get of a training."""

import csv
import re
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pushpull.cli import main
from pushpull.errors import InputError
from pushpull.models import create_model
from pushpull.training import train
from pushpull.training.recipe import read_recipe
from pushpull.training.tracking import filter_sheet


def test_tensorboard_has_rate_time_recipe_filters_and_images(few, recipe, tmp_path):
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    events = EventAccumulator(str(folder / "logs")).Reload()
    tags = events.Tags()
    assert {"train_loss", "validation_error", "learning_rate", "epoch_seconds"} <= set(tags["scalars"])
    assert events.Scalars("learning_rate")[0].value == pytest.approx(recipe.optim.initial_lr)
    assert len(events.Scalars("epoch_seconds")) == recipe.epochs
    assert set(tags["images"]) == {"first layer", "augmented images"}
    assert len(events.Images("first layer")) > 1
    sheet = events.Images("augmented images")[0]
    assert (sheet.width, sheet.height) > (200, 30)
    (text,) = events.Tensors("recipe/text_summary")
    assert b"stem: pp3" in text.tensor_proto.string_val[0]


def test_filters_are_one_sheet_around_grey():
    model = create_model("resnet8", stem="pp3", input_style="cifar")
    with torch.no_grad():
        model.conv1.weight.zero_()
        model.conv1.weight[3, 0, 1, 1] = 2
    sheet = filter_sheet(model)
    assert sheet.shape == (3, 2 * 26 + 2, 8 * 26 + 2)
    assert sheet[:, 3, 3].tolist() == [0.5, 0.5, 0.5]
    assert sheet[:, 14, 3 * 26 + 14].tolist() == [1, 0.5, 0.5]
    assert filter_sheet(torch.nn.Linear(3, 2)) is None


@pytest.mark.parametrize("name", ["CSVLogger", "lightning.pytorch.loggers.CSVLogger"])
def test_a_logger_by_recipe(few, recipe, tmp_path, name):
    recipe = replace(recipe, logger={"class_path": name, "init_args": {"name": "mine", "version": ""}})
    folder = train(recipe, tmp_path / "run", progress=False, splits=few)
    with (folder / "logs" / "mine" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["train_loss"]] == [str(n) for n in range(recipe.epochs)]
    assert any(row["learning_rate"] for row in rows)
    assert "learning_rate" not in (folder / "logs" / "metrics.csv").read_text()
    assert read_recipe(folder / "recipe.yaml").logger == recipe.logger
    train(replace(recipe, logger=None), folder, resume="auto", progress=False, splits=few)


@pytest.mark.parametrize(
    ("logger", "said"),
    [
        (
            {"class_path": "CsvLogger"},
            "logger.class_path='CsvLogger' is not one of .* did you mean 'CSVLogger'?",
        ),
        ({"class_path": "os.CSVLogger"}, "is not among Lightning's loggers"),
        ({"class_path": "WandbLogger"}, "WandbLogger' needs a package that is not installed"),
        ({"class_path": "CSVLogger", "init_args": {"colour": 1}}, "are refused by CSVLogger"),
        ({"name": "CSVLogger"}, "logger.name is neither class_path nor init_args"),
        ({"init_args": {}}, "must hold a class_path"),
    ],
)
def test_a_logger_that_cannot_be_had_is_one_line(few, recipe, tmp_path, logger, said, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(InputError, match=said) as raised:
        train(replace(recipe, logger=logger), tmp_path / "run", progress=False, splits=few)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_recipe_file_names_a_logger(tmp_path, capsys):
    file = tmp_path / "recipe.yaml"
    file.write_text("logger: {class_path: NoLogger, init_args: {save_dir: here}}\nepochs: 1\n")
    assert main(["train", "--config", str(file), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"pushpull: error: logger.class_path='NoLogger' is not one of .*\n", error)
    words = ["train", "--logger", "{class_path: NoLogger}", "--output", str(tmp_path / "run")]
    assert main(words) == 2
    assert "logger.class_path='NoLogger'" in capsys.readouterr().err
