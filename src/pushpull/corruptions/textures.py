"""The pictures of frost: the benchmark's photographs where they can be had, else drawn ones.

The five photographs, `frost1.png`, `frost2.png`, `frost3.png`, `frost4.jpg`, `frost5.jpg`, come with the
benchmark's own repository and with the package `imagecorruptions`. They are looked for in this order:

1. the folder named by the environment variable PUSHPULL_FROST_DIR;
2. the installed package `imagecorruptions`, whose files are read without importing it (it does not import on
   today's libraries);
3. the folder `pushpull/frost` in the user's cache ($XDG_CACHE_HOME, else ~/.cache).

Otherwise five textures are drawn (`frost_procedural`). `frost_texture_source()` says which, for the results.
"""

from __future__ import annotations

import importlib.util
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.corruptions.frost_procedural import draw_frost
from pushpull.errors import InputError, MissingFileError

ENVIRONMENT_VARIABLE = "PUSHPULL_FROST_DIR"
PACKAGE = "imagecorruptions"
PHOTOGRAPHS = 5  # the published index never reaches the sixth
_STEMS = tuple(f"frost{number}" for number in range(1, PHOTOGRAPHS + 1))
_SUFFIXES = (".png", ".jpg", ".jpeg")


class FrostTextures(NamedTuple):
    """Five pictures of frost in one tensor.

    Attributes:
        pixels: (3, 5, h, w) float32, RGB, 0..255; each picture in the upper left of its h x w, zeros
            elsewhere.
        sizes: (5, 2) int64, each picture's height and width.
    """

    pixels: Tensor
    sizes: Tensor


def frost_texture_source() -> str:
    """Say where frost comes from: "imagecorruptions", the path of a folder, or "procedural".

    Raises:
        MissingFileError: PUSHPULL_FROST_DIR names a folder without the five photographs.
    """
    return _find()[0]


def frost_textures(scale: float, height: int, width: int, device: torch.device) -> FrostTextures:
    """Return the five pictures resized by `scale`, enlarged where they would not cover `height` x `width`.

    Resized as OpenCV's INTER_LINEAR: bilinear, without antialiasing, rounded to whole grey levels (its
    8-bit arithmetic is coarser: at 0.3 it differs from this by a level on one value in eight).

    Raises:
        MissingFileError: as `frost_texture_source`.
        InputError: a photograph cannot be decoded.
    """
    source, paths = _find()
    smallest = min(min(picture.shape[1:]) for picture in _pictures(source, paths)) * scale
    # Small images all share one entry of the cache, whatever their size.
    cover = (0, 0) if max(height, width) <= int(smallest) else (height, width)
    return _prepared(source, paths, scale, *cover, device)


def _find() -> tuple[str, tuple[Path, ...]]:
    """Return the source's name and its five files (none for "procedural")."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        paths = _five(Path(named))
        if paths is None:
            raise MissingFileError(
                f"{ENVIRONMENT_VARIABLE}={named!r} is not a folder with frost1 to frost5 (.png or .jpg): "
                "name the benchmark's frost folder, or unset the variable"
            )
        return str(Path(named).resolve()), paths
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        paths = _five(Path(location) / "frost")
        if paths:
            return PACKAGE, paths
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pushpull" / "frost"
    paths = _five(cache)
    return (str(cache), paths) if paths else ("procedural", ())


def _five(folder: Path) -> tuple[Path, ...] | None:
    """Return the five photographs of a folder in their order, or None unless all are there."""
    found = [
        next((path for suffix in _SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)
        for stem in _STEMS
    ]
    paths = tuple(path for path in found if path is not None)
    return paths if len(paths) == PHOTOGRAPHS else None


@lru_cache(maxsize=4)
def _pictures(source: str, paths: tuple[Path, ...]) -> tuple[Tensor, ...]:
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
def _prepared(
    source: str, paths: tuple[Path, ...], scale: float, height: int, width: int, device: torch.device
) -> FrostTextures:
    pictures = [_cover(_resize(picture, scale), height, width) for picture in _pictures(source, paths)]
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    pixels = torch.zeros(3, PHOTOGRAPHS, *sizes.amax(0).tolist())
    for number, picture in enumerate(pictures):
        pixels[:, number, : picture.shape[1], : picture.shape[2]] = picture
    return FrostTextures(pixels.to(device), sizes.to(device))


def _cover(picture: Tensor, height: int, width: int) -> Tensor:
    """Enlarge a picture, keeping its proportions, until it covers height x width."""
    enlarge = max(height / picture.shape[1], width / picture.shape[2])
    if enlarge <= 1:
        return picture
    size = (math.ceil(picture.shape[1] * enlarge - 1e-6), math.ceil(picture.shape[2] * enlarge - 1e-6))
    return F.interpolate(picture[None], size=size, mode="bilinear", align_corners=False)[0].round()


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
