"""How a run's training begins: anew, or from its checkpoint; never over another run's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pushpull.errors import InputError
from pushpull.files.names import LAST, RECIPE, RESULTS, WEIGHTS
from pushpull.reports.tables.runs import Run
from pushpull.training.folder import check_folder, file_digest, read_checkpoint


@dataclass(frozen=True)
class Start:
    """How to begin.

    Args:
        resume: go on from the checkpoint; else from the first step, over what is there.
        why: a line to print where what is there is of no use; None: nothing is lost.
    """

    resume: bool
    why: str | None = None


def start_of(run: Run) -> Start:
    """Return how the training of a run that is not finished begins.

    Raises:
        InputError: the folder holds the weights, results or checkpoint of a run of another recipe, or of one
            whose recipe is lost; or the checkpoint cannot be opened.
    """
    held = {name for name in (WEIGHTS, RESULTS, LAST) if (run.folder / name).exists()}
    if not held:
        return Start(resume=False)
    check_recipe(run)
    if LAST not in held:
        return Start(False, f"no {LAST} to go on from: trained again from the start")
    epochs_done = _epochs_done(run.folder)
    if epochs_done is None:
        return Start(False, f"{LAST} is not readable, as after a kill: trained again from the start")
    if epochs_done and WEIGHTS not in held:
        return Start(False, f"{WEIGHTS} is gone: trained again from the start")
    return Start(resume=True)


def _epochs_done(folder: Path) -> int | None:
    """Return the whole epochs of the checkpoint, None where it is broken.

    Raises:
        InputError: its bytes cannot be had: a disk that does not answer now may answer later.
    """
    path = folder / LAST
    try:
        return read_checkpoint(folder)[1] if path.stat().st_size else None
    except InputError:
        try:
            file_digest(path)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{path} cannot be read ({reason}); make it readable, or remove it") from error
        return None


def check_recipe(run: Run) -> None:
    """Raise `InputError` where the folder's run is not of this recipe, or its recipe is lost."""
    remedy = f"give another --output, or remove {run.folder}"
    if not (run.folder / RECIPE).is_file():
        raise InputError(f"{run.folder} holds a run without its {RECIPE}; restore it, {remedy}")
    try:
        check_folder(run.folder, run.recipe, resume=True, overwrite=False)
    except InputError as error:
        raise error.with_remedy(remedy) from error
