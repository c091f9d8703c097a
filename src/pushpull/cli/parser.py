"""From a function's parameters to options of the command line and their help, and back to arguments."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

from pushpull.errors import InputError, hyphened
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

# Options that commands share by name, in the order of the help; of the others, a command's own come first.
_GROUPS = {
    "which model": "weights model_name stem stem_of_weights input_style classes",
    "which images": "data label_column corrupted split limit resize crop size mean std",
    "what is measured": "corruptions severities scale seed seeds rows jpeg_quality adapt adapt_images "
    "adapt_prior adapted",
    "how it runs": "batch_size workers shard_images device accelerator precision compile channels_last "
    "minutes dry_run resume quiet plugins",
    "output": "output overwrite format save_predictions export label title tile opset dynamic_size "
    "tolerance allow_unfinished",
}
_METAVARS = {int: "N", float: "X"}


class Help(DefaultHelpFormatter):
    """The description of an option, and its default where it has one that the description does not say."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 28, **options})

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").strip()
        text += "" if not text or text.endswith((".", "?")) else "."
        default, said = action.default, str(action.default)
        if isinstance(default, bool):
            said = "true" if default else ""
        elif isinstance(default, list | tuple):
            said = " ".join(map(str, default))
        none = default in (None, argparse.SUPPRESS) or not said or not action.option_strings
        return text if none or "default" in text else f"{text} Default: {said}.".strip()

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.nargs == "+" and getattr(action, "_typehint", None) is str:
            return "NAME"
        return _metavar(getattr(action, "_typehint", None)) or super()._get_default_metavar_for_optional(
            action
        )

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):  # a command is not wrapped
            return text
        return super()._fill_text(text, width, indent)


class Parser(ArgumentParser):
    """A parser whose help shows options in one form, with hyphens, and a short line of usage."""

    def format_help(self, *given: Any, **options: Any) -> str:
        """Return the help."""
        takes = []
        for action in self._actions:
            if not action.option_strings:
                word = action.dest.upper() + ("..." if action.nargs == "+" else "")
                takes.append(f"[{word}]" if action.nargs == "?" else word)
        self.usage = " ".join([self.prog, *takes, "[options]"])
        return hyphened(super().format_help(*given, **options))


def _metavar(hint: Any) -> str | None:
    """Return what stands for a number or a choice; None: the option's name does."""
    for option in (hint, *typing.get_args(hint)):
        if option in _METAVARS:
            return _METAVARS[option]
        if typing.get_origin(option) is Literal:
            return "{" + ",".join(map(str, typing.get_args(option))) + "}"
    return None


_Types = dict[str, Any]
_PLUGINS = "Python files of your own, which register stems, corruptions, augmentations or data sources"
_YAML = (".yaml", ".yml", ".json")
_NO_DEFAULT = inspect.Parameter.empty


