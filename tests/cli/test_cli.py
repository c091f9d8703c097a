import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

from pushpull.cli import COMMANDS, command_function, main
from pushpull.cli.parser import command_parser, parse
from pushpull.cli.train import _words, train_command
from pushpull.errors import InputError
from pushpull.files.registry import loaded_plugins


def _error(capsys, *arguments):
    """Run a command that must fail; return the one line it prints."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("pushpull: error: ")
    assert "\n" not in error
    assert "Traceback" not in error
    return error


def test_the_commands_are_listed(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text and help in text for name, help in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"pushpull {name}" in text
    assert "--plugins FILE" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_in_plain_words_grouped_and_ends_with_an_example(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert not re.search(r"type: |null\)|default: |Literal|\[\w+ \.\.\.\] \[--", text)
    assert not re.search(r"--[\w.]*_", text)
    assert re.search(rf"\nexample:\n  pushpull {name} .*\n$", text)
    assert "\nhow it runs:\n" in text
    if name not in ("quickstart", "completion"):
        assert "\noutput:\n" in text or name == "corrupt"
    example = text.rpartition("\n  ")[2].partition(" > ")[0]
    parse(name, command_function(name), example.split()[2:])


@pytest.mark.parametrize(
    "words",
    [
        ["--data.validation-fraction", "0.2", "--batch-size=8"],
        ["--data.validation_fraction=0.2", "--batch_size", "8"],
    ],
)
def test_options_are_taken_with_hyphens_and_underscores(words):
    recipe = parse("train", train_command, words)["recipe"]
    assert (recipe.data.validation_fraction, recipe.batch_size) == (0.2, 8)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate", "pushpull evaluate needs MODEL; see pushpull evaluate --help"),
        ("evaluate a b", "pushpull evaluate takes fewer words: b is too many"),
        ("evaluate run --limit", "--limit needs a value"),
        ("evaluate run --limt 3", "pushpull evaluate has no option --limt; did you mean --limit?"),
        ("compare a", "pushpull compare needs RUNS"),
        ("evaluate a.pth --weights b.pth --model_name x", "leave out --weights"),
        ("evaluate timm:a --model_name x", "--model-name goes with a file of weights"),
    ],
)
def test_mistakes_of_the_words_are_in_plain_words_too(line, said, capsys):
    assert said in _error(capsys, *line.split())


_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p pushpull | sed 's/.*-F \\([^ ]*\\).*/\\1/') pushpull "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
echo "${COMPREPLY[*]}"
"""


def test_the_shell_completes_commands_options_and_values(tmp_path, capsys):
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef pushpull")
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "pushpull"
    script.write_text(capsys.readouterr().out)
    for words, found in (
        ("eva", "evaluate"),
        ("evaluate --jpeg", "--jpeg-quality"),
        ("evaluate --corruptions fo", "fog"),
        ("train --data.validation", "--data.validation-fraction"),
        ("compare a b --format m", "markdown"),
    ):
        command = ["bash", "-c", _BASH, "bash", str(script), "pushpull", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [found]


def test_help_of_train_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "--optim.max-lr",
        "learning rate at the peak",
        "--model.stem",
        "--data.fraction",
        "--epochs",
    ):
        assert words in text


