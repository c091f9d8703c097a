"""A run folder: what is in it, whether it may be used, and from which files it was made."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from pushpull.data.load import class_file_digest
from pushpull.errors import InputError, MissingFileError, one_line
from pushpull.files import (
    EPOCHS,
    INPUTS,
    LAST,
    LOGS,
    RATES,
    RECIPE,
    RESULTS,
    WEIGHTS,
    read_json,
    remove_half_written,
    user_path,
    write_json,
    write_text,
)
from pushpull.models.hub import HUB
from pushpull.models.loading import epochs_left
from pushpull.training.recipe import Recipe, read_recipe

_OF_CHECKPOINT = ("state_dict", "optimizer_states", "lr_schedulers", "loops")
# What may differ in a resumed run: settings that can save a training whose loss has become NaN or infinite.
_RATES = ("optim.initial_lr", "optim.max_lr", "optim.final_lr", "optim.clip_norm")
# What does not decide the weights, apart from the rounding and the drawn crops of another machine.
_OF_THE_MACHINE = ("workers", "accelerator", "devices", "num_nodes", "data.memory_limit_gib", "data.label")
_PATHS = ("data.name", "data.classes", "model.weights", "loss.teacher")


def is_finished(folder: Path | str, recipe: Recipe, *, weights: bool = True, results: bool = True) -> bool:
    """Whether `folder` holds a run of this recipe that went to its end, where the clean error is written."""
    folder = Path(folder)
    names = [RECIPE, *([WEIGHTS] if weights else []), *([RESULTS] if results else [])]
    there = all((folder / name).is_file() for name in names)
    return there and epochs_left(folder) is None and not _changed(folder, recipe)


def check_folder(
    folder: Path, recipe: Recipe, resume: bool, overwrite: bool, *, other_rates: bool = False
) -> None:
    """Refuse a folder that holds a run already or, to resume, a run of another recipe.

    Args:
        folder: of the run.
        recipe: what is to be trained.
        resume: go on with the run that is there.
        overwrite: begin again over it.
        other_rates: a run that is not at its end may be resumed with other learning rates.
    """
    if resume:
        changed = _changed(folder, recipe)
        if changed and not (other_rates and set(changed) <= set(_RATES) and epochs_left(folder)):
            raise InputError(
                f"the run in {folder} was made with other settings ({', '.join(changed)})",
                remedy=_remedy(folder, changed),
            )
        return
    if not overwrite and any((folder / name).exists() for name in (RECIPE, WEIGHTS, LAST)):
        raise InputError(
            f"{folder} holds a run already; add --resume or --overwrite, or choose another output"
        )


def _remedy(folder: Path, changed: Sequence[str]) -> str:
    if set(changed) <= set(_RATES) and epochs_left(folder):
        return "to go on with these rates say --resume alone, without auto, or choose another output"
    return "resume with its own recipe.yaml, or choose another output"


def begin_folder(folder: Path, recipe: Recipe, epochs_done: int | None) -> None:
    """Write the recipe, and remove what kills left half written and, unless it is resumed, the run before.

    Beside the recipe stands what the files that it names hold now: their names may come to mean other files.

    Args:
        folder: of the run.
        recipe: what is trained.
        epochs_done: whole epochs of the checkpoint that is resumed; None: it begins. Other learning rates
            than before are noted with the epoch that begins, or goes on, with them.
    """
    remove_half_written(folder)
    if epochs_done is None:
        for name in (RECIPE, INPUTS, EPOCHS, RATES, WEIGHTS, LAST, RESULTS):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / LOGS, ignore_errors=True)
        write_json(folder / INPUTS, _input_digests(recipe))
    else:
        _note_rates(folder, recipe, epochs_done)
    write_text(folder / RECIPE, yaml.safe_dump(recipe.to_dict(), sort_keys=False))


def _note_rates(folder: Path, recipe: Recipe, epochs_done: int) -> None:
    """Add to the list of other learning rates, where they are others than those in the folder's recipe."""
    before, now = _dotted(read_recipe(folder / RECIPE).to_dict()), _dotted(recipe.to_dict())
    changed = {name: [before[name], now[name]] for name in _RATES if before[name] != now[name]}
    if changed:
        noted = read_json(folder / RATES) if (folder / RATES).is_file() else []
        write_json(folder / RATES, [*noted, {"from_epoch": epochs_done + 1, **changed}])


def read_checkpoint(folder: Path) -> tuple[Path, int]:
    """Return the checkpoint to resume from and its whole epochs; a broken one must not start afresh."""
    path = folder / LAST
    if not path.is_file():
        remedy = "start again with overwrite" if (folder / RECIPE).exists() else "train without resume"
        raise MissingFileError(f"{path} does not exist, so there is nothing to resume; {remedy}")
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
        lacking = [key for key in _OF_CHECKPOINT if not content[key]]
        done = int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except Exception as error:  # whatever a damaged file makes torch raise
        raise InputError(
            f"{path} is not a readable checkpoint ({one_line(error)}); restore it or train again"
        ) from error
    if lacking:
        raise InputError(f"{path} has no {lacking[0]} to continue with; restore it or train again")
    return path, done


