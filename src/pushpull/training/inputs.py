"""The files that a run is made from beside its recipe, whose names may come to mean other files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pushpull.data.load import class_file_digest
from pushpull.errors import InputError
from pushpull.files import read_json, write_json
from pushpull.files.names import INPUTS, WEIGHTS
from pushpull.training.recipe import Recipe


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None without one."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_inputs(folder: Path, recipe: Recipe) -> None:
    """Write into a run folder what the files of its recipe hold now."""
    write_json(folder / INPUTS, _digests(recipe))


def changed_inputs(folder: Path, recipe: Recipe) -> list[str]:
    """Return the settings whose files hold something else than when the run in `folder` began.

    A file that is no longer there says nothing, nor does a run without a record.
    """
    if not (folder / INPUTS).is_file():
        return []
    before, now = read_json(folder / INPUTS), _digests(recipe)
    if not isinstance(before, dict):
        raise InputError(f"{folder / INPUTS} is damaged; restore it, or delete it with the run")
    return [name for name, digest in before.items() if digest and now.get(name) not in (None, digest)]


def _digests(recipe: Recipe) -> dict[str, str | None]:
    """Return the SHA-256 of what each setting names, where it names a file."""
    classes, weights, teacher = recipe.data.classes, recipe.model.weights, recipe.loss.teacher
    there = classes is not None and Path(classes).is_file()
    return {
        "data.classes": class_file_digest(classes) if there else None,
        "model.weights": file_digest(Path(weights)) if weights else None,
        "loss.teacher": file_digest(Path(teacher) / WEIGHTS) if teacher else None,
    }
