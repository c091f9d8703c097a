"""Ordinary mistakes, each of a kind that can stand in several places: one line, nothing computed."""

import json

import pytest
from safetensors.torch import save_file

from pushpull.cli import main
from pushpull.cli.parser import parse
from pushpull.cli.train import train_command
from pushpull.data import Preprocessing
from pushpull.data.subsets import read_class_list
from pushpull.errors import InputError
from pushpull.evaluation.results import Results
from pushpull.export import read_card
from pushpull.files import atomic_path, read_json, user_path, writable_folder
from pushpull.models import create_model
from pushpull.models.factory import ModelConfig
from pushpull.models.network import load_network
from pushpull.training.recipe import AugmentConfig, read_recipe

NOBODY = "~nobody-of-this-name/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preprocessing: {std: [0, 1, 1]}", "std=.* not positive"),
        ("preprocessing: {mean: [.nan, 0, 0]}", "mean=.* not finite"),
        ("preprocessing: {size: 0}", "size=0 is not a positive number"),
        ("preprocessing: {size: [3, -1]}", "size=-1 is not a positive number"),
        ("preprocessing: {size: 1000000}", "size=1000000 is above 8192"),
        ("model: {name: null}", "model.name=None must be text"),
        ("model: {stem: null}", "model.stem=None must be text"),
        ("data: {name: null}", "data.name=None must be text"),
        ("epochs: null", "epochs=None must be a whole number"),
        ("augment: {padding: 1000000}", r"padding=1000000 must be 0..32 pixels"),
        ("augment: {crop: 1000000, padding: 1000000}", "crop=1000000 must be"),
        ("augment: {crop: null, padding: 5000}", r"padding=5000 must be 0..4096"),
        ("augment: {resize: 1000000}", r"resize=1000000 must be 1..4096"),
    ],
)
def test_a_recipe_is_refused_the_same_way_from_everywhere(text, message, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    for read in (read_recipe, lambda path: parse("train", train_command, ["--config", str(path)])):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_group_of_settings_in_a_file_is_read_as_a_recipe(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("name: resnet8\nstem: pp3\n")
    for words in (["--model", str(path)], [f"--model={path}"]):
        model = parse("train", train_command, [*words, "--model.stem", "pp5"])["recipe"].model
        assert model == ModelConfig("resnet8", "pp5")
    path.write_text("&a {name: *a}")
    with pytest.raises(InputError, match="holds itself"):
        parse("train", train_command, ["--model", str(path)])
    path.write_text("nam: resnet8")
    with pytest.raises(InputError, match="did you mean 'name'"):
        parse("train", train_command, ["--model", str(path)])


@pytest.mark.parametrize(
    "words",
    [["--preprocessing.std", "[0, 1, 1]"], ["--preprocessing.size", "0"], ["--preprocessing.size=[1, 0]"]],
)
def test_a_preprocessing_of_the_command_line(words, capsys):
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert "not a positive number" in error or "not positive" in error
    assert "Union" not in error


def test_a_preprocessing_in_python():
    for given in ({"size": 3.5}, {"size": None, "std": (1, 0, 1)}, {"size": 0}, {"mean": [10**400] * 3}):
        with pytest.raises(InputError):
            Preprocessing(**given)
    for values in (5, None, [], "x", {1: 2, "a": 3}):
        with pytest.raises(InputError, match="give mean, std"):
            Preprocessing.from_dict(values)
    with pytest.raises(InputError, match=r"model\.name=None must be text"):
        ModelConfig(None)
    AugmentConfig(crop=2)  # with the padding by default


@pytest.mark.parametrize("place", [NOBODY, f"{NOBODY}.py", "a\0b", "a\0b.py"])
def test_paths_of_nobody_and_with_nul(place, tmp_path, capsys):
    weights = tmp_path / "w.pth"
    weights.touch()
    lines = [
        ["train", "--data.name", place],
        ["train", "--data.classes", place],
        ["train", "--model.weights", place],
        ["train", "--loss.teacher", place],
        ["train", "--config", place],
        ["train", "--output", place],
        ["report", "runs", "--output", place],
        ["quickstart", "--output", place],
        ["evaluate", place],
        ["evaluate", "resnet8", "--weights", place, "--data", "digits"],
        ["evaluate", "resnet8", "--weights", str(weights), "--data", place],
        ["evaluate", "resnet8", "--weights", str(weights), "--data", "digits", "--classes", place],
        ["evaluate", "resnet8", "--weights", str(weights), "--corrupted", place],
        ["export", place],
        ["export", "resnet8", "--weights", str(weights), "--classes", place],
        ["compare", place, place],
        ["corrupt", place, str(tmp_path / "copy")],
        ["corrupt", "digits", place],
        ["corrupt", place, "--gallery"],
        ["reproduce", place],
        ["reproduce", "cifar10", "--classes", place, "--data", place, "--output", str(tmp_path / "t")],
        ["quickstart", "--data", place, "--output", str(tmp_path / "q")],
        ["--plugins", place, "train"],
    ]
    for line in lines:
        if line[:3] == ["corrupt", "digits", place] and "\0" not in place and "." in place:
            continue
        assert main(line) == 2, line
        error = capsys.readouterr().err
        assert error.startswith("pushpull: error: "), line
        assert error.count("\n") == 1, line
        assert "Traceback" not in error


def test_paths_in_python(tmp_path):
    for use in (user_path, writable_folder, read_class_list):
        with pytest.raises(InputError):
            use("a\0b")
    with pytest.raises(InputError, match="NUL"), atomic_path("a\0b"):
        pass
    with pytest.raises(InputError, match="no home folder of that user"):
        user_path(NOBODY)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 2000 + "1" + "}" * 2000, "[" * 60 + "]" * 60])
