"""From a function's parameters to options of the command line, and from these to keyword arguments."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from pushpull.errors import InputError
from pushpull.files.yaml import (
    MALFORMED,
    built,
    check_values,
    check_words,
    fits,
    packaged_file,
    read_yaml,
    type_in_words,
    types_of,
)

_PLUGINS = "Python files of your own, which register stems, corruptions, augmentations or data sources"
_YAML = (".yaml", ".yml", ".json")
_NO_DEFAULT = inspect.Parameter.empty


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

    hints = typing.get_type_hints(function)
    recipe, options = hints.get("recipe"), hints.get("options")
    parser = ArgumentParser(
        prog=f"pushpull {name}",
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        exit_on_error=False,
        allow_abbrev=False,
    )
    settings = _add_recipe(parser, recipe, function) if recipe else {}
    own = _add_parameters(parser, function, hints)
    fields = _add_fields(parser, options) if options else {}
    parser.add_argument("--plugins", nargs="+", metavar="FILE", help=_PLUGINS)
    words = [_underscored(word) for word in arguments]
    for word in words:
        check_words("the value", word.partition("=")[2] if word.startswith("--") else word)
    words = _with_settings(words, recipe) if recipe else words
    try:
        values = parser.parse_args(words)
    except InputError:
        raise
    except (ArgumentError, *MALFORMED) as error:
        problem = _misfit(words, own | fields, settings) or " ".join(str(error).split())
        raise InputError(f"{problem}; see pushpull {name} --help") from error
    values = built(parser, values)
    keywords = _given(values, own)
    if recipe:
        keywords["recipe"] = recipe(**{key: values[key] for key in typing.get_type_hints(recipe)})
    if options:
        keywords["options"] = options(**_given(values, fields))
    return keywords


def _add_recipe(parser: Any, kind: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """Add --config and an option for each setting of a recipe; return their types by dotted names.

    --config takes a file, or the name of one that comes with the package, and refuses what a recipe's other
    readers refuse.
    """
    from jsonargparse import ActionConfigFile

    others = inspect.signature(function).parameters  # may stand in the file too

    class ConfigFile(ActionConfigFile):  # type: ignore[misc]
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
            path = packaged_file("recipe", values)
            settings = read = read_yaml("recipe", path)
            if isinstance(read, dict):
                settings = {key: value for key, value in read.items() if key not in others}
                check_words(str(path), list(read.values()))
            check_values(kind, settings, str(path))
            # Not the path: jsonargparse would read the file again, in its own way.
            super().__call__(parser, namespace, yaml.safe_dump(read), option_string)

    parser.add_argument("--config", action=ConfigFile, help="a YAML file of these options; later ones win")
    parser.add_class_arguments(kind)
    return types_of(kind)


def _underscored(word: str) -> str:
    """Return --batch-size=3 as --batch_size=3."""
    option, equals, value = word.partition("=")
    return option.replace("-", "_").replace("__", "--", 1) + equals + value if word.startswith("--") else word


def _with_settings(words: Sequence[str], kind: Any) -> list[str]:
    """Return the words with what is meant where a value stands for a group of settings.

    Of a YAML file what it holds: `--model FILE` is read as --config is; jsonargparse would do it in its own
    way. Another word is the group's name, if it has one: `--data photos` is `--data.name photos`.
    """
    groups = {field.name for field in dataclasses.fields(kind)} - set(types_of(kind))
    done: list[str] = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        before = "" if option else (done.pop() if done and done[-1].removeprefix("--") in groups else "")
        group = (option or before).removeprefix("--")
        if group in groups and (equals or before):
            member, value = _settings(kind, group, value)
            option, before = (f"{given}{member}" if given else "" for given in (option, before))
            word = option + equals + value
        done += [before, word] if before else [word]
    return done


def _settings(kind: Any, group: str, value: str) -> tuple[str, str]:
    """Return what is meant by a value that is given for a group: "" and YAML, or ".name" and a name.

    Raises:
        InputError: a word for a group that has no name.
    """
    named = f"{group}.name" in types_of(kind)
    path = Path(value)
    if path.is_file() and not (named and path.suffix not in _YAML):
        settings = read_yaml(group, value)
        check_values(kind, {group: settings}, value)
        return "", yaml.safe_dump(settings, default_flow_style=True)
    with suppress(yaml.YAMLError):
        if isinstance(yaml.safe_load(value), dict | None):
            return "", value
    if named:
        return ".name", value
    members = [f"--{name}" for name in types_of(kind) if name.startswith(f"{group}.")]
    raise InputError(f"--{group} {value} is no setting; give {', '.join(members)}, or a YAML file of them")


def _misfit(words: Sequence[str], options: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """Return what is wrong with the first value that is not of its option's type, None where all are."""
    option = ""
    for word in words:
        if word.startswith("--"):
            option, equals, word = word[2:].partition("=")
            if not equals:
                continue
        items = _element(options.get(option))
        hint = items or options.get(option) or settings.get(option)
        switch = options.get(option) is bool  # what follows it is not its value
        if hint and not switch and not fits(word, hint):
            return f"--{option} {word} is not {type_in_words(hint)}"
        option = option if items else ""  # what follows one value is no longer the option's
    return None


