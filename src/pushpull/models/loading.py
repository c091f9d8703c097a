"""Weights from a file into a network, all of them or none; and into a file that says what they are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pushpull.errors import InputError, MissingFileError, one_line
from pushpull.files import atomic_path

_PICKLED = (".pth", ".pt")
WEIGHTS_ENDINGS = (".safetensors", *_PICKLED)
_WRAPPERS = ("state_dict", "model")
# What DataParallel, DistributedDataParallel and torch.compile put before each key.
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 3


def load_weights(model: nn.Module, path: Path | str) -> nn.Module:
    """Copy the weights of a file into `model`, in place, and return it.

    The file is read without running any code of it. Every key and shape must fit; where one does not,
    nothing has been changed.

    Args:
        model: the network that the weights are of.
        path: a .safetensors file, or a .pth or .pt file with a state dict (also below "state_dict" or
            "model", also with the prefixes of DataParallel and torch.compile).

    Raises:
        MissingFileError: no such file.
        InputError: another kind of file, a broken one, or weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} is not a file; give a .safetensors or .pth file of weights")
    loaded = _without_prefixes(_read(path))
    own = model.state_dict()
    # Files from before these counters existed lack them; only batch norms without momentum use them.
    loaded = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | loaded
    _check_fits(path, own, loaded)
    model.load_state_dict(loaded)
    return model


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in _PICKLED:
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise InputError(f"{path} is not a .safetensors, .pth or .pt file")
    except InputError:
        raise
    # Broken files raise anything from EOFError to RuntimeError.
    except Exception as error:
        raise InputError(
            f"{path} could not be read as weights ({one_line(error)}); it may be damaged"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise InputError(
            f"{path} holds no state dict (names and tensors), plain or under {' or '.join(_WRAPPERS)}"
        )
    return dict(content)


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _check_fits(path: Path, own: Mapping[str, Any], loaded: Mapping[str, Tensor]) -> None:
    complaints = []
    missing = [key for key in own if key not in loaded]
    unknown = [key for key in loaded if key not in own]
    shapes = [
        f"{key} {tuple(loaded[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in loaded and own[key].shape != loaded[key].shape
    ]
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("has", shapes)):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            complaints.append(f"{what} {', '.join(keys[:_SHOWN])}{more}")
    if complaints:
        raise InputError(f"{path} does not fit the model: it {'; '.join(complaints)}; nothing was loaded")


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
