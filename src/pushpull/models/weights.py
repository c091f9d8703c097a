"""Weights as safetensors that say what network they are of."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pushpull.errors import InputError, MissingFileError
from pushpull.files import atomic_path


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict of `model` and `metadata` atomically."""
    # Clones: safetensors stores neither shared nor strided (channels_last) memory.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the strings stored with the weights; a missing or corrupt file is an `InputError`."""
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; give a run folder that `pushpull train` finished")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}); train again or restore it"
        ) from error
