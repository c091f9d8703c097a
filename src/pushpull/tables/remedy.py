"""Errors of `pushpull train` and `evaluate`, whose remedies are options that a table does not have."""

from __future__ import annotations

from pushpull.errors import InputError

_OPTIONS_OF_OTHERS = ("--overwrite", "--resume", "resume with", "pushpull evaluate")


def with_remedy(error: InputError, remedy: str) -> InputError:
    """Return the error with `remedy` in place of one that is of another command; else as it is.

    Remedies stand after the last semicolon.
    """
    problem, _, theirs = str(error).rpartition("; ")
    if problem and any(option in theirs for option in _OPTIONS_OF_OTHERS):
        return InputError(f"{problem}; {remedy}")
    return error
