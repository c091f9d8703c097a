"""The command line: each command is a function in a file of its name, whose parameters are its options."""

from __future__ import annotations

import importlib
import io
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from pushpull._version import __version__
from pushpull.errors import InputError, Interrupted, choice, printable, say

# Command x is the function `x_command` of pushpull.cli.x.
COMMANDS = {
    "quickstart": "the whole thing in minutes, on digits",
    "harden": "make a network more robust, keep its accuracy",
    "train": "train a network by a recipe",
    "evaluate": "error on clean and corrupted images",
    "corrupt": "a corrupted copy of a data set; a gallery",
    "export": "one checked file for other programs: ONNX",
    "reproduce": "a table of many runs, with seeds and intervals",
    "compare": "a table of runs against a baseline",
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
    before, format_before = _on_sigterm(_terminated), warnings.formatwarning
    try:
        words = _without_plugins(sys.argv[1:] if arguments is None else arguments)
        if not words or words[0] in ("-h", "--help"):
            print(_usage())
        elif words[0] == "--version":
            print(f"pushpull {__version__}")
        else:
            _run(choice("command", words[0], COMMANDS), words[1:])
    except (InputError, OSError) as error:
        say(f"pushpull: error: {_in_one_line(str(error)) or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        say(f"pushpull: {stopped or 'interrupted; what was finished is on disk'}", file=sys.stderr)
        return 128 + getattr(stopped, "signum", signal.SIGINT)
    finally:
        warnings.formatwarning = format_before
        _on_sigterm(before)
    return 0


def _in_one_line(text: str) -> str:
    """Return `text` as one line; of a very long one, such as a value of a thousand digits, both ends."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_END]} ... {line[-_LONGEST_END:]}"


def _warning_line(message: Warning | str, *_: Any) -> str:
    """Return a warning as a line: what it says is for the user, where it was raised is not."""
    return f"pushpull: warning: {printable(_in_one_line(str(message)))}\n"


def _on_sigterm(handler: Any) -> Any:
    """Have SIGTERM handled by `handler`, where this thread may say so; return what did before."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, handler)


def _terminated(signum: int, _: Any) -> None:
    raise Interrupted("terminated; what was finished is on disk", signum)


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
        from pushpull.files.plugins import load_plugin

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


def _run(name: str, arguments: list[str]) -> None:
    from pushpull.cli.parser import parse

    command = getattr(importlib.import_module(f"pushpull.cli.{name}"), f"{name}_command")
    # Lightning, which some commands import, sets a format of its own.
    warnings.formatwarning = _warning_line  # type: ignore[assignment]
    command(**parse(name, command, arguments))
