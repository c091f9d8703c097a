"""Things by name: the package's own and the user's, registered in one way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from pushpull.errors import InputError, choice
from pushpull.files.plugins import load_installed_plugins

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to things of one kind, in the order of their registration.

    `registry[name]` is a dictionary's look-up; `find(name)` is the one for what a user has typed.

    Args:
        kind: what errors call one of its things: "corruption", "stem".
        elsewhere: names that another file or package registers, and what their error says to do.

    >>> stems = Registry("stem")
    >>> stems.register("mine", print) is stems["mine"] is stems.find("mine")
    True
    """

    def __init__(self, kind: str, elsewhere: Mapping[str, str] | None = None) -> None:
        self.kind, self.elsewhere = kind, elsewhere or {}
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add `thing` under `name` and return it.

        The same definition may be registered again (a notebook's cell that is run twice): it replaces the
        former.

        Raises:
            InputError: a name that is not a word, or is taken by another thing.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"{self.kind} name {name!r} must be a word of letters, digits and _, such as my_rain"
            )
        if name in self._things and _definition(self._things[name]) != _definition(thing):
            raise InputError(f"{self.kind} {name!r} exists already; choose another name")
        self._things[name] = thing
        return thing

    def find(self, name: str, what: str | None = None) -> T:
        """Return what is registered under `name`; also by installed plugins.

        Args:
            name: as the user gave it.
            what: where it was given, such as "augment.policy", for the error; the registry's kind by default.

        Raises:
            InputError: nothing is registered under it; lists what there is.
        """
        if name not in self._things:
            load_installed_plugins()
            if name not in self._things and name in self.elsewhere:
                raise InputError(f"{what or self.kind}={name!r} {self.elsewhere[name]}")
            choice(what or self.kind, name, self._things)
        return self._things[name]

    def move_to_end(self, name: str) -> None:
        """Put a name behind all others."""
        self._things[name] = self._things.pop(name)

    def __getitem__(self, name: str) -> T:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self._things)})"


def _definition(thing: Any) -> Any:
    """Return where a function or class is defined; any other thing itself."""
    if isinstance(thing, partial):
        return _definition(thing.func), thing.args, thing.keywords
    source = getattr(thing, "source", thing)
    name = getattr(source, "__qualname__", None)
    return (source.__module__, name) if name else source
