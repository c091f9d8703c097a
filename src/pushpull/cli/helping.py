"""What `pushpull COMMAND --help` looks like: groups of options, plain words, one example."""

from __future__ import annotations

import argparse
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from pushpull.errors import hyphened

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


def places(parser: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return where each option is to be added: a group of the parser, or the parser itself."""
    of = {name: title for title, words in _GROUPS.items() for name in words.split()}
    names = list(names)
    used = {of[name] for name in names if name in of}
    groups = {title: parser.add_argument_group(title) for title in _GROUPS if title in used}
    return {name: groups.get(of.get(name, ""), parser) for name in names}


def example_of(function: Callable[..., Any]) -> str:
    """Return the last lines of a command's help: the example in its docstring."""
    from docstring_parser import parse

    found = [item.description or "" for item in parse(inspect.getdoc(function) or "").examples]
    return "\n  ".join(["example:", *found[0].strip().splitlines()]) if found else ""


def _metavar(hint: Any) -> str | None:
    """Return what stands for a number or a choice; None: the option's name does."""
    for option in (hint, *typing.get_args(hint)):
        if option in _METAVARS:
            return _METAVARS[option]
        if typing.get_origin(option) is Literal:
            return "{" + ",".join(map(str, typing.get_args(option))) + "}"
    return None
