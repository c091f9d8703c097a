"""YAML files as plain values, and these as dataclasses."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from pushpull.errors import InputError, MissingFileError, choice, one_line

# What PyYAML raises, beside its own errors, at a scalar that is not of its tag, and jsonargparse passes on.
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


# A recipe or table is a page; an alias bomb of nine lines is a thousand million nodes.
_MOST_BYTES, _MOST_NODES, _MOST_DEPTH, _MOST_DIGITS, _LARGEST = 1_000_000, 50_000, 40, 1000, 2**63
_TAG = "tag:yaml.org,2002:"
_UNFIT = re.compile("[\0\ud800-\udfff]")  # in no name of a file, nor in any text that can be written


class _Refused(yaml.YAMLError):
    """Valid YAML that is not read: it is larger or deeper than settings are, or refers to itself."""


class _Loader(yaml.SafeLoader):
    """Plain values only; of a key that stands twice, YAML's own loader silently drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the keys and values of a mapping, each key once."""
        seen = set()
        for child, _ in node.value:
            if child.tag == f"{_TAG}merge":
                continue
            key = self.construct_object(child, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, Hashable):
                continue  # the class below says it
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands twice in one place", child.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number; thousands of digits cannot even be printed."""
        # Python itself refuses more than 4300 digits, with advice for programmers.
        value: int = super().construct_yaml_int(node) if len(node.value) < _MOST_DIGITS else _LARGEST + 1
        if abs(value) > _LARGEST:
            raise _Refused("it holds a whole number above 2^63")
        return value


# Dates stay text, since no setting is one; what JSON has not (!!set, !!binary and the like) is unknown.
_PLAIN = [f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*_PLAIN, None)}
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(kind: str, path: Path | str) -> Any:
    """Return the values of a YAML file: null, true, false, numbers, text, lists and mappings of these.

    Args:
        kind: what errors call the file.
        path: of a file in UTF-8, up to a megabyte.

    Raises:
        MissingFileError: no such file.
        InputError: no YAML, a key twice in one place, or more than settings ever are: 50,000 values with
            every alias counted as what it stands for, 40 levels, whole numbers above 2^63.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{kind} {path} does not exist; give the path of a YAML file")
    content = path.read_bytes()
    if len(content) > _MOST_BYTES:
        raise InputError(f"{kind} {path} has {len(content)} bytes, more than a megabyte; give a YAML file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{kind} {path} is not text in UTF-8 ({error.reason}); save it as UTF-8") from error
    try:
        check_bounds(text)
        return yaml.load(text, _Loader) or {}
    except _Refused as error:
        raise InputError(f"{kind} {path} is refused: {error}; write it shorter or flatter") from error
    except (yaml.YAMLError, *MALFORMED) as error:
        said = " ".join(str(error).split()) if isinstance(error, yaml.YAMLError) else one_line(error)
        raise InputError(f"{kind} {path} is not valid YAML: {said}; correct it") from error


def check_bounds(text: str) -> None:
    """Raise `_Refused` where YAML is too large or too deep to be read; nothing is built to find that out.

    Malformed YAML raises another YAMLError.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    open_nodes: list[list[Any]] = []  # anchor, values and levels so far, of each list or mapping that is open
    known: dict[str | None, tuple[int, int]] = {}
    for event in yaml.parse(text, loader):
        values, levels = 1, 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([event.anchor, 1, 1])
            if len(open_nodes) > _MOST_DEPTH:
                raise _Refused(f"it has more than {_MOST_DEPTH} levels")
            continue
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _, _ in open_nodes):
                raise _Refused(f"&{event.anchor} holds itself")
            values, levels = known.get(event.anchor, (1, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, levels = open_nodes.pop()
            known[anchor] = values, levels
        elif isinstance(event, yaml.ScalarEvent):
            known[event.anchor] = 1, 1
            if unfit := _UNFIT.search(event.value):
                raise _Refused(f"it holds the character {unfit[0]!r}")
        else:
            continue
        if open_nodes:
            open_nodes[-1][1] += values
            open_nodes[-1][2] = max(open_nodes[-1][2], levels + 1)
            if sum(node[1] for node in open_nodes) > _MOST_NODES:
                raise _Refused(f"it holds more than {_MOST_NODES} values")
            if len(open_nodes) + levels > _MOST_DEPTH:
                raise _Refused(f"it has more than {_MOST_DEPTH} levels")


def check_words(name: str, value: Any) -> None:
    """Raise InputError where jsonargparse, which takes text for YAML, had better not see a value.

    Args:
        name: what the error calls it.
        value: text, or lists and mappings with text in them.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            check_words(name, item)
    elif isinstance(value, str):
        try:
            if unfit := _UNFIT.search(value):
                what = "the character NUL" if unfit[0] == "\0" else "bytes that are not text in UTF-8"
                raise _Refused(f"it holds {what}")
            check_bounds(value)
            if value.strip("+-").isdigit() and len(value) > 20:
                raise _Refused("it is a whole number above 2^63")
        except _Refused as error:
            shown = value if len(value) < 40 else f"{value[:40]}..."
            raise InputError(f"{name} {shown!r} cannot be read: {error}; give another value") from error
        except yaml.YAMLError:
            pass  # text, or jsonargparse says that it is not what it should be


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
    return kind(**built(_parser(kind), check_values(kind, values, where)))


def built(parser: Any, values: Any) -> Any:
    """Return the values of jsonargparse's parser with dataclasses built of those that are theirs.

    Raises:
        InputError: what a dataclass itself refuses.
    """
    try:
        return parser.instantiate(values)
    except ValueError as error:
        # Of a dataclass that may be null, jsonargparse lists the refusals of all that might be meant.
        raise (error.__cause__ if isinstance(error.__cause__, InputError) else error) from None


def check_values(kind: Any, values: Any, where: str) -> Any:
    """Return `values` parsed by the annotations of dataclass `kind`, of which nothing is built yet.

    Raises:
        InputError: an unknown key or a value of another type.
    """
    from jsonargparse import ArgumentError

    # Before jsonargparse sees them: it would import a class or open a file that stands where keys belong.
    leaves = list(_leaves(kind, values, where))
    for key, value, hint in leaves:
        check_words(f"{where}: {key}", value)
        if value is None and type(None) not in typing.get_args(hint):  # jsonargparse lets it pass
            raise _misfit(f"{where}: {key}", value, hint)
    try:
        return _parser(kind).parse_object(values, defaults=False)  # half the time; the class has them
    except (ArgumentError, *MALFORMED) as error:
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
    except (ArgumentError, *MALFORMED):
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
