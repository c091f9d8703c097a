"""YAML files as plain values, and these as dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from pushpull.errors import InputError, MissingFileError, choice


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
    """Build dataclass `kind` from nested dicts; `where` says in errors whose values these are."""
    if not isinstance(values, dict):
        raise InputError(f"{where} must hold keys and values, not {values!r}")
    hints = typing.get_type_hints(kind)
    for key in values:
        choice(f"key in {where}", key, hints)
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the annotated type, or raise `InputError`."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        kinds = [option for option in options if option is not type(None)]
        hint = next((kind for kind in kinds if type(value) is kind), kinds[0])
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-5 as a string
        except ValueError:
            pass
    if hint in (int, bool, str) and type(value) is hint:
        return value
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if typing.get_origin(hint) is Literal:
        return choice(where, value, typing.get_args(hint))
    raise InputError(f"{where}={value!r} must be {getattr(hint, '__name__', hint)}")
