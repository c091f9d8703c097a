"""The network of a finished run, as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pushpull.data import Preprocessing
from pushpull.errors import InputError
from pushpull.models.run_folder import load_run


class Teacher:
    """Logits of a trained network for uint8 images, without gradients.

    No `nn.Module`: the student's checkpoints and optimiser must not hold it.

    Args:
        model: the network, in evaluation mode.
        preprocessing: its own.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        self.model, self.preprocessing = model, preprocessing

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of (n, 3, H, W) uint8 images, computed where these are."""
        self.model.to(images.device)
        return self.model(self.preprocessing(images))


def load_teacher(folder: str | Path, classes: Sequence[str]) -> Teacher:
    """Return the network of a run folder as a teacher for these classes.

    Raises:
        InputError: no such run, or one of other classes.
    """
    run = load_run(folder)
    if list(run.classes) != list(classes):
        raise InputError(
            f"loss.teacher={str(folder)!r} knows {len(run.classes)} classes, and not those of the data "
            f"({len(classes)}) in their order; give a run on the same classes"
        )
    return Teacher(run.model.eval(), run.preprocessing)
