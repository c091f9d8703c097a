"""Weights from a file into a network, all of them or none; and into a file that says what they are of."""

from __future__ import annotations

import argparse
import json
import math
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PosixPath, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pushpull.errors import InputError, MissingFileError, listed, one_line
from pushpull.files import EPOCHS, WEIGHTS, atomic_path, read_json
from pushpull.unit.layers import Inhibited, PushPullConv2d

_PICKLED = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".pkl")  # .tar: NAME.pth.tar
WEIGHTS_ENDINGS = (".safetensors", *_PICKLED)
_WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "net", "weights")
# What DataParallel, torch.compile and the classes of training scripts put before each key.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# What the paper's own code calls a unit's parameters.
_PAPER = {"push_conv.weight": "weight", "push_conv.bias": "bias", "pull_inhibition_strength": "alpha"}
_SHOWN, _LONGEST = 3, 40
# What pickles of tensors alone name too: the rebuilding of a tensor, its storage, the mapping.
_OF_TENSORS = (
    *("collections.", "torch._utils.", "torch.storage.", "torch.nn.parameter."),
    *("builtins.set", "__builtin__.set"),
)
_PICKLES = 5  # in such a file, before the numbers of the tensors


def load_weights(model: nn.Module, path: Path | str) -> nn.Module:
    """Copy the weights of a file into `model`, in place, and return it.

    The file is read without running any code of it. Every key and shape must fit; where one does not,
    nothing has been changed.

    Args:
        model: the network that the weights are of.
        path: a .safetensors file, or a .pth, .pt, .pth.tar, .ckpt or .bin file with a state dict (also below
            "state_dict", "model" and the like, also with the prefixes of DataParallel, torch.compile and
            training scripts, also with the names of the paper's code for the unit's parameters).

    Raises:
        MissingFileError: no such file.
        InputError: another kind of file, a broken one, or weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} is not a file; give a .safetensors or .pth file of weights")
    own = model.state_dict()
    loaded = _of_the_paper(_without_prefixes(read_weights(path), own), model)
    # Files from before these counters existed lack them; only batch norms without momentum use them.
    loaded = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | loaded
    units = [f"{name}.gate" for name, unit in model.named_modules() if isinstance(unit, PushPullConv2d)]
    own = own | {key: loaded[key] for key in units if key in loaded}  # saved half-way
    _check_fits(path, own, loaded)
    model.load_state_dict(loaded)
    return model


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file, as it is there, without running any code of the file.

    Raises:
        InputError: another kind of file, a broken one, or one that holds more, such as a whole network.
    """
    if path.suffix not in WEIGHTS_ENDINGS:
        raise InputError(
            f"{path} is not a file of weights; give one that ends in {', '.join(WEIGHTS_ENDINGS)}"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # What torch warns of, other protocols and TorchScript, comes back as an error.
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings(action="ignore"):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    # Broken files raise anything from EOFError to RuntimeError.
    except Exception as error:
        raise InputError(_unread(path, error)) from error
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
            f"{path} holds no state dict (names and tensors), plain or under {', '.join(_WRAPPERS)}"
        )
    return dict(content)


def _harmless() -> list[Any]:
    """Return the classes that training scripts save beside weights: they hold values and run nothing."""
    kinds = [type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64")]
    scalar: Any = np.float64(0).__reduce__()[0]
    # As NumPy 1 and 2 call it, whichever is here.
    scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *scalars, *kinds, PurePosixPath, PosixPath]


def _unread(path: Path, error: Exception) -> str:
    """Say why a file cannot be read; what it holds beside tensors is named, and never loaded."""
    found = [] if path.suffix == ".safetensors" else _foreign(path, error)
    if not found:
        return f"{path} could not be read as weights ({one_line(error)}); it may be damaged"
    return (
        f"{path} holds objects of {listed(found, _SHOWN)}, which are not loaded since they can run code: "
        "save the state dict (torch.save(model.state_dict(), path)), or give FILE.py:FUNCTION that builds "
        "the network"
    )


