"""The pictures of frost: the benchmark's photographs where they can be had, else drawn ones.

The five photographs, `frost1.png`, `frost2.png`, `frost3.png`, `frost4.jpg`, `frost5.jpg`, come with the
benchmark's own repository and with the package `imagecorruptions`. They are looked for in this order:

1. the folder named by the environment variable PUSHPULL_FROST_DIR;
2. the folder `pushpull/frost` in the user's cache ($XDG_CACHE_HOME, else ~/.cache);
3. the installed package `imagecorruptions`, whose files are read without importing it (it does not import on
   today's libraries);
4. a download into the cache (`fetch_frost`), tried once a process unless PUSHPULL_OFFLINE or
   HF_HUB_OFFLINE is set.

Otherwise five textures are drawn (`frost_procedural`). `frost_texture_source()` says which, for the results.
"""

from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import os
import queue
import sys
import threading
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pushpull.corruptions.frost_procedural import draw_frost
from pushpull.errors import InputError, MissingFileError, one_line, say
from pushpull.files import atomic_path, user_cache

ENVIRONMENT_VARIABLE = "PUSHPULL_FROST_DIR"
PACKAGE = "imagecorruptions"
BENCHMARK = "benchmark photographs"
PROCEDURAL = "procedural"
PHOTOGRAPHS = 5  # the published index never reaches the sixth
_SUFFIXES = (".png", ".jpg", ".jpeg")

ADDRESS = "https://raw.githubusercontent.com/bethgelab/imagecorruptions/master/imagecorruptions/frost/"

# Of the files in the package imagecorruptions 1.1.2. The published index never reaches its sixth.
SHA256 = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
}

_OFFLINE = ("PUSHPULL_OFFLINE", "HF_HUB_OFFLINE")
_TRIED = "_PUSHPULL_FROST_TRIED"  # an environment variable, which tells the workers that this process starts
_UNASKED_SECONDS = 5.0  # what a run may wait for pictures that were not asked for by name
_LARGEST_BYTES = 4_000_000  # the largest photograph has 1.2 MB

_NOTE = (
    "pushpull: note: the benchmark's photographs of frost could not be fetched, so frost is drawn, and its "
    f"figures are not those of published tables; to have them install {PACKAGE}, or set "
    f"{ENVIRONMENT_VARIABLE} to their folder (pushpull.corruptions.fetch_frost() says what failed)"
)

_Arrived: TypeAlias = "queue.SimpleQueue[tuple[str, bytes | Exception]]"


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
    paths = frost_photographs(download=download)
    if not paths:
        return PROCEDURAL
    return BENCHMARK if is_benchmark(paths) else str(paths[0].parent)


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


def frost_textures(scale: float, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Return the five pictures resized by `scale`, in one tensor.

    As OpenCV's INTER_LINEAR: bilinear, without antialiasing, rounded to whole grey levels (its
    8-bit arithmetic is coarser: at 0.3 it differs from this by a level on one value in eight).

    Returns:
        Pixels (3, 5, h, w) uint8, RGB, each picture in the upper left of its h x w, zeros elsewhere; sizes
        (5, 2) int64, each picture's height and width; the least of these.

    Raises:
        MissingFileError: as `frost_texture_source`.
        InputError: a photograph cannot be decoded.
    """
    return _prepared(frost_photographs(), scale, device)


def _of_package() -> tuple[Path, ...]:
    """Return the files of the installed package, or ()."""
    spec = importlib.util.find_spec(PACKAGE)
    locations = (spec.submodule_search_locations or ()) if spec else ()
    return next((paths for location in locations if (paths := _five(Path(location) / "frost"))), ())


def _five(folder: Path) -> tuple[Path, ...]:
    """Return the five photographs of a folder in their order, or () unless all are there."""
    each = [
        [folder / f"frost{number}{suffix}" for suffix in _SUFFIXES] for number in range(1, PHOTOGRAPHS + 1)
    ]
    try:
        found = [path for paths in each for path in list(filter(Path.is_file, paths))[:1]]
    except OSError:  # a folder that may not be looked into has none
        return ()
    return tuple(found) if len(found) == PHOTOGRAPHS else ()


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
def _prepared(paths: tuple[Path, ...], scale: float, device: torch.device) -> tuple[Tensor, Tensor, int]:
    pictures = [_resize(picture, scale) for picture in _pictures(paths)]
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    smallest = min(min(picture.shape[1:]) for picture in pictures)
    height, width = (max(picture.shape[dim] for picture in pictures) for dim in (1, 2))
    pixels = torch.zeros(3, PHOTOGRAPHS, height, width, dtype=torch.uint8)
    for number, picture in enumerate(pictures):
        pixels[:, number, : picture.shape[1], : picture.shape[2]] = picture
    return pixels.to(device), sizes.to(device), smallest


def _resize(picture: Tensor, scale: float) -> Tensor:
    """Resize by a factor: pixel i of the result is read at (i + 0.5) / scale - 0.5."""
    if scale == 1:
        return picture.float()
    return F.interpolate(picture[None].float(), None, scale, "bilinear", False, False)[0].round()


def cache_folder() -> Path:
    """Return the folder of the user's cache where the photographs are kept, which need not exist."""
    return user_cache() / "frost"


