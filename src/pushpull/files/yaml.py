"""YAML files as plain values, and these as dataclasses."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from pushpull.errors import InputError, MissingFileError, choice

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class _Loader(yaml.SafeLoader):
    """Plain values only; of a key that stands twice, YAML's own loader silently drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the keys and values of a mapping, each key once."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        twice = [key for number, key in enumerate(keys) if key in keys[:number] and key != "<<"]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} stands twice in one place", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_yaml(kind: str, path: Path | str) -> Any:
    """Return the values of a YAML file; errors call it a `kind`."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{kind} {path} does not exist; give the path of a YAML file")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} is not valid YAML: {' '.join(str(error).split())}") from error


def packaged_file(kind: str, name: str, below: str = ".") -> Path:
    """Return `name` itself where it is a file, else the path of a YAML file that comes with the package.

    Args:
        kind: what errors call it.
        name: a path, or the file's name without its ending.
        below: the folder of configs/ that holds it.
    """
    if Path(name).is_file():
        return Path(name)
    # An installed package carries configs/ inside; a source checkout has it beside src/.
    here = Path(__file__).resolve()
    configs = next(
        path for path in (here.parents[1] / "configs", here.parents[3] / "configs") if path.is_dir()
    )
    folder = configs / below
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known and Path(name).suffix:
        raise MissingFileError(f"{kind} {name} does not exist; give a YAML file or one of {', '.join(known)}")
    return folder / f"{choice(kind, name, known)}.yaml"


def from_dict(kind: Any, values: Any, where: str) -> Any:
    """Build dataclass `kind` from nested mappings, as YAML and JSON hold them.

    Text that reads as a value of the type is one: YAML 1.1 takes 1e-5 for text.

    Args:
        kind: a dataclass; its fields' annotations say what is allowed, dataclasses among them.
        values: field names and values; fields that are not there take their defaults.
        where: says in errors whose values these are.

    Raises:
        InputError: an unknown key, a value of another type, or what the dataclass itself refuses.
    """
    return kind(**_parser(kind).instantiate(check_values(kind, values, where)))


def check_values(kind: Any, values: Any, where: str) -> Any:
    """Return `values` parsed by the annotations of dataclass `kind`, of which nothing is built yet.

    Raises:
        InputError: an unknown key or a value of another type.
    """
    from jsonargparse import ArgumentError

    # Before jsonargparse sees them: it would import a class or open a file that stands where keys belong.
    leaves = list(_leaves(kind, values, where))
    try:
        return _parser(kind).parse_object(values, defaults=False)  # half the time; the class has them
    except ArgumentError as error:
        for key, value, hint in leaves:
            if not fits(value, hint):
                raise _misfit(f"{where}: {key}", value, hint) from error
        raise InputError(f"{where}: {' '.join(str(error).split())}") from error


def fits(value: Any, hint: Any) -> bool:
    """Whether `value`, perhaps as text, is of the annotated type."""
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.parse_object({"value": value})
    except ArgumentError:
        return False
    return True


def type_in_words(hint: Any) -> str:
    """Return what an annotation allows, in plain words; null is left out.

    >>> type_in_words(int | float | None)
    'a whole number or a number'
    >>> type_in_words(tuple[float, float, float])
    'a list of 3, each a number'
    """
    if hint in _WORDS:
        return _WORDS[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(str, arguments))
    if typing.get_origin(hint) is tuple and ... not in arguments:
        return f"a list of {len(arguments)}, each {type_in_words(arguments[0])}"
    options = [option for option in arguments if option is not type(None)]
    return " or ".join(map(type_in_words, options)) or getattr(hint, "__name__", str(hint))


def types_of(kind: Any, above: str = "") -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, those of dataclasses in it by dotted names."""
    types: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        inner = _dataclass_of(hint)
        types |= types_of(inner, f"{above}{name}.") if inner else {f"{above}{name}": hint}
    return types


@cache
def _parser(kind: Any) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    return parser


def _leaves(kind: Any, values: Any, where: str, above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name, value and annotation of every value that is no mapping of fields itself."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must hold keys and values, not {values!r}")
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        hint = hints[choice(f"key in {where}", key, hints)]
        inner = _dataclass_of(hint)
        if inner is None or (value is None and inner is not hint):
            yield f"{above}{key}", value, hint
        else:
            yield from _leaves(inner, value, f"{where}: {key}", f"{above}{key}.")


def _dataclass_of(hint: Any) -> Any:
    """Return the dataclass that an annotation names, alone or beside null."""
    return next(
        (option for option in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(option)), None
    )


def _misfit(name: str, value: Any, hint: Any) -> InputError:
    for option in (hint, *typing.get_args(hint)):
        if typing.get_origin(option) is Literal:
            choice(name, value, typing.get_args(option))
    null = " or null" if type(None) in typing.get_args(hint) else ""
    return InputError(f"{name}={value!r} must be {type_in_words(hint)}{null}")