def test_options_override_the_recipe_and_dashes_are_underscores():
    arguments = ["--config", "digits", "--optim.max_lr", "0.3", "--batch-size=32", "--overwrite"]
    values = parse("train", train_command, arguments)
    assert values["overwrite"] is True
    assert values["resume"] is False
    recipe = values["recipe"]
    assert (recipe.optim.max_lr, recipe.batch_size) == (0.3, 32)
    assert recipe.model.name == "resnet8"
    assert recipe.data.name == "digits"
    assert recipe.preprocessing.mean == (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Choices:
    """What can be chosen.

    Args:
        batch_size: images in a step.
        names: which ones.
        levels: how strong.
        precision: of the numbers.
        limit: at most so many.
        overwrite: start again.
    """

    batch_size: int = 7
    names: Sequence[str] | None = None
    levels: tuple[int, ...] | None = (1, 2)
    precision: Literal["fp32", "bf16"] = "fp32"
    limit: int | None = None
    overwrite: bool = False
    places: list[str] = field(default_factory=lambda: ["here"])


def _choose(what: str, output: str | None = None, *, options: Choices = Choices(), loud: bool = False):
    """Choose."""


def _choose_one_by_one(
    what: str,
    output: str | None = None,
    *,
    batch_size: int = 7,
    names: Sequence[str] | None = None,
    levels: tuple[int, ...] | None = (1, 2),
    precision: Literal["fp32", "bf16"] = "fp32",
    limit: int | None = None,
    overwrite: bool = False,
    places: list[str] = ["here"],  # noqa: B006
    loud: bool = False,
):
    """Choose."""


@pytest.mark.parametrize(
    "arguments",
    [
        "it",
        "it there --loud",
        "it --batch-size=3 --names a b --levels 4 5 --precision bf16 --limit 6 --overwrite --places x y",
        "it --limit null --names a",
    ],
)
def test_the_fields_of_a_class_of_options_are_options(arguments):
    values = parse("choose", _choose, arguments.split())
    apart = parse("choose", _choose_one_by_one, arguments.split())
    assert set(values) == {"what", "output", "options", "loud"}
    assert isinstance(values["options"], Choices)
    assert vars(values.pop("options")) | values == apart


def test_the_options_of_a_class_are_checked_and_explained(capsys):
    for arguments, text in (
        (
            ["it", "--batch_size", "many"],
            "--batch_size many is not a whole number; see pushpull choose --help",
        ),
        (["it", "--precision", "fp8"], "fp8"),
        (["it", "--size", "3"], "--size"),
    ):
        with pytest.raises(InputError, match=text):
            parse("choose", _choose, arguments)
    with pytest.raises(SystemExit):
        parse("choose", _choose, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "--batch-size N images in a step. Default: 7.",
        "--overwrite start again.",
    ):
        assert words in text


def test_a_recipe_is_named_with_an_equals_sign_too():
    assert parse("train", train_command, ["--config=digits"])["recipe"].data.name == "digits"
    with pytest.raises(InputError, match="did you mean 'digits'"):
        parse("train", train_command, ["--config=digit"])


@pytest.mark.parametrize("words", [["--data", "photos"], ["--data=photos"], ["--data", "photos.parquet"]])
def test_a_group_of_settings_takes_its_name(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.parquet").write_bytes(b"PAR1")
    recipe = parse("train", train_command, [*words, "--model", "resnet14", "--data.fraction", "0.5"])[
        "recipe"
    ]
    assert recipe.data.name == words[-1].removeprefix("--data=")
    assert (recipe.data.fraction, recipe.model.name) == (0.5, "resnet14")


def test_a_group_without_a_name_says_its_settings(capsys):
    error = _error(capsys, "train", "--optim", "adamw")
    assert "--optim adamw is not a setting; give --optim.algorithm, --optim.initial-lr" in error


def test_mistakes_are_one_line(capsys, tmp_path):
    assert "did you mean 'train'" in _error(capsys, "tran")
    assert "--epoch" in _error(capsys, "train", "--epoch", "3")
    assert "epochs" in _error(capsys, "train", "--epochs", "many")
    assert "resnet8" in _error(capsys, "train", "--model.name", "resnet9", "--output", str(tmp_path / "a"))
    assert "pp3" in _error(capsys, "train", "--model.stem", "pp4", "--output", str(tmp_path / "b"))
    assert "recipe nope.yaml does not exist" in _error(capsys, "train", "--config", "nope.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("epoch: 3")
    assert "did you mean 'epochs'" in _error(capsys, "train", "--config", str(bad))
    bad.write_text("optim: {max_lr: high}")
    assert f"{bad}: optim.max_lr='high' must be a number" in _error(capsys, "train", "--config", str(bad))
    assert "'pq3'" in _error(capsys, "quickstart", "--stem", "pq3", "--output", str(tmp_path / "q"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in _error(capsys, "train", "--data.name", str(empty), "--output", str(tmp_path / "c"))
    run = ["evaluate", "resnet8"]
    assert "weights" in _error(capsys, *run)
    assert "does not exist" in _error(capsys, "compare", str(tmp_path / "none"), str(tmp_path / "none2"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "cannot be written" in _error(
        capsys, "train", "--config", "digits", "--output", str(blocked / "run")
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["corrupt", "--jpeg_quality", "85.5"], "--jpeg-quality 85.5 is not a whole number; see "),
        (["corrupt", "--limit", "1e9"], "--limit 1e9 is not a whole number; see "),
        (["corrupt", "--limit", "many"], "--limit many is not a whole number; see "),
        (["corrupt", "--seed", "x"], "--seed x is not a whole number; see "),
        (["corrupt", "--severities", "1", "b"], "--severities b is not a whole number; see "),
        (["train", "--optim.max_lr", "high"], "--optim.max-lr high is not a number; see "),
        (
            ["train", "--preprocessing.size=a"],
            "--preprocessing.size a is not a list of 2, each a whole number or",
        ),
        (["train", "--precision", "fp8"], "--precision fp8 is not fp32 or bf16; see "),
    ],
)
def test_a_value_of_the_wrong_type_is_said_in_plain_words(capsys, arguments, text):
    assert text in _error(capsys, *arguments)


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Two files that say that they were imported."""
    monkeypatch.setattr("pushpull.files.registry._loaded", {})
    paths = [tmp_path / f"{name}.py" for name in ("first", "second")]
    for path in paths:
        path.write_text(f"print('{path.stem} is loaded')")
    return [str(path) for path in paths]


@pytest.mark.parametrize(
    "line",
    [
        "--plugins FIRST SECOND compare A B",
        "compare --plugins FIRST SECOND A B",
        "--plugins FIRST compare A B --plugins=SECOND",
        "compare A B --plugins FIRST --plugins SECOND",
    ],
)
def test_plugins_are_loaded_wherever_they_stand(line, plugins, tmp_path, capsys):
    names = {"FIRST": plugins[0], "SECOND": plugins[1], "A": str(tmp_path / "a"), "B": str(tmp_path / "b")}
    assert main([names.get(word, word.replace("SECOND", plugins[1])) for word in line.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == "first is loaded\nsecond is loaded\n"
    assert "does not exist" in printed.err  # of compare: the other words reached it
    assert loaded_plugins() == plugins


def test_mistakes_with_plugins_are_one_line(capsys, tmp_path):
    assert "none.py does not exist" in _error(capsys, "train", "--plugins", "none.py")
    assert "--plugins names no file" in _error(capsys, "--plugins", "--config", "digits")
    assert "--plugins names no file" in _error(capsys, "train", "--plugins")
    (tmp_path / "bad.py").write_text("1 / 0")
    assert "ZeroDivisionError" in _error(capsys, "train", f"--plugins={tmp_path / 'bad.py'}")


def test_another_mistake_is_not_blamed_on_an_option_before(capsys):
    error = _error(capsys, "evaluate", "--limit", "5", "run", "--overwrite", "--severties", "3")
    assert "pushpull evaluate has no option --severties; did you mean --severities?" in error
    assert "--channels-last maybe is not true or false" in _error(capsys, "train", "--channels-last", "maybe")


def test_the_program_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "pushpull", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("pushpull ")


@pytest.mark.parametrize("given", [None, "active"])
def test_threads_sleep_while_they_wait_unless_the_environment_says_otherwise(given, monkeypatch, capsys):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert os.environ["OMP_WAIT_POLICY"] == (given or "passive")


@pytest.mark.parametrize("name", ["evaluate", "harden", "export", "corrupt", "reproduce", "report"])
def test_a_switch_that_is_on_can_be_turned_off(name):
    parser = command_parser(name, command_function(name))[0]
    on = [action for action in parser._actions if action.default is True and action.nargs == 0]
    assert all(any(option.startswith("--no_") for option in action.option_strings) for action in on)


def test_no_before_a_switch_is_its_opposite():
    options = [
        parse("harden", command_function("harden"), ["m", *words])["options"].freeze_norms
        for words in ([], ["--freeze-norms"], ["--no-freeze-norms"])
    ]
    assert options == [True, True, False]
    assert _words({"freeze_norms": False, "ema": None}) == ["--no_freeze_norms", "--ema", "null"]