def _given(values: Any, types: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `types`' names; where the annotation says tuple, a tuple."""
    given = {}
    for name, hint in types.items():
        is_tuple = any(typing.get_origin(option) is tuple for option in (hint, *typing.get_args(hint)))
        given[name] = tuple(values[name]) if is_tuple and values[name] is not None else values[name]
    return given


def _add_parameters(parser: Any, function: Callable[..., Any], hints: dict[str, Any]) -> dict[str, Any]:
    """Add an option for each parameter of `function` but `recipe` and `options`; return their types."""
    texts, parameters = _texts(function), inspect.signature(function).parameters
    starred = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    types = {name: hints[name] for name in parameters if name not in ("recipe", "options")}
    for name, hint in types.items():
        default = parameters[name].default
        positional = default is _NO_DEFAULT or (
            starred and parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY
        )
        _add_option(parser, name if positional else f"--{name}", hint, default, texts.get(name))
    return types


def _add_fields(parser: Any, kind: Any) -> dict[str, Any]:
    """Add an option for each field of the dataclass `kind`, which all have defaults; return their types."""
    texts, hints = _texts(kind), typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    for field in fields:
        make = field.default_factory
        default = field.default if make is dataclasses.MISSING else make()
        _add_option(parser, f"--{field.name}", hints[field.name], default, texts.get(field.name))
    return {field.name: hints[field.name] for field in fields}


def _texts(documented: Any) -> dict[str, str | None]:
    """Return what the docstring of a function or class says of each argument."""
    from docstring_parser import parse as parse_docstring

    return {
        item.arg_name: item.description for item in parse_docstring(inspect.getdoc(documented) or "").params
    }


def _add_option(parser: Any, name: str, hint: Any, default: Any, text: str | None) -> None:
    """Add one option, or one positional argument, which may be left out where it has a default."""
    options: dict[str, Any] = {"help": text}
    if default is not _NO_DEFAULT:
        # jsonargparse puts the converted items of several values into the default.
        options["default"] = list(default) if isinstance(default, tuple) else default
    element = _element(hint)
    if hint is bool:
        options["action"] = "store_true"
    elif bool in typing.get_args(hint):  # a switch that may have a word too
        options |= {"nargs": "?", "const": True, "type": hint}
    elif element is not None:
        options |= {"nargs": "+", "type": element}
    else:
        options["type"] = hint
    if "default" in options and not name.startswith("--"):
        options["nargs"] = "?"
    parser.add_argument(name, **options)


def _element(hint: Any) -> Any:
    """Return the type of the items of a list, tuple or sequence (or None), else None."""
    for option in (hint, *typing.get_args(hint)):
        if typing.get_origin(option) in (list, tuple, Sequence):
            return typing.get_args(option)[0]
    return None
