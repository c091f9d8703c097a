"""The command `pushpull completion`."""

from __future__ import annotations

import argparse
import typing
from typing import Any, Literal

from pushpull.cli import COMMANDS, command_function
from pushpull.cli.parser import command_parser
from pushpull.corruptions.benchmark import GROUPS
from pushpull.corruptions.registry import REGISTRY
from pushpull.errors import hyphened


def completion_command(shell: Literal["bash", "zsh"]) -> None:
    """Print a script that completes commands, options and values with the tab key in your shell.

    Args:
        shell: bash or zsh.

    Example:
        pushpull completion bash > ~/.local/share/bash-completion/completions/pushpull
    """
    import shtab

    root = argparse.ArgumentParser(prog="pushpull")
    commands = root.add_subparsers()
    for name, text in COMMANDS.items():
        parser, *_ = command_parser(name, command_function(name))
        child = commands.add_parser(name, help=text)
        for action in parser._actions:
            if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
                _add(child, action, shtab.FILE)
    print(shtab.complete(root, shell))


def _add(child: argparse.ArgumentParser, action: Any, file: Any) -> None:
    """Add what the shell needs to know of an option: its name, and its values or that they may be files."""
    help = hyphened(" ".join((action.help or "").split())).partition(". ")[0].replace("%", "%%")
    names = [hyphened(name) for name in action.option_strings] or [action.dest]
    if action.nargs == 0:
        child.add_argument(*names, action="store_true", help=help)
        return
    options: dict[str, Any] = {"help": help}
    if action.nargs in ("+", "?"):
        options["nargs"] = action.nargs
    hint = getattr(action, "_typehint", None)
    for option in (hint, *typing.get_args(hint)):
        if typing.get_origin(option) is Literal:
            options["choices"] = typing.get_args(option)
    if action.dest == "corruptions":
        options["choices"] = (*GROUPS, *REGISTRY)
    added = child.add_argument(*names, **options)
    if not options.get("choices") and not {int, float} & {hint, *typing.get_args(hint)}:
        added.complete = file  # type: ignore[attr-defined]