def fetch_frost(timeout_seconds: float = 60.0) -> Path:
    """Download the benchmark's five photographs of frost into the user's cache; return the folder.

    2 MB, from the public repository of the package `imagecorruptions`, and only if the cache lacks them.
    Nothing is written unless all five have the SHA-256 of that package's files.

    Args:
        timeout_seconds: longest wait in all, name resolution included.

    Returns:
        The folder that holds them.

    Raises:
        InputError: they cannot be downloaded or stored, or PUSHPULL_OFFLINE or HF_HUB_OFFLINE is set.
    """
    folder = cache_folder()
    if all((folder / name).is_file() and _digest(folder / name) == SHA256[name] for name in SHA256):
        return folder
    variable = offline_variable()
    if variable:
        raise InputError(f"{variable} is set, so the photographs of frost are not downloaded; unset it")
    for name, content in _contents(timeout_seconds).items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return folder


@cache
def fetch_unasked() -> None:
    """Try `fetch_frost` once in this process, for 5 s at most; where it fails, say so and go on.

    A note on standard error, not a warning, which would come with a source line; of several processes one
    says it. A worker does not wait again for what its parent has not got.
    """
    if multiprocessing.parent_process() is not None and _TRIED in os.environ:
        return
    os.environ[_TRIED] = "1"
    try:
        fetch_frost(_UNASKED_SECONDS)
    except InputError:
        first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))
        if first and multiprocessing.parent_process() is None:
            say(_NOTE, file=sys.stderr)


def offline_variable() -> str | None:
    """Return the environment variable that forbids downloads, if one does."""
    no = ("", "0", "false", "no", "off")
    return next((name for name in _OFFLINE if os.environ.get(name, "").strip().lower() not in no), None)


def _contents(timeout_seconds: float) -> dict[str, bytes]:
    """Return the five files' contents, verified, or raise within the time."""
    # In threads: without a network, resolving a name can hang for a minute, and cannot be interrupted. A
    # thread that comes too late is ignored: only this one writes files.
    arrived: _Arrived = queue.SimpleQueue()
    end = time.monotonic() + timeout_seconds
    for name in SHA256:
        threading.Thread(target=_get, args=(name, timeout_seconds, arrived), daemon=True).start()
    contents: dict[str, bytes] = {}
    while len(contents) < len(SHA256):
        try:
            name, content = arrived.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise InputError(
                f"{ADDRESS} did not send the photographs within {timeout_seconds:g} s; try again"
            ) from None
        if isinstance(content, Exception):
            raise InputError(
                f"{ADDRESS}{name} cannot be downloaded ({one_line(content)}); try again"
            ) from content
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise InputError(
                f"{ADDRESS}{name} is not the benchmark's photograph: its SHA-256 differs; try again later"
            )
        contents[name] = content
    return contents


def _get(name: str, timeout_seconds: float, arrived: _Arrived) -> None:
    from urllib.request import urlopen

    try:
        with urlopen(ADDRESS + name, timeout=timeout_seconds) as answer:
            arrived.put((name, answer.read(_LARGEST_BYTES)))
    except Exception as error:  # the network fails in many ways; the caller says how
        arrived.put((name, error))


def is_benchmark(paths: tuple[Path, ...]) -> bool:
    """Say whether five files are the benchmark's photographs, in order, by their SHA-256."""
    return tuple(_digest(path) for path in paths) == tuple(SHA256.values())


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
