"""The pictures of frost: the benchmark's photographs where they can be had, else drawn ones.

The five photographs, `frost1.png`, `frost2.png`, `frost3.png`, `frost4.jpg`, `frost5.jpg`, come with the
benchmark's own repository and with the package `imagecorruptions`. They are looked for in this order:

1. the folder named by the environment variable PUSHPULL_FROST_DIR;
2. the folder `pushpull/frost` in the user's cache ($XDG_CACHE_HOME, else ~/.cache);
3. the installed package `imagecorruptions`, whose files are read without importing it (it does not import on
   today's libraries);
4. a download into the cache (`frost_download`), tried once a process unless PUSHPULL_OFFLINE or
   HF_HUB_OFFLINE is set.

Otherwise five textures are drawn (`frost_procedural`). `frost_texture_source()` says which, for the results.
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.corruptions.frost_download import cache_folder, fetch_unasked, is_benchmark, offline_variable
from pushpull.corruptions.frost_procedural import draw_frost
from pushpull.errors import InputError, MissingFileError

ENVIRONMENT_VARIABLE = "PUSHPULL_FROST_DIR"
PACKAGE = "imagecorruptions"
BENCHMARK = "benchmark photographs"
PROCEDURAL = "procedural"
PHOTOGRAPHS = 5  # the published index never reaches the sixth
_STEMS = tuple(f"frost{number}" for number in range(1, PHOTOGRAPHS + 1))
_SUFFIXES = (".png", ".jpg", ".jpeg")


class FrostTextures(NamedTuple):
    """Five pictures of frost in one tensor.

    Attributes:
        pixels: (3, 5, h, w) uint8, RGB; each picture in the upper left of its h x w, zeros
            elsewhere.
        sizes: (5, 2) int64, each picture's height and width.
        smallest: the least of these.
    """

    pixels: Tensor
    sizes: Tensor
    smallest: int


def frost_texture_source(*, download: bool = True) -> str:
    """Say which pictures frost is laid on with, for the results: equal pictures have equal names.

    Args:
        download: False: do not try to download them, where frost is not wanted.

    Returns:
        "benchmark photographs" where the five files are the benchmark's by their SHA-256, wherever they are;
        the path of a folder with five others; or "procedural".

    Raises:
        MissingFileError: PUSHPULL_FROST_DIR names a folder without five photographs.
    """
    return _source(frost_photographs(download=download))


def frost_photographs(*, download: bool = True) -> tuple[Path, ...]:
    """Return the files of the five photographs in their order, or () where textures are drawn instead.

    Arguments and errors as `frost_texture_source`.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        paths = _five(Path(named).resolve())
        if not paths:
            raise MissingFileError(
                f"{ENVIRONMENT_VARIABLE}={named!r} is not a folder with frost1 to frost5 (.png or .jpg): "
                "name the benchmark's frost folder, or unset the variable"
            )
        return paths
    paths = _five(cache_folder()) or _of_package()
    if paths or not download or offline_variable():
        return paths
    fetch_unasked()
    return _five(cache_folder())


def frost_textures(scale: float, device: torch.device) -> FrostTextures:
    """Return the five pictures resized by `scale`.

    As OpenCV's INTER_LINEAR: bilinear, without antialiasing, rounded to whole grey levels (its
    8-bit arithmetic is coarser: at 0.3 it differs from this by a level on one value in eight).

    Raises:
        MissingFileError: as `frost_texture_source`.
        InputError: a photograph cannot be decoded.
    """
    return _prepared(frost_photographs(), scale, device)


def _source(paths: tuple[Path, ...]) -> str:
    if not paths:
        return PROCEDURAL
    return BENCHMARK if is_benchmark(paths) else str(paths[0].parent)


def _of_package() -> tuple[Path, ...]:
    """Return the files of the installed package, or ()."""
    spec = importlib.util.find_spec(PACKAGE)
    locations = (spec.submodule_search_locations or ()) if spec else ()
    return next((paths for location in locations if (paths := _five(Path(location) / "frost"))), ())


def _five(folder: Path) -> tuple[Path, ...]:
    """Return the five photographs of a folder in their order, or () unless all are there."""
    try:
        found = [
            next((path for suffix in _SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)
            for stem in _STEMS
        ]
    except OSError:  # a folder that may not be looked into has none
        return ()
    paths = tuple(path for path in found if path is not None)
    return paths if len(paths) == PHOTOGRAPHS else ()


@lru_cache(maxsize=4)
def _pictures(paths: tuple[Path, ...]) -> tuple[Tensor, ...]:
    """Return five uint8 (3, h, w) RGB pictures."""
    return tuple(_read(path) for path in paths) if paths else draw_frost()


def _read(path: Path) -> Tensor:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
    except OSError as error:
        raise InputError(
            f"cannot read the frost photograph {path}: {error}; restore it or remove it"
        ) from error


@lru_cache(maxsize=16)
def _prepared(paths: tuple[Path, ...], scale: float, device: torch.device) -> FrostTextures:
    pictures = [_resize(picture, scale) for picture in _pictures(paths)]
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    smallest = min(min(picture.shape[1:]) for picture in pictures)
    height, width = (max(picture.shape[dim] for picture in pictures) for dim in (1, 2))
    pixels = torch.zeros(3, PHOTOGRAPHS, height, width, dtype=torch.uint8)
    for number, picture in enumerate(pictures):
        pixels[:, number, : picture.shape[1], : picture.shape[2]] = picture
    return FrostTextures(pixels.to(device), sizes.to(device), smallest)


def _resize(picture: Tensor, scale: float) -> Tensor:
    """Resize by a factor: pixel i of the result is read at (i + 0.5) / scale - 0.5."""
    if scale == 1:
        return picture.float()
    small = F.interpolate(
        picture[None].float(),
        scale_factor=scale,
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=False,
    )
    return small[0].round()
