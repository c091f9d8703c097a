"""When two evaluations are the same one, so that the second may continue the first's file."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pushpull._version import __version__
from pushpull.errors import InputError
from pushpull.evaluation.results import Results

# Labels may be changed between sittings; these decide the numbers.
_DECISIVE = {
    "model": ("weights_sha256", "adapted"),
    "data": ("split", "images", "image_size", "framing", "limit", "sha256"),
    "preprocessing": ("mean", "std", "size"),
    "corruption": ("scale", "seed", "source", "frost_textures", "jpeg_quality"),
    "versions": ("pushpull",),
}


def model_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a network's description and of every entry of its state dict.

    The description is in it because two networks may share all weights and differ in a fixed setting, such as
    the inhibition strength.
    """
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(model)).encode())
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            digest.update(f"{name} {value!r}".encode())
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"pushpull": __version__, "torch": torch.__version__, "python": platform.python_version()}
    for package in ("torchvision", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def continued(fresh: Results, path: Path, *, overwrite: bool) -> Results:
    """Return `fresh` with the conditions that the file at `path` already holds.

    Args:
        fresh: results without conditions, of the evaluation that is about to run.
        path: the file; need not exist.
        overwrite: True: ignore what it holds.

    Raises:
        InputError: the file is of an evaluation that differs in what decides the numbers, and is not the
            clean error that training has left there; or it cannot be read.
    """
    if overwrite or not path.exists():
        return fresh
    found = Results.load(path)
    if differences := "; ".join(_differences(found, fresh)):
        source, same = found.model["source"], found.data["name"] == fresh.data["name"]
        of_run = source is not None and Path(source).resolve() == path.parent.resolve()
        if of_run and same and not found.corrupted:
            return fresh  # what training has left there: the clean error alone is made again in seconds
        raise InputError(
            f"{path} holds another evaluation ({differences})",
            remedy="--overwrite replaces it, another --output keeps both",
        )
    told = ("classes", "skipped", "logits")
    data = fresh.data | {key: found.data[key] for key in told if key in found.data}
    corruption = {**fresh.corruption}
    if "files" in fresh.corruption:
        corruption["files"] = found.corruption.get("files", {}) | fresh.corruption["files"]
    fresh = replace(fresh, data=data, corruption=corruption, created=found.created)
    return replace(fresh, clean=found.clean, corrupted=found.corrupted)


def _differences(found: Results, fresh: Results) -> Iterator[str]:
    for section, keys in _DECISIVE.items():
        there, now = getattr(found, section), getattr(fresh, section)
        for key in keys:
            if section == "corruption" and not found.corrupted:
                continue  # nothing that is there was made with it
            if key == "frost_textures" and "frost" not in found.corrupted:
                continue  # likewise
            if there.get(key) != now.get(key):
                yield f"{section}.{key} is {_short(there.get(key))} there, {_short(now.get(key))} now"
    if found.precision != fresh.precision:
        yield f"precision is {found.precision} there, {fresh.precision} now"
    # Corruptions may be fetched one after another: only of those in both must the files agree.
    there, now = (results.corruption.get("files", {}) for results in (found, fresh))
    for name in sorted(there.keys() & now.keys()):
        if there[name] != now[name]:
            yield f"the files of {name} are others"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:20]}..."
