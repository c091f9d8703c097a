"""Whether parsed JSON has the types that a TypedDict or dataclass declares."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pushpull.errors import InputError


def check_types(record: Mapping[str, Any], declared: type, where: str) -> None:
    """Raise `InputError` that names the first value in `record` that is not of its declared type.

    Args:
        record: what was parsed; undeclared keys are left alone, and declared ones may be absent.
        declared: a TypedDict or dataclass whose annotations are JSON types, lists, dicts and unions of these.
        where: what the error calls the record.
    """
    for name, hint in _hints(declared).items():
        if name in record and not fits(record[name], hint):
            text = repr(record[name])
            short = text if len(text) <= 40 else f"{text[:40]}..."
            kind = hint.__name__ if isinstance(hint, type) else hint
            raise InputError(f"{where}: {name}={short} is not {kind}; delete the file and evaluate again")


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the annotated type; integers are floats too, and booleans neither."""
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return any(fits(value, one) for one in inner)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(fits(one, inner[1]) for one in value.values())
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


@lru_cache
def _hints(declared: type) -> dict[str, Any]:
    return get_type_hints(declared)
