"""The command line: each command is a function, its options are the function's parameters."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pushpull._version import __version__
from pushpull.errors import InputError, choice


@dataclass(frozen=True)
class Command:
    """Where a command's function is, and what it does in a line."""

    function: str
    help: str


COMMANDS = {
    "quickstart": Command(
        "pushpull.cli.quickstart:quickstart_command", "the whole thing in minutes, on digits"
    ),
    "train": Command("pushpull.cli.train:train_command", "train a network by a recipe"),
    "evaluate": Command("pushpull.cli.evaluate:evaluate_command", "error on clean and corrupted images"),
    "corrupt": Command("pushpull.cli.corrupt:corrupt_command", "a corrupted copy of a data set; a gallery"),
    "export": Command("pushpull.cli.export:export_command", "one checked file for other programs: ONNX"),
    "reproduce": Command(
        "pushpull.cli.reproduce:reproduce_command", "a table of many runs, with seeds and intervals"
    ),
    "compare": Command("pushpull.cli.compare:compare_command", "a table of runs against a baseline"),
}


_NO_DEFAULT = inspect.Parameter.empty
_TYPES = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'str'>": "text"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2, an interruption 130."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_usage())
            return 0
        if arguments[0] == "--version":
            print(f"pushpull {__version__}")
            return 0
        command = choice("command", arguments[0], COMMANDS)
        _run(command, arguments[1:])
    except (InputError, OSError) as error:
        print(f"pushpull: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pushpull: interrupted; what was finished is on disk", file=sys.stderr)
        return 130
    return 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pushpull COMMAND ...",
            "",
            "Image classifiers that withstand corruption, and the means to measure it.",
            "",
            *lines,
            "",
            "pushpull COMMAND --help explains every option; pushpull --version prints the version.",
        ]
    )


def _run(name: str, arguments: list[str]) -> None:
    module, function_name = COMMANDS[name].function.split(":")
    function = getattr(importlib.import_module(module), function_name)
    function(**parse(name, function, arguments))


def parse(name: str, function: Callable[..., Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments for `function` that a command line (and its --config file) gives.

    A parameter without a default is positional, and so is one before a `*`, which may then be left out; a
    list takes values with spaces between, a bool is a switch.
    A parameter called `recipe` is spread: the fields of its dataclass are options and keys of a YAML file.
    One called `options`, of a dataclass too, is spread into options as if each of its fields were a parameter
    after a `*`; the function gets one object.

    Raises:
        InputError: an unknown or malformed option, as one line.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    description = inspect.getdoc(function) or ""
    parser = ArgumentParser(
        prog=f"pushpull {name}",
        description=description.splitlines()[0],
        exit_on_error=False,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(function)
    fields: list[str] = []
    if "recipe" in hints:
        parser.add_argument("--config", action="config", help="a YAML file of these options; later ones win")
        fields = parser.add_class_arguments(hints["recipe"])
    own = _add_parameters(parser, function, hints)
    spread = _add_fields(parser, hints["options"]) if "options" in hints else []
    try:
        values = parser.instantiate(parser.parse_args(_normal(arguments)))
    except ArgumentError as error:
        raise InputError(f"{_mistake(_one_line(error))}; see pushpull {name} --help") from error
    keywords = _given(values, own, hints)
    if fields:
        keywords["recipe"] = hints["recipe"](**{key: values[key] for key in fields})
    if spread:
        kind = hints["options"]
        keywords["options"] = kind(**_given(values, spread, typing.get_type_hints(kind)))
    return keywords


def _given(values: Any, names: Sequence[str], hints: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `names`; where the annotation says tuple, a tuple."""
    given = {}
    for name in names:
        value, hint = values[name], hints[name]
        is_tuple = any(typing.get_origin(option) is tuple for option in (hint, *typing.get_args(hint)))
        given[name] = tuple(value) if is_tuple and value is not None else value
    return given


def _mistake(text: str) -> str:
    """Return what jsonargparse says of a value of the wrong type as: option, value, what is allowed."""
    key = re.match(r'Parser key "([^"]+)"', text)
    value = re.search(r".*(?:Given|Got) value: (.*)", text)  # the last
    expected = re.search(r"Subtypes: \[(.*?)\]|Expected a (<class '\w+'>)", text)
    if key and value and expected:
        kinds = (expected[1] or expected[2]).split(", ")
        allowed = [_TYPES.get(kind, kind) for kind in kinds if kind != "<class 'NoneType'>"]
        if set(allowed) <= set(_TYPES.values()):
            return f"--{key[1]} {value[1]} is not {' or '.join(allowed)}"
    return text


def _normal(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with --batch-size as --batch_size, and the path of a --config that is named."""
    normal: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            option, equals, value = argument.partition("=")
            value = _recipe_path(value) if option == "--config" and equals else value
            normal.append("--" + option[2:].replace("-", "_") + equals + value)
        else:
            normal.append(_recipe_path(argument) if normal and normal[-1] == "--config" else argument)
    return normal


def _recipe_path(name: str) -> str:
    from pushpull.training.recipe import packaged_recipe

    return str(packaged_recipe(name))


def _add_parameters(parser: Any, function: Callable[..., Any], hints: dict[str, Any]) -> list[str]:
    """Add an option for each parameter of `function` but `recipe` and `options`; return their names."""
    texts, parameters = _texts(function), inspect.signature(function).parameters
    starred = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    names = [name for name in parameters if name not in ("recipe", "options")]
    for name in names:
        default = parameters[name].default
        positional = default is _NO_DEFAULT or (
            starred and parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY
        )
        _add_option(parser, name if positional else f"--{name}", hints[name], default, texts.get(name))
    return names


def _add_fields(parser: Any, kind: Any) -> list[str]:
    """Add an option for each field of the dataclass `kind`; return their names."""
    texts, hints = _texts(kind), typing.get_type_hints(kind)
    names = []
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif default is dataclasses.MISSING:
            default = _NO_DEFAULT
        _add_option(parser, f"--{field.name}", hints[field.name], default, texts.get(field.name))
        names.append(field.name)
    return names


def _texts(documented: Any) -> dict[str, str | None]:
    """Return what the docstring of a function or class says of each argument."""
    from docstring_parser import parse as parse_docstring

    return {
        item.arg_name: item.description for item in parse_docstring(inspect.getdoc(documented) or "").params
    }


def _add_option(parser: Any, name: str, hint: Any, default: Any, text: str | None) -> None:
    """Add one option, or one positional argument, which may be left out where it has a default."""
    options: dict[str, Any] = {"help": text}
    named = name.startswith("--")
    if default is not _NO_DEFAULT:
        options["default"] = default
    elif named:
        options["required"] = True
    element = _element(hint)
    if hint is bool:
        options["action"] = "store_true"
    elif element is not None:
        options |= {"nargs": "+", "type": element}
        if isinstance(default, tuple):
            options["default"] = list(default)  # jsonargparse puts the converted items into it
    else:
        options["type"] = hint
    if not named and "default" in options:
        options["nargs"] = "?"
    parser.add_argument(name, **options)


def _element(hint: Any) -> Any:
    """Return the type of the items of a list, tuple or sequence (or None), else None."""
    for option in (hint, *typing.get_args(hint)):
        if typing.get_origin(option) in (list, tuple, Sequence):
            return typing.get_args(option)[0]
    return None