def parse(name: str, function: Callable[..., Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments for `function` that a command line (and its --config file) gives.

    A parameter without a default is positional, and so is one before a `*`, which may then be left out; a
    list takes values with spaces between, a bool is a switch, with --no-... where it is on by default.
    A parameter called `recipe` is spread: the fields of its dataclass are options and keys of a YAML file.
    One called `options`, of a dataclass too, is spread into options as if each of its fields were a parameter
    after a `*`; the function gets one object.

    Raises:
        InputError: an unknown or malformed option, as one line.
    """
    from jsonargparse import ArgumentError

    parser, own, fields, settings = command_parser(name, function)
    hints = typing.get_type_hints(function)
    recipe, options = hints.get("recipe"), hints.get("options")
    # --batch-size=3 as --batch_size=3
    words = [re.sub("^--[^=]*", lambda found: f"--{found[0][2:].replace('-', '_')}", w) for w in arguments]
    for word in words:
        check_words("the value", word.partition("=")[2] if word.startswith("--") else word)
    words = _with_settings(words, recipe) if recipe else words
    try:
        values = parser.parse_args(words)
    except InputError:
        raise
    except (ArgumentError, *MALFORMED) as error:
        problem = _misfit(words, own | fields, settings) or _in_words(name, parser, words, error)
        raise InputError(f"{problem}; see pushpull {name} --help") from error
    values = built(parser, values)
    keywords = _given(values, own)
    if recipe:
        keywords["recipe"] = recipe(**{key: values[key] for key in typing.get_type_hints(recipe)})
    if options:
        keywords["options"] = options(**_given(values, fields))
    return keywords


def command_parser(name: str, function: Callable[..., Any]) -> tuple[Any, _Types, _Types, _Types]:
    """Return a command's parser, and the types of its parameters, its options' fields and its settings."""
    hints, (texts, example) = typing.get_type_hints(function), _documented(function)
    recipe, options = hints.get("recipe"), hints.get("options")
    parser = Parser(
        prog=f"pushpull {name}",
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        epilog=example,
        formatter_class=Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parameters = {key: value for key, value in inspect.signature(function).parameters.items() if key in hints}
    own = {key: hints[key] for key in parameters if key not in ("recipe", "options")}
    fields = typing.get_type_hints(options) if options else {}
    of_fields = _documented(options)[0] if options else {}
    groups = {name: title for title, words in _GROUPS.items() for name in words.split()}
    used: dict[Any, Any] = {groups.get(name): parser for name in (*own, *fields, "plugins")}
    used |= {title: parser.add_argument_group(title) for title in _GROUPS if title in used}
    settings = _add_recipe(parser, recipe, function) if recipe else {}
    starred = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    for key, hint in own.items():
        default, kind = parameters[key].default, parameters[key].kind
        positional = default is _NO_DEFAULT or (starred and kind is not inspect.Parameter.KEYWORD_ONLY)
        where = parser if positional else used[groups.get(key)]
        _add_option(where, key if positional else f"--{key}", hint, default, texts.get(key))
    defaults = options() if options else None
    for key, hint in fields.items():
        _add_option(used[groups.get(key)], f"--{key}", hint, getattr(defaults, key), of_fields.get(key))
    used[groups["plugins"]].add_argument("--plugins", nargs="+", metavar="FILE", help=_PLUGINS)
    return parser, own, fields, settings


def _in_words(name: str, parser: Any, words: Sequence[str], error: Exception) -> str:
    """Return a mistake of the words themselves: an option that is not there, a value that is missing."""
    known, command = parser._option_string_actions, f"pushpull {name}"
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option not in known and not re.match(r"-\.?\d", option):
            near = difflib.get_close_matches(option, known, n=1)
            return f"{command} has no option {option}" + (f"; did you mean {near[0]}?" if near else "")
    text = " ".join(str(error).split())
    if found := re.search(r"argument (--[\w.]+): expected", text):
        return f"{found[1]} needs a value"
    if found := re.search(r'"(\w+)" is required|are required: (\w+)', text):
        return f"{command} needs {(found[1] or found[2]).upper()}"
    if found := re.search(r"[Uu]nrecognized arguments: (.*)", text):
        return f"{command} takes fewer words: {found[1]} is too many"
    return text


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

    text = "A YAML file of these options, or the name of one that comes with the package; later ones win."
    parser.add_argument("--config", action=ConfigFile, metavar="FILE", help=text)
    parser.add_class_arguments(kind)
    for group in {name.partition(".")[0] for name in types_of(kind) if "." in name}:
        action = parser._option_string_actions.get(f"--{group}")
        if action is not None and "configuration file" in action.help:
            named = "its name, or " if f"{group}.name" in types_of(kind) else ""
            action.help, action.metavar = f"{named}a YAML file of these settings", "FILE"
    return types_of(kind)


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
    named, path = f"{group}.name" in types_of(kind), Path(value)
    with suppress(yaml.YAMLError):
        if isinstance(yaml.safe_load(value), dict | None):
            return "", value
    if path.is_file() and not (named and path.suffix not in _YAML):
        settings = read_yaml(group, value)
        check_values(kind, {group: settings}, value)
        return "", yaml.safe_dump(settings, default_flow_style=True)
    if named:
        return ".name", value
    members = [f"--{name}" for name in types_of(kind) if name.startswith(f"{group}.")]
    raise InputError(f"--{group} {value} is not a setting; give {', '.join(members)}, or a YAML file of them")


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


def _documented(thing: Any) -> tuple[dict[str, str | None], str]:
    """Return what the docstring of a function or class says of each argument, and its example, for a help."""
    from docstring_parser import parse as parse_docstring

    said = parse_docstring(inspect.getdoc(thing) or "")
    examples = [item.description or "" for item in said.examples]
    example = "\n  ".join(["example:", *examples[0].strip().splitlines()]) if examples else ""
    return {item.arg_name: item.description for item in said.params}, example


def _add_option(parser: Any, name: str, hint: Any, default: Any, text: str | None) -> None:
    """Add one option, or one positional argument, which may be left out where it has a default."""
    options: dict[str, Any] = {"help": text}
    if default is not _NO_DEFAULT:
        # jsonargparse puts the converted items of several values into the default.
        options["default"] = list(default) if isinstance(default, tuple) else default
    element = _element(hint)
    if hint is bool:  # where it is on by default, --no-... turns it off
        options["action"] = ActionYesNo(no_prefix="no_") if default is True else "store_true"
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
