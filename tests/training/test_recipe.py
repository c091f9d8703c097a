import sys
from pathlib import Path

import pytest
import yaml

from pushpull.cli.parser import parse
from pushpull.cli.train import train_command
from pushpull.errors import InputError, MissingFileError
from pushpull.files.yaml import from_dict
from pushpull.training.recipe import OptimConfig, Recipe, packaged_recipe, read_recipe

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_is_read_and_written_back(path, tmp_path):
    recipe = read_recipe(path)
    given = yaml.safe_load(path.read_text())
    assert recipe.epochs == given["epochs"]
    assert recipe.model.name == given["model"]["name"]
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(recipe.to_dict()))
    assert read_recipe(copy) == recipe
    assert packaged_recipe(path.stem).samefile(path)


def test_the_papers_imagenet_settings():
    recipe = read_recipe(packaged_recipe("imagenet1k"))
    assert (recipe.epochs, recipe.batch_size) == (20, 128)
    assert (recipe.optim.initial_lr, recipe.optim.max_lr, recipe.optim.weight_decay) == (0.05, 1.0, 1e-5)
    assert (recipe.augment.resize, recipe.augment.crop, recipe.augment.flip) == (256, 224, True)


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("optim: {weight_decay: 1e-5, max_lr: 1}")
    assert read_recipe(path).optim == OptimConfig(weight_decay=1e-5, max_lr=1.0)


def test_one_number_is_the_size_of_a_square(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("preprocessing: {mean: [0, 0, 0], std: [1, 1, 1], size: 64}")
    assert read_recipe(path).preprocessing.size == (64, 64)
    given = parse("train", train_command, ["--config", str(path), "--preprocessing.size", "32"])
    assert given["recipe"].preprocessing.size == (32, 32)
    given = parse("train", train_command, ["--preprocessing.size", "[32, 48]"])
    assert given["recipe"].preprocessing.size == (32, 48)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "'epoch' is not one of .* did you mean 'epochs'"),
        ("model: {stm: pp3}", "'stm' is not one of .* did you mean 'stem'"),
        ("epochs: many", "epochs='many' must be a whole number"),
        ("epochs: true", "epochs=True must be a whole number"),
        ("epochs: 0", "epochs=0 must be at least 1"),
        ("augment: {policy: prim}", "policy='prim' is not one of"),
        ("optim: {max_lr: 0.001}", "rising order"),
        ("optim: {label_smoothing: 1}", "label_smoothing"),
        ("optim: {warmup: 0}", "warmup=0.0 must be above 0"),
        ("optim: {momentum: 0, nesterov: true}", "momentum=0; give one"),
        ("augment: {resize: 24, crop: 40}", "crop=40 is larger than augment.resize=24 with padding 4"),
        ("data: {fraction: 0}", "fraction"),
        ("preprocessing: {mean: [1, 2]}", r"mean=\[1, 2\] must be a list of 3, each a number"),
        ("- a", "must hold keys and values"),
        ("a: [", "not valid YAML"),
        ("precision: fp8", "precision='fp8' is not one of fp32, bf16"),
        ("augment: {crop: 3.5}", "augment.crop=3.5 must be a whole number or null"),
        ("model: {pretrained: 1}", "model.pretrained=1 must be true or false"),
        ("data: {name: 3}", "data.name=3 must be text"),
        ("model: {input_style: cifr}", "'cifr' is not one of imagenet, cifar; did you mean 'cifar'"),
        ("optim: {max_lr: true}", "optim.max_lr=True must be a number"),
        ("model: resnet8", "model must hold keys and values, not 'resnet8'"),
        ("data:", "data must hold keys and values, not None"),
        ("epochs: 3\nepochs: 4", "'epochs' stands twice in one place"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["model", "preprocessing"])
def test_a_recipe_cannot_name_code_to_run_or_files_to_open(tmp_path, monkeypatch, key):
    (tmp_path / "planted.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "r.yaml"
    for value in ("{class_path: planted.Model}", str(tmp_path / "planted.py")):
        path.write_text(f"{key}: {value}")
        for read in (read_recipe, lambda path: parse("train", train_command, ["--config", str(path)])):
            with pytest.raises(InputError, match=r"'class_path' is not one of|must hold keys and values"):
                read(path)
    assert "planted" not in sys.modules


def test_recipes_of_former_versions_are_read():
    path = Path(__file__).with_name("recipe_of_ec61bc6.yaml")
    recipe = read_recipe(path)
    former = yaml.safe_load(path.read_text())
    former["data"]["label_column"] = None  # came later, as these did
    former["model"]["start"], former["size"] = "unit", None
    former["logger"] = None
    former["data"] |= {"resize": None, "crop": None}
    former["optim"] |= {"algorithm": "sgd", "ema": None, "gate_share": 0.5, "stem_lr": 1.0}
    former["optim"]["freeze_norms"] = False
    former["augment"] |= {"mixup": 0.0, "cutmix": 0.0}
    assert recipe.to_dict() == former
    assert (recipe.model.alpha, recipe.loss.jsd, recipe.optim.final_lr) == (0.8, 12.0, 2e-6)


def test_missing_recipes(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(MissingFileError, match=r"nope\.yaml does not exist"):
        packaged_recipe("nope.yaml")
    with pytest.raises(InputError, match="did you mean 'digits'"):
        packaged_recipe("digit")


def test_defaults_are_a_recipe():
    assert from_dict(Recipe, {}, "nothing") == Recipe()


def test_devices_are_a_count_or_numbers():
    assert Recipe(devices=2).device_count == Recipe(devices=[1, 3]).device_count == 2
    assert from_dict(Recipe, {"devices": [1]}, "here").devices == [1]
    for wrong in (0, [], [0, 0], [-1]):
        with pytest.raises(InputError, match=r"^devices="):
            Recipe(devices=wrong)
