"""The command line: each command is a function whose parameters are its options."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shlex
import signal
import sys
import threading
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pushpull._version import __version__
from pushpull.errors import InputError, Interrupted, choice, hyphened, printable, say, signal_of

# Command x is the function `x_command` of pushpull.cli.x, if it is not below.
COMMANDS = {
    "quickstart": "the whole thing in minutes, on digits",
    "harden": "make a network more robust, keep its accuracy",
    "train": "train a network by a recipe",
    "evaluate": "error on clean and corrupted images",
    "report": "one page: how robust a model is, or several",
    "corrupt": "a corrupted copy of a data set; a gallery",
    "export": "one checked file for other programs: ONNX; a folder for the hub",
    "reproduce": "a table of many runs, with seeds and intervals",
    "compare": "a table of runs against a baseline",
    "aggregate": "one model's figures on several sets: C, C-bar, P, A, R",
    "leaderboard": "one page over many results",
    "completion": "a script for the tab key of bash or zsh",
}
_HOMES = dict.fromkeys(("compare", "aggregate", "leaderboard"), "pushpull.cli.report") | {
    "harden": "pushpull.cli.train",
    "quickstart": "pushpull.cli.train",
    "completion": "pushpull.cli",
    "reproduce": "pushpull.reports.reproduction",
}


_LONGEST_LINE, _LONGEST_END = 3000, 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2, an interruption 130 or 143.

    Args:
        arguments: the words after `pushpull`; None takes those of this process.

    Returns:
        The exit code: 0, 2, 130 (SIGINT) or 143 (SIGTERM).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else arguments
    format_before = warnings.formatwarning
    try:
        with _signals_end_work():
            words = _without_plugins(given)
            if not words or words[0] in ("-h", "--help"):
                print(_usage())
            elif words[0] == "--version":
                print(f"pushpull {__version__}")
            else:
                _run(choice("command", words[0], COMMANDS), words[1:])
    except (InputError, OSError) as error:
        if not getattr(error, "silent", False):  # of several processes one says it
            said = hyphened(_in_one_line(str(error))) or type(error).__name__
            say(f"pushpull: error: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        if all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK")):  # of several, the first
            say(f"pushpull: {_said(stopped, given)}", file=sys.stderr)
        return 128 + signal_of(stopped)
    finally:
        warnings.formatwarning = format_before
    return 0


def _in_one_line(text: str) -> str:
    """Return `text` as one line; of a very long one, such as a value of a thousand digits, both ends."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_END]} ... {line[-_LONGEST_END:]}"


def _warning_line(message: Warning | str, *_: Any) -> str:
    """Return a warning as a line: what it says is for the user, where it was raised is not."""
    return f"pushpull: warning: {printable(_in_one_line(str(message)))}\n"


@contextmanager
def _signals_end_work() -> Iterator[None]:
    """Have the first SIGTERM or SIGINT end the work, which says how far it is, and a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = False

    def receive(signum: int, _: Any) -> None:
        nonlocal received
        if received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        received = True
        raise Interrupted("interrupted" if signum == signal.SIGINT else "terminated", signum)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _said(stopped: KeyboardInterrupt, arguments: Sequence[str]) -> str:
    """Return how far the work is, and the command that goes on."""
    if not isinstance(stopped, Interrupted) or stopped.go_on is not None:
        return str(stopped) or "interrupted"
    words = [word for word in arguments if word.replace("-", "_") != (stopped.but or "").replace("-", "_")]
    return f"{stopped.how_far}; go on with: {shlex.join(['pushpull', *words])}"


def _without_plugins(arguments: Sequence[str]) -> list[str]:
    """Load what `--plugins FILE [FILE ...]` names, before or after the command; return the other words.

    Its first value may be a module too; the further ones are those that end in .py, so that the name of the
    command, or what a command takes without an option, may follow.
    """
    others: list[str] = []
    plugins: list[str] = []
    words = iter(arguments)
    word = next(words, None)
    while word is not None:
        option, _, value = word.partition("=")
        if option != "--plugins":
            others.append(word)
            word = next(words, None)
            continue
        first = value or next(words, "")
        if not first or first.startswith("-"):
            raise InputError("--plugins names no file; give a Python file, such as --plugins my_stem.py")
        plugins.append(first)
        while (word := next(words, None)) is not None and word.endswith(".py"):
            plugins.append(word)
    if plugins:
        from pushpull.files.registry import load_plugin

        for plugin in plugins:
            load_plugin(plugin)
    return others


def _usage() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: pushpull COMMAND ...",
            "",
            "Image classifiers that withstand corruption, and the means to measure it.",
            "",
            *(f"  {name:{width}}  {help}" for name, help in COMMANDS.items()),
            "",
            "pushpull COMMAND --help explains every option; pushpull --version prints the version.",
            "With any command, --plugins FILE [FILE ...] loads Python files of your own first.",
        ]
    )


def command_function(name: str) -> Callable[..., Any]:
    """Return the function of a command."""
    home = importlib.import_module(_HOMES.get(name, f"pushpull.cli.{name}"))
    found: Callable[..., Any] = getattr(home, name if name == "reproduce" else f"{name}_command")
    return found


def _run(name: str, arguments: list[str]) -> None:
    # Read once, when PyTorch is loaded. Threads that wait busily for each other make a step of the quickstart
    # take 1.1 s beside other work on 2 cores, sleeping ones 0.4 s; alone, busy ones are about a fifth faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from pushpull.cli.parser import parse

    if name not in ("train", "compare") and {"WORLD_SIZE", "SLURM_NTASKS"} & os.environ.keys():
        from pushpull.training.launched import refuse_several

        refuse_several(name)
    if name == "quickstart" and not {"-h", "--help"} & set(arguments):
        say("loading PyTorch, the data comes next ...")  # it may take ten seconds
    command = command_function(name)
    # Lightning, which some commands import, sets a format of its own.
    warnings.formatwarning = _warning_line  # type: ignore[assignment]
    command(**parse(name, command, arguments))


def completion_command(shell: Literal["bash", "zsh"]) -> None:
    """Print a script that completes commands, options and values with the tab key in your shell.

    Args:
        shell: bash or zsh.

    Example:
        pushpull completion bash > ~/.local/share/bash-completion/completions/pushpull
    """
    import shtab

    from pushpull.cli.parser import command_parser

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
    from pushpull.corruptions.benchmark import GROUPS
    from pushpull.corruptions.registry import REGISTRY

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