def test_json_without_end(text, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(text)
    for read in (read_json, Results.load):
        with pytest.raises(InputError, match=r"results\.json") as caught:
            read(path)
        assert "\n" not in str(caught.value)


NOTES = [
    ("classes", "5"),
    ("classes", "null"),
    ("classes", '{"a": 1}'),
    ("classes", "[1, 2]"),
    ("classes", "[]"),
    ("classes", "cat, dog"),
    ("classes", "[" * 100_000),
    ("preprocessing", "5"),
    ("preprocessing", '"x"'),
    ("preprocessing", '{"mean": 3, "std": [1, 1, 1]}'),
    ("preprocessing", '{"mean": [0, 0, 0], "std": [0, 0, 0]}'),
    ("preprocessing", '{"mean": [0, 0, 0], "std": [1, 1, 1], "size": 0}'),
    ("alpha", "many"),
    ("alpha", '"many"'),
    ("alpha", "NaN"),
    ("alpha", "1" + "0" * 400),
    ("alpha", "true"),
    ("model", "x"),
    ("model", ""),
    ("stem", "x"),
    ("input_style", "x"),
]


@pytest.fixture(scope="module")
def state():
    return create_model("resnet8", stem="pp3", input_style="cifar", num_classes=2).state_dict()


@pytest.mark.parametrize(("key", "text"), NOTES)
def test_notes_of_a_file_of_weights_that_are_not_ours(key, text, state, tmp_path):
    path = tmp_path / "model.safetensors"
    notes = {"model": "resnet8", "stem": "pp3", "input_style": "cifar", "alpha": "null"}
    notes |= {"classes": '["a", "b"]', "preprocessing": "null"}
    save_file(state, path, notes)
    assert load_network(path).classes == ["a", "b"]
    save_file(state, path, notes | {key: text})
    with pytest.raises(InputError) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    (tmp_path / "recipe.yaml").write_text("model: {name: resnet8, stem: pp3, input_style: cifar}")
    if key == "classes":
        with pytest.raises(InputError, match="classes"):
            load_network(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "5"},
        {"size": "[1]"},
        {"size": "null"},
        {"framing": "{"},
        {"framing": '{"a": 1}'},
        {"size": None},
    ],
)
def test_a_card_that_is_damaged(change):
    texts = {"format": "pushpull-export/1", "classes": '["a"]', "size": "[3, 4]", "framing": "{}"}
    texts["preprocessing"] = json.dumps(Preprocessing().to_dict())
    assert read_card(texts, "f").size == (3, 4)
    texts |= change
    with pytest.raises(InputError, match="f is damaged"):
        read_card({key: text for key, text in texts.items() if text is not None}, "f")