def _foreign(path: Path, error: Exception) -> list[str]:
    """Return the classes that a pickled file holds beside tensors; none where it is damaged."""
    if "TorchScript" in str(error):
        return ["TorchScript"]
    try:
        with torch.serialization.safe_globals(_harmless()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no archive of torch's of today
        return _pickled_classes(path)


def _pickled_classes(path: Path) -> list[str]:
    """Return what pickles name, one after the other as torch.save wrote them before 1.6; none of broken ones.

    They are read as a list of instructions, of which none is followed.
    """
    found = set[str]()
    with suppress(Exception), path.open("rb") as file:
        for _ in range(_PICKLES):
            if file.peek(1)[:1] != b"\x80":
                break
            found.update(_classes_of_one(file))
        foreign = (name for name in found if not name.startswith(_OF_TENSORS))
        return sorted(name for name in foreign if not re.fullmatch(r"torch\.\w+Storage", name))
    return []


def _classes_of_one(file: IO[bytes]) -> Iterator[str]:
    """Yield what one pickle names: a name is given whole, or put together of the last two texts."""
    texts, memo, last = list[Any](), dict[Any, Any](), None
    for code, value, _ in pickletools.genops(file):
        if code.name == "GLOBAL":
            yield str(value).replace(" ", ".")
        elif code.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif code.name == "MEMOIZE":
            memo[len(memo)] = last
            continue
        value = memo.get(value) if code.name in ("BINGET", "LONG_BINGET") else value
        last = value if isinstance(value, str) else None
        texts += [value] if isinstance(value, str) else []


def _without_prefixes(weights: dict[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take off what stands before all keys, as long as the network's own keys do not have it."""
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in weights) and not all(key.startswith(prefix) for key in own):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _of_the_paper(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights with the unit's parameters called as here.

    Raises:
        InputError: a trained strength, where the network's is fixed at another value.
    """
    renamed, modules = {}, dict(model.named_modules())
    for key, value in weights.items():
        theirs = next((name for name in _PAPER if key.endswith(f".{name}")), None)
        if theirs is None:
            renamed[key] = value
            continue
        layer = key.removesuffix(f".{theirs}")
        unit = modules.get(layer)
        if theirs == "pull_inhibition_strength" and isinstance(unit, Inhibited):
            own, value = unit.strength, value.flatten()
            if isinstance(own, Tensor):
                value = value.expand_as(own)
            elif bool((value == own).all()):
                continue
            else:
                raise InputError(
                    f"the weights were trained with strength {value[:_SHOWN].tolist()}, here it is fixed at "
                    f"{own}; build the network with pp3_alpha, or with this alpha"
                )
        renamed[f"{layer}.{_PAPER[theirs]}"] = value
    return renamed


def _check_fits(path: Path, own: Mapping[str, Any], loaded: Mapping[str, Tensor]) -> None:
    complaints = []
    missing = [key for key in own if key not in loaded]
    unknown = [key for key in loaded if key not in own]
    shapes = [
        f"{key} {tuple(loaded[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in loaded and not nn.parameter.is_lazy(own[key]) and own[key].shape != loaded[key].shape
    ]
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("has", shapes)):
        if keys:
            complaints.append(f"{what} {listed(keys, _SHOWN)}")
    if complaints:
        raise InputError(f"{path} does not fit the model: it {'; '.join(complaints)}; nothing was loaded")


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict of `model` and `metadata` atomically; the same ones always give the same bytes."""
    # Clones: safetensors stores neither shared nor strided (channels_last) memory.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file in place: the library writes them in an order by chance.

    The header is JSON behind 8 bytes with its length, which stays: the same text in another order.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) == length:  # without any metadata there is nothing to sort
            file.seek(8)
            file.write(text)


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


def read_notes(path: Path) -> dict[str, Any]:
    """Return `read_metadata` with what is JSON in it as values: classes, preprocessing, alpha.

    Raises:
        InputError: one of them is not as `pushpull train` and `pushpull export` write it.
    """
    notes: dict[str, Any] = dict(read_metadata(path))
    for key, (is_right, what) in _NOTES.items():
        if key not in notes:
            continue
        text = notes[key]
        try:
            notes[key] = json.loads(text)
            right = is_right(notes[key])
        except (ValueError, RecursionError, OverflowError):
            right = False
        if not right:
            shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
            raise InputError(
                f"{path} says {key}={shown!r}, which is not {what}; save it without that, or export it again"
            )
    return notes


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _is_strength(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and 0 <= float(value) < math.inf)


# What a file of weights may say of its network: whether it is that, and what it should be.
_NOTES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "classes": (_are_names, "a list of names"),
    "cut": (_are_names, "a list of layers"),
    "preprocessing": (lambda value: value is None or isinstance(value, dict), "mean, std and size, or null"),
    "alpha": (_is_strength, "a finite number of at least 0, or null"),
}


def epochs_left(place: Path | str) -> str | None:
    """Return "1 of 40" where the training of a run folder has not gone to its end; None where it has.

    A folder of an earlier version does not say; its training is taken for finished.

    Args:
        place: the folder, or the file of its weights.
    """
    place = Path(place)
    path = (place.parent if place.name == WEIGHTS else place) / EPOCHS
    noted = read_json(path) if path.is_file() else {}
    try:
        done, of = int(noted.get("done", 0)), int(noted.get("of", 0))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged; train again or delete it") from error
    return f"{done} of {of}" if done < of else None
