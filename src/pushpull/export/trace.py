"""From a network to one graph that takes images in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pushpull.data import Preprocessing
from pushpull.errors import InputError, one_line
from pushpull.export.card import INPUT

# A dimension of one is a constant to the tracer.
_EXAMPLE_IMAGES = 2


class Normalised(nn.Module):
    """A network after its normalisation: y = model((images - mean) / std), images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, 3, H, W) in [0, 1]."""
        return self.model((images - self.mean) / self.std)


def traced(
    model: nn.Module, size: tuple[int, int], *, batch_size: int | None, dynamic_size: bool
) -> ExportedProgram:
    """Return the graph of `model` in evaluation mode.

    Args:
        model: takes (N, 3, H, W), float32.
        size: (height, width) in px of the images.
        batch_size: the number of images that the graph takes; None: any.
        dynamic_size: it takes other heights and widths too.

    Raises:
        InputError: the network cannot be traced, or not with such sizes.
    """
    example = torch.zeros(batch_size or _EXAMPLE_IMAGES, 3, *size)
    dynamic: dict[int, object] = {0: Dim("batch", min=1)} if batch_size is None else {}
    if dynamic_size:
        dynamic |= {2: Dim.AUTO, 3: Dim.AUTO}
    try:
        with torch.no_grad():
            program = torch.export.export(model.eval(), (example,), dynamic_shapes={INPUT: dynamic})
    # Whatever the tracer raises, it is about what the network does.
    except Exception as error:
        remedy = "leave out --dynamic_size" if dynamic_size else "give --batch_size"
        remedy = remedy if dynamic else "export its weights with --format safetensors"
        raise InputError(f"the network cannot be traced ({one_line(error)}); {remedy}") from error
    _check_stays_dynamic(program, example, dynamic)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that it was made on
    return program


def _check_stays_dynamic(program: ExportedProgram, example: Tensor, dynamic: dict[int, object]) -> None:
    """Raise where the tracer has made a constant of a size that should stay open."""
    (placeholder,) = [node for node in program.graph.nodes if node.name == INPUT]
    found = placeholder.meta["val"].shape
    fixed = [example.shape[axis] for axis in dynamic if isinstance(found[axis], int)]
    if fixed:
        raise InputError(
            f"the network works only at the size {fixed[0]} in one dimension; leave out --dynamic_size"
        )