def check_checkpoint(path: Path, done: int, recipe: Recipe, module: nn.Module) -> None:
    """Raise `InputError` where a checkpoint is not of this network and its optimiser, or past the last epoch.

    Args:
        path, done: as `read_checkpoint` returns them.
        recipe: of the run.
        module: what is trained.
    """
    if done > recipe.epochs:
        raise InputError(
            f"{path} has {done} epochs, more than epochs={recipe.epochs}; restore it or train again"
        )
    content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    try:
        there = {key: tuple(value.shape) for key, value in content["state_dict"].items()}
        (optimiser,) = content["optimizer_states"]
        count = sum(len(group["params"]) for group in optimiser["param_groups"])
        states = [state.get("momentum_buffer") for state in optimiser["state"].values()]
        buffers = [tuple(state.shape) for state in states if state is not None]  # none without momentum
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a checkpoint of this training ({one_line(error)}); train again"
        ) from error
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    trained = [tuple(value.shape) for value in module.parameters() if value.requires_grad]
    differ = [key for key in {**own, **there} if own.get(key) != there.get(key)]
    if differ:
        key = differ[0]
        raise InputError(
            f"{path} is of another network: {key} is {there.get(key, 'not there')}, here "
            f"{own.get(key, 'not')}; restore it or train again"
        )
    if count != len(trained) or (buffers and sorted(buffers) != sorted(trained)):
        raise InputError(f"{path} has the optimiser of another network; restore it or train again")


def with_full_paths(recipe: Recipe) -> Recipe:
    """Return the recipe with full paths, so that the run folder means the same from everywhere."""

    def full(path: str | None) -> str | None:
        here = path is not None and not path.startswith(HUB)
        return str(user_path(path).resolve()) if path is not None and here else path

    data = replace(recipe.data, classes=full(recipe.data.classes))
    name = user_path(data.name)
    if name.exists() and data.name != "digits":
        data = replace(data, name=str(name.resolve()))
    model = replace(recipe.model, weights=full(recipe.model.weights))
    return replace(
        recipe, data=data, model=model, loss=replace(recipe.loss, teacher=full(recipe.loss.teacher))
    )


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None without one."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(folder: Path, recipe: Recipe) -> list[str]:
    """Return the settings in which `recipe` differs from that of the run in `folder`: `data.fraction`, ..."""
    there, recipe = read_recipe(folder / RECIPE), with_full_paths(recipe)
    style = recipe.model.input_style or there.model.input_style
    expected = recipe.preprocessing or there.preprocessing
    if expected is not None and recipe.size is not None:
        expected = replace(expected, size=(recipe.size, recipe.size))
    filled = replace(recipe, model=replace(recipe.model, input_style=style), preprocessing=expected)
    before, now = _decisive(there), _decisive(filled)
    named = [key for key in before if before[key] != now[key]]
    return named + [f"what {key} holds" for key in _changed_inputs(folder, recipe) if key not in named]


def _decisive(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that decide the weights, by dotted name: not who decodes, nor where a file lies.

    So a run may be continued on another machine, where its data has another path.
    """
    values = _dotted(recipe.to_dict())
    for name in _OF_THE_MACHINE:
        del values[name]
    values = {name: value for name, value in values.items() if name.partition(".")[0] != "logger"}
    return values | {key: Path(values[key]).name for key in _PATHS if values[key] is not None}


def _dotted(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and key != "preprocessing"
        flat |= _dotted(value, f"{above}{key}.") if nested else {f"{above}{key}": value}
    return flat


def _changed_inputs(folder: Path, recipe: Recipe) -> list[str]:
    """Return the settings whose files hold something else than when the run in `folder` began.

    A file that is no longer there says nothing, nor does a run without a record.
    """
    if not (folder / INPUTS).is_file():
        return []
    before, now = read_json(folder / INPUTS), _input_digests(recipe)
    if not isinstance(before, dict):
        raise InputError(f"{folder / INPUTS} is damaged; restore it, or delete it with the run")
    return [name for name, digest in before.items() if digest and now.get(name) not in (None, digest)]


def _input_digests(recipe: Recipe) -> dict[str, str | None]:
    """Return the SHA-256 of what each setting names, where it names a file."""
    classes, weights, teacher = recipe.data.classes, recipe.model.weights, recipe.loss.teacher
    there = classes is not None and Path(classes).is_file()
    return {
        "data.classes": class_file_digest(classes) if there else None,
        "model.weights": file_digest(Path(weights)) if weights else None,
        "loss.teacher": file_digest(Path(teacher) / WEIGHTS) if teacher else None,
    }
