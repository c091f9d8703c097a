"""Registries of what can be named, and the user's own Python whose import fills them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pushpull.errors import InputError, MissingFileError, choice, one_line
from pushpull.files import user_path

GROUP = "pushpull.plugins"  # of entry points: an installed package that names its module there is found

_loaded: dict[str, None] = {}


def load_plugin(spec: str | Path) -> ModuleType:
    """Import a file (`my_file.py`) or a module (`package.module`), once, and return it.

    What it registers by `pushpull.register_...` is there afterwards. It is the user's own code and runs as
    such: nothing in a recipe, a run folder or a file of weights can name one.

    Args:
        spec: the path of a Python file, or a module's name as in an import.

    Raises:
        MissingFileError: no such file.
        InputError: no such module, or it raises while it is imported.
    """
    text = str(spec)
    path = user_path(text)
    is_file = path.suffix == ".py" or path.is_file()
    if is_file and not path.is_file():
        raise MissingFileError(f"{text} does not exist; give a Python file, or a module as package.module")
    try:
        module = _imported_file(path.resolve()) if is_file else importlib.import_module(text)
    except Exception as error:  # the user's code may raise anything
        if isinstance(error, ModuleNotFoundError) and not is_file and text.startswith(str(error.name)):
            raise InputError(
                f"module {text!r} is not installed; give package.module, or a file.py"
            ) from error
        raise InputError(f"{text} cannot be imported ({one_line(error)}); correct it") from error
    _loaded[str(path.resolve()) if is_file else text] = None
    return module


def loaded_plugins() -> list[str]:
    """Return what `load_plugin` has imported, for a new process to import too."""
    return list(_loaded)


class Plugins:
    """Stands first in what is sent to a new process: unpickled there, it loads what is loaded here.

    What comes behind it may then be of classes that a plugin defines. A forked process has them anyway.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_all, (loaded_plugins(),)


def _load_all(specs: list[str]) -> Plugins:
    for spec in specs:
        load_plugin(spec)
    return Plugins()


def named_object(spec: str) -> Any:
    """Return what `path/to/file.py:name` or `package.module:name` names; `name` may have dots.

    Raises:
        InputError: as `load_plugin`, or the module has no such name.

    >>> named_object("math:sqrt")(4.0)
    2.0
    """
    place, colon, name = spec.rpartition(":")
    if not (colon and place and name):
        raise InputError(f"{spec!r} is not FILE.py:NAME or MODULE:NAME, such as mine.py:build")
    thing: Any = load_plugin(place)
    for part in name.split("."):
        if not hasattr(thing, part):
            known = (
                [key for key in vars(thing) if not key.startswith("_")] if hasattr(thing, "__dict__") else []
            )
            raise InputError(f"{place} has no {name!r}; it has {', '.join(known[:8]) or 'no names'}")
        thing = getattr(thing, part)
    return thing


@cache
def load_installed_plugins() -> None:
    """Import what installed packages name under the entry point group `pushpull.plugins`, once."""
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # another package's code may raise anything
            raise InputError(
                f"plugin {point.name!r} ({point.value}) fails ({one_line(error)}); repair or uninstall it"
            ) from error


def _imported_file(path: Path) -> ModuleType:
    # The stem alone would hide, or be hidden by, a module of that name elsewhere.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"{path.stem.replace('-', '_')}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Registry(dict[str, T]):
    """A dictionary from names to things of one kind, in the order of their registration.

    `register` fills it; `find(name)` is the look-up for what a user has typed.

    Args:
        kind: what errors call one of its things: "corruption", "stem".
        elsewhere: names that another file or package registers, and what their error says to do.

    >>> stems = Registry("stem")
    >>> stems.register("mine", print) is stems["mine"] is stems.find("mine")
    True
    """

    def __init__(self, kind: str, elsewhere: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.kind, self.elsewhere = kind, elsewhere or {}

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
        if name in self and _definition(self[name]) != _definition(thing):
            raise InputError(f"{self.kind} {name!r} exists already; choose another name")
        self[name] = thing
        return thing

    def find(self, name: str, what: str | None = None) -> T:
        """Return what is registered under `name`; also by installed plugins.

        Args:
            name: as the user gave it.
            what: where it was given, such as "augment.policy", for the error; the registry's kind by default.

        Raises:
            InputError: nothing is registered under it; lists what there is.
        """
        if name not in self:
            load_installed_plugins()
            if name not in self and name in self.elsewhere:
                raise InputError(f"{what or self.kind}={name!r} {self.elsewhere[name]}")
            choice(what or self.kind, name, self)
        return self[name]

    def move_to_end(self, name: str) -> None:
        """Put a name behind all others."""
        self[name] = self.pop(name)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self)})"


def _definition(thing: Any) -> Any:
    """Return where a function or class is defined; any other thing itself."""
    if isinstance(thing, partial):
        return _definition(thing.func), thing.args, thing.keywords
    source = getattr(thing, "source", thing)
    name = getattr(source, "__qualname__", None)
    return (source.__module__, name) if name else source
