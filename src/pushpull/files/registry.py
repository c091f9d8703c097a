"""Things by name: the package's own and the user's, registered in one way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from pushpull.errors import InputError, choice
from pushpull.files.plugins import load_installed_plugins

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to things of one kind, in the order of their registration.

    `registry[name]` is a dictionary's look-up; `find(name)` is the one for what a user has typed.

    Args:
        kind: what errors call a thing of it: "corruption", "stem".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add `thing` under `name` and return it.

        The same definition may be registered again (a notebook's cell that is run twice): it takes its place.

        Raises:
            InputError: a name that is no word, or is taken by another thing.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"{self.kind} name {name!r} must be a word of letters, digits and _, such as my_rain"
            )
        if name in self._things and _definition(self._things[name]) != _definition(thing):
            raise InputError(f"{self.kind} {name!r} exists already; choose another name")
        self._things[name] = thing
        return thing

    def find(self, name: str) -> T:
        """Return what is registered under `name`; what installed plugins register is found too.

        Raises:
            InputError: nothing is; lists what there is.
        """
        if name not in self._things:
            load_installed_plugins()
        return self._things[choice(self.kind, name, self._things)]

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


def _definition(thing: Any) -> tuple[str, str] | Any:
    """Return where a thing is defined; things that are no functions or classes are what they are."""
    source = getattr(thing, "source", thing)
    name = getattr(source, "__qualname__", None)
    return (source.__module__, name) if name else source
