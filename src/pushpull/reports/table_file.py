"""Table files: which rows a table has, and the recipe of each, as plain data that a YAML file holds."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pushpull.errors import InputError, choice
from pushpull.files.yaml import from_dict, packaged_file, read_yaml
from pushpull.models import default_input_style
from pushpull.models.factory import ModelConfig
from pushpull.models.network import build_model
from pushpull.training.recipe import Recipe, packaged_recipe

_LONGEST_NAME = 100
_KEYS = ("title", "base", "recipe", "rows", "seeds", "limit", "classes", "notes")


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Args:
        name: what the table calls it.
        recipe: how its networks are trained; the seed is a run's own.
        twin: name of the row that it is paired with, seed by seed: the same without push-pull. None: none.
        on_request: whether it is made only where the user names it.
    """

    name: str
    recipe: Recipe
    twin: str | None = None
    on_request: bool = False

    @property
    def slug(self) -> str:
        """The name as a folder: `AugMix (nine ops, JSD) + PP3` is `augmix-nine-ops-jsd-pp3`."""
        return re.sub(r"[\W_]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class TableFile:
    """A table to be made.

    Args:
        title: heading of the table.
        rows: the first is the baseline.
        seeds: one network of each row is trained for each.
        limit: evaluate at most this many test images; None: all.
        classes: how many classes the list must have that the user gives; None: no list is asked for.
        notes: sentences that belong under the table.
    """

    title: str
    rows: tuple[TableRow, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    limit: int | None = None
    classes: int | None = None
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> TableRow:
        """Return the row of this name, or folder name; an `InputError` lists those that there are."""
        for row in self.rows:
            if name in (row.name, row.slug):
                return row
        choice("row", name, [row.name for row in self.rows])
        raise AssertionError


def packaged_table(name: str) -> Path:
    """Return the path of a table: `name` itself where it is a file, else one that comes with the package.

    Raises:
        InputError: there is none of this name; it lists those that there are.

    >>> packaged_table("cifar10").name
    'cifar10.yaml'
    """
    return packaged_file("table", name, "tables")


def read_table(path: Path | str) -> TableFile:
    """Return the table that a file describes.

    A file has `title`, `rows` and, as it needs, `base` (a recipe's name or path), `recipe` (settings common
    to all rows, over the base's), `seeds`, `limit`, `classes`, `notes`. Rows are a list, or the path of a
    file with one; files are looked for beside the table. A row has `name`, perhaps `twin` and `on_request`,
    and its settings; its network is built here, without memory: no mistake in it is found hours later.

    Raises:
        MissingFileError: a file that is not there.
        InputError: another mistake: an unknown key, a value out of range, a network that cannot be built.

    >>> [row.name for row in read_table(packaged_table("cifar10-small")).rows]
    ['baseline', 'PP3', 'PP5', 'PRIME', 'PRIME + PP3']
    """
    values = _mapping(read_yaml("table", path), f"table {path}")
    for key in values:
        choice(f"key in {path}", key, _KEYS)
    base = _base(values["base"], path) if "base" in values else {}
    common = merged(base, _mapping(values.get("recipe", {}), f"{path}: recipe"))
    listed = values.get("rows")
    if isinstance(listed, str):
        listed = read_yaml("rows", Path(path).parent / listed)
    if not isinstance(listed, list) or not listed:
        raise InputError(f"table {path} has no rows; give a list, the baseline first")
    rows = tuple(_row(item, common, f"{path}: row {number}") for number, item in enumerate(listed, 1))
    _check(rows, str(path))
    limit, classes = (_count(values.get(key), f"{path}: {key}") for key in ("limit", "classes"))
    notes = values.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise InputError(f"{path}: notes must be a list of sentences")
    title, seeds = str(values.get("title") or Path(path).stem), values.get("seeds", [0, 1, 2])
    return TableFile(title, rows, checked_seeds(seeds, f"{path}: seeds"), limit, classes, tuple(notes))


def _base(name: Any, table: Path | str) -> Mapping[str, Any]:
    """Return the settings of a table's recipe: a file beside the table, another file, or a packaged one."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{table}: base={name!r} must be the name of a recipe or the path of one")
    beside = Path(table).parent / name
    path = beside if beside.is_file() else packaged_recipe(name)
    return _mapping(read_yaml("recipe", path), str(path))


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings: those of `over`, and those of `under` that it does not name."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        nested = isinstance(value, Mapping) and isinstance(below, Mapping)
        both[key] = merged(below, value) if nested else value  # type: ignore[arg-type]
    return both


def checked_seeds(seeds: Sequence[int], where: str) -> tuple[int, ...]:
    """Return the seeds, or raise `InputError` unless they are whole numbers, at least one, each once."""
    if not isinstance(seeds, list | tuple) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise InputError(f"{where}={seeds!r}: seeds are a list of whole numbers of at least 0")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"{where}={seeds!r}: give at least one seed, each once")
    return tuple(seeds)


def _row(item: Any, common: Mapping[str, Any], where: str) -> TableRow:
    own = dict(_mapping(item, where))
    name, twin, on_request = own.pop("name", None), own.pop("twin", None), own.pop("on_request", False)
    if not isinstance(name, str) or not name or not isinstance(twin, str | None) or on_request not in (0, 1):
        raise InputError(f"{where}: give a name and, where it has one, the name of its twin, not {item!r}")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"{where}: the name has {len(name)} characters; give at most {_LONGEST_NAME}")
    where = f"{where} ({name})"
    if "seed" in own:
        raise InputError(f"{where}: seed={own['seed']!r} cannot be a row's own; give `seeds` for all rows")
    try:
        recipe = from_dict(Recipe, merged(common, own), where)
        _check_network(recipe.model)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error
    if recipe.device_count > 1 or recipe.num_nodes > 1:
        raise InputError(
            f"{where}: a run of a table uses one device; to use several, start the command "
            "once for each (CUDA_VISIBLE_DEVICES), in one output folder"
        )
    return TableRow(name, recipe, twin, bool(on_request))


@functools.cache
def _check_network(config: ModelConfig) -> None:
    """Raise `InputError` where the network cannot be built; it is built without memory for its weights."""
    style = config.input_style or default_input_style(config.name, 32)
    with torch.device("meta"):
        build_model(replace(config, input_style=style, pretrained=False, weights=None), 10)


def _check(rows: Sequence[TableRow], where: str) -> None:
    slugs = [row.slug for row in rows]
    for row in rows:
        if not row.slug or slugs.count(row.slug) > 1:
            raise InputError(f"{where}: row {row.name!r} needs a name of its own, with letters or digits")
        if row.twin is not None:
            choice(f"{where}: twin of {row.name!r}", row.twin, [r.name for r in rows if r is not row])


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must hold keys and values, not {value!r}")
    return value


def _count(value: Any, where: str) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise InputError(f"{where}={value!r} must be a positive whole number, or left out")
    return value
