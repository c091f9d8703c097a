"""The errors that a user can cause: each says the value, what is allowed, and the remedy."""

from __future__ import annotations

import dataclasses
import difflib
import operator
import re
import signal
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

T = TypeVar("T")
_PLAIN = {int, float, bool, type(None)}


class InputError(ValueError):
    """A mistake in what was given: an argument, an option, a file. The command line prints it as one line.

    Args:
        problem: what is wrong; the remedy too, where it is the same for every caller.
        remedy: what to do, where that is an option of one command: another command gives its own
            (`with_remedy`). The message is both, with a semicolon between.

    >>> str(InputError("epochs=0 must be at least 1", remedy="give --epochs"))
    'epochs=0 must be at least 1; give --epochs'
    """

    def __init__(self, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy

    def with_remedy(self, remedy: str) -> InputError:
        """Return the error with this remedy in place of its own; itself where it keeps none apart."""
        return self if self.remedy is None else InputError(self.problem, remedy=remedy)


class MissingFileError(InputError, FileNotFoundError):
    """A named file or folder is not there."""

    # OSError's __str__ would look for errno and strerror; the message is ours.
    __str__ = Exception.__str__


class Interrupted(KeyboardInterrupt):
    """Work that a signal ended, with what was finished on disk.

    Args:
        how_far: what is done; the command line prints it.
        signum: the signal; the exit code is 128 more.
        go_on: the command that goes on; None: the one that was given, of which only its caller knows.
        but: an option that the command must not have any more, since it would delete what is done.
    """

    def __init__(
        self, how_far: str, signum: int = signal.SIGINT, *, go_on: str | None = None, but: str | None = None
    ) -> None:
        super().__init__(how_far if go_on is None else f"{how_far}; go on with: {go_on}")
        self.how_far, self.signum, self.go_on, self.but = how_far, int(signum), go_on, but


def signal_of(stopped: KeyboardInterrupt) -> int:
    """Return the signal that ended some work: SIGINT where nothing says that it was another."""
    return int(getattr(stopped, "signum", signal.SIGINT))


def choice(what: str, value: T, allowed: Iterable[T]) -> T:
    """Return `value` if it is one of `allowed`.

    Args:
        what: the value is called, such as "stem".
        value: what was given.
        allowed: all that may be.

    Raises:
        InputError: it is none of them; lists them, and names the nearest.

    >>> choice("stem", "pp4", ("plain", "pp3"))
    Traceback (most recent call last):
    pushpull.errors.InputError: stem='pp4' is not one of plain, pp3; did you mean 'pp3'?
    """
    options = list(allowed)
    if value in options:
        return value
    near = difflib.get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{what}={value!r} is not one of {', '.join(str(option) for option in options)}{hint}")


def integer(what: str, value: object, remedy: str) -> int:
    """Return a whole number, Python's, numpy's or torch's, as int.

    Raises:
        InputError: it is of another type, bool among them; the message ends with `remedy`.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise InputError(f"{what}={value!r} is not an integer; {remedy}")


def hyphened(text: str) -> str:
    """Return text with options in the form that is shown, though they are taken with underscores too.

    >>> hyphened("give --model-name NAME, or --data.my_field=a_b")
    'give --model-name NAME, or --data.my-field=a_b'
    """
    return re.sub(r"(?<![\w./-])--[A-Za-z][\w.]*", lambda option: option[0].replace("_", "-"), text)


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas between; of more than `most` the first, and how many more.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def extra_command(extra: str) -> str:
    """Return the command that installs an extra, such as "onnx", of a clone or of the installed package."""
    clone = (Path(__file__).resolve().parents[2] / "pyproject.toml").is_file()
    return f"pip install -e '.[{extra}]' in the clone" if clone else f"pip install 'pushpull-net[{extra}]'"


def one_line(error: BaseException) -> str:
    """Return the error's class and message in one line of at most 200 characters, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error))
    text = printable(" ".join(f"{type(error).__name__}: {plain}".split()))
    return text if len(text) <= 200 else text[:197] + "..."


def printable(text: str) -> str:
    r"""Return text with escapes for what a terminal, browser or editor would obey instead of showing it.

    These are control characters, new lines and tabs among them, marks that turn the direction of writing,
    and halves of characters (bytes of a file's name that are no UTF-8), which cannot be written.

    >>> printable("a\x1b[2J\u202eb")
    'a\\x1b[2J\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(
        character
        # Spaces of every width, and the joiners that several scripts and many emoji need.
        if character.isprintable() or character in "\u200c\u200d" or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def all_printable(value: T) -> T:
    """Return dataclasses, mappings and sequences with all text in them `printable`; what has none, itself."""
    new: Any = value
    if isinstance(value, str):
        new = printable(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        cleaned = {name: all_printable(inner) for name, inner in fields.items()}
        changed = {name: inner for name, inner in cleaned.items() if inner is not fields[name]}
        new = dataclasses.replace(value, **changed) if changed else value
    elif isinstance(value, Mapping):
        pairs = [(all_printable(key), all_printable(inner)) for key, inner in value.items()]
        same = all(a is b and c is d for (a, c), (b, d) in zip(pairs, value.items(), strict=True))
        new = value if same else dict(pairs)
    elif type(value) in (list, tuple):
        if set(map(type, value)) <= _PLAIN:  # type: ignore[call-overload]
            return value  # thousands of numbers, one by one, would take seconds
        items = [all_printable(item) for item in value]  # type: ignore[attr-defined]
        same = all(a is b for a, b in zip(items, value, strict=True))  # type: ignore[call-overload]
        new = value if same else type(value)(items)  # type: ignore[call-arg]
    return new  # type: ignore[no-any-return]


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines of text at once, each `printable`, on standard output or into `file`."""
    print("\n".join(map(printable, text.split("\n"))), file=file or sys.stdout, flush=True)
