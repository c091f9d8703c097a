"""Every YAML file goes through one bounded reader: what is wrong with a file is one line, at once."""

import pytest

from pushpull.cli import main
from pushpull.cli.parser import parse
from pushpull.cli.train import train_command
from pushpull.errors import InputError
from pushpull.files.yaml import read_yaml
from pushpull.reports.table_file import read_table
from pushpull.training.recipe import read_recipe

# Nine levels of nine: a thousand million values in half a kilobyte.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
READERS = {
    "recipe": read_recipe,
    "table": read_table,
    "--config": lambda path: parse("train", train_command, ["--config", str(path)]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "more than 50000 values"),
        ("&a {model: *a}", "&a holds itself"),
        ("recipe: &a [[*a]]", "&a holds itself"),
        ("epochs: 1\nepochs: 2", "'epochs' stands twice in one place"),
        ("model: {name: resnet8, name: resnet14}", "'name' stands twice in one place"),
        ("title: é".encode("latin-1"), "is not text in UTF-8 .*; save it as UTF-8"),
        ("epochs: 3".encode("utf-16"), "is not text in UTF-8 .*; save it as UTF-8"),
        ("epochs: !!float x", "not valid YAML: .*'x'"),
        ("epochs: !!bool x", "not valid YAML"),
        ("epochs: !!int ''", "not valid YAML"),
        ("epochs: !!binary aGk=", "not valid YAML"),
        ("epochs: 1" + ":59" * 5000 + ".5", "not valid YAML"),
        ("[" * 5000, "levels|nesting depth"),
        ("{a: " * 5000, "levels|nesting depth"),
        ("- " * 5000, "more than 40 levels"),
        ("\n".join(" " * i + "a:" for i in range(1000)), "more than 40 levels"),
        ("epochs: " + "9" * 5000, r"above 2\^63"),
        ("epochs: 0x" + "f" * 5000, r"above 2\^63"),
        ("epochs: 1" + ":59" * 5000, r"above 2\^63"),
        ('data: {name: "a\\0b"}', "holds the character"),
        ("".join(f"k{i}: 1\n" for i in range(30_000)), "more than 50000 values"),
        ("a" * 1_000_001, "more than a megabyte"),
        ("? [a, b]\n: 3", "unhashable key"),
    ],
)
def test_a_hostile_file_is_one_line(reader, content, message, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_date_is_text_and_a_day_that_is_none_too(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("data: {name: 2001-99-99, label: 2001-02-03}")
    assert read_recipe(path).data.name == "2001-99-99"
    given = parse("train", train_command, ["--config", str(path)])["recipe"].data
    assert (given.name, given.label) == ("2001-99-99", "2001-02-03")


def test_aliases_merges_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert read_yaml("file", path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


def test_the_file_wins_as_before_by_config(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("epochs: 3\noutput: there\noptim: {weight_decay: 1e-5}\nmodel: {weights: '3'}\n")
    given = parse("train", train_command, ["--epochs", "2", "--config", str(path), "--output", "here"])
    assert (given["recipe"].epochs, given["recipe"].optim.weight_decay, given["output"]) == (3, 1e-5, "here")
    assert given["recipe"].model.weights == "3"


@pytest.mark.parametrize(
    "value",
    [BOMB, "&a [*a]", "[" * 5000, "9" * 5000, "!!float x", "!!timestamp 2001-99-99", "a\0b", "a\udc80"],
)
def test_a_hostile_word_is_one_line(value, tmp_path, capsys):
    path = tmp_path / "r.yaml"
    path.write_text("epochs: '" + value.replace("\n", "\n  ").replace("\0", "").replace("\udc80", "") + "'")
    for words in (["--epochs", value], [f"--epochs={value}"], ["--config", str(path)]):
        assert main(["train", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("pushpull: error: ")
        assert error.count("\n") == 1
