"""`pushpull train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pushpull.errors import say
from pushpull.files import user_path
from pushpull.training.recipe import Recipe
from pushpull.training.run import is_first_process, train


def train_command(
    recipe: Recipe,
    output: str | None = None,
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
) -> None:
    """Train a network by a recipe.

    Args:
        recipe: all settings.
        output: the run folder; runs/DATA-MODEL-STEM-seedN where none is given.
        resume: continue the run that is in the output folder, with other learning rates or optim.clip_norm if
            you give some; auto: continue it if there is one to continue, else begin, and do nothing if it is
            finished, so that the same command can be given again.
        overwrite: delete the run that is in the output folder first.

    Example:
        pushpull train --config digits --model resnet20 --model.stem pp3 --output runs/pp3
    """
    place = user_path(recipe.data.name)
    data = (place.resolve() if place.is_dir() else place).name
    model = recipe.model.name.replace(":", "-")
    folder = Path(output or f"runs/{data}-{model}-{recipe.model.stem}-seed{recipe.seed}")
    train(recipe, folder, resume=resume, overwrite=overwrite)
    if is_first_process():
        say(f"{folder} holds the run. Measure its robustness: pushpull evaluate {folder}")
