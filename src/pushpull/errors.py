"""The errors that a user can cause: each says the value, what is allowed, and the remedy."""

from __future__ import annotations

import difflib
import operator
import signal
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


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


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas between; of more than `most` the first, and how many more.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def one_line(error: BaseException) -> str:
    """Return the error's class and message in one line of at most 200 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:197] + "..."
