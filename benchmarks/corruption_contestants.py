"""Who is timed: this package, the package `imagecorruptions`, and the original program (by its oracle)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import repository  # noqa: F401
import torch
from timing import once
from torch import Tensor

from oracles import published
from pushpull.corruptions import SEVERITIES, corrupt
from pushpull.data.decode import usable_cores

PACKAGE, ORIGINAL = "imagecorruptions", "original (oracle)"
GPU_BATCH = 256
_ENOUGH_S = 0.04  # a fast peer does several images a call


class Setting(NamedTuple):
    """One corruption, at one severity, on pictures of one size."""

    corruption: str
    severity: int
    scale: str
    pictures: Tensor


class Contestant(NamedTuple):
    """One who does so many images a call.

    Attributes:
        name: of the program, as in the table.
        threads: how many it may use; 0 on an accelerator.
        images: done in a call.
        call: does them.
    """

    name: str
    threads: int
    images: int
    call: Callable[[], Any]

    @property
    def key(self) -> str:
        """A name that is unique in a table: the program, or how ours is run."""
        if self.name != "ours":
            return self.name
        if self.threads == 0:
            return f"ours, GPU, batch {self.images}"
        return f"ours, {self.threads} thread{'s' * (self.threads > 1)}, batch {self.images}"


def ours(setting: Setting, batch: int, threads: int, device: str = "cpu") -> Contestant:
    """Return this package on a batch of pictures."""
    images = setting.pictures
    images = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch].contiguous().to(device)
    index = torch.arange(batch, device=device)
    name, severity, scale, _ = setting
    return Contestant(
        "ours", threads, batch, lambda: corrupt(images, name, severity, scale=scale, index=index)
    )


def all_of_ours(setting: Setting, batches: list[int], cpu: bool) -> list[Contestant]:
    """Return this package with 1 thread and with all, at each batch size; and on a GPU where there is one."""
    threads = dict.fromkeys((1, usable_cores())) if cpu else ()
    found = [ours(setting, batch, count) for count in threads for batch in batches]
    if torch.cuda.is_available():
        found.append(ours(setting, GPU_BATCH, 0, "cuda"))
    return found


def peers(setting: Setting) -> tuple[list[Contestant], dict[str, str]]:
    """Return the peers that run, and why the others do not: "not installed" or "raises"."""
    found, absent = [], {}
    for name, single in ((PACKAGE, _package(setting)), (ORIGINAL, _original(setting))):
        if isinstance(single, str):
            absent[name] = single
            continue
        pictures = list(setting.pictures.permute(0, 2, 3, 1).contiguous().numpy())
        try:
            single(pictures[0])
            seconds = once(lambda: single(pictures[0]))  # noqa: B023
        except Exception as error:  # whatever an old package raises on today's libraries
            absent[name] = f"raises {type(error).__name__}"
            continue
        count = max(1, min(len(pictures), round(_ENOUGH_S / seconds)))
        found.append(Contestant(name, 1, count, _loop(single, pictures[:count])))
    return found, absent


def _loop(single: Callable[[np.ndarray], Any], pictures: list[np.ndarray]) -> Callable[[], Any]:
    return lambda: [single(picture) for picture in pictures]


def _package(setting: Setting) -> Callable[[np.ndarray], Any] | str:
    """Return the package's function, or why there is none. It has the constants of one scale alone."""
    if setting.scale != "imagenet":
        return "has no such scale"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import imagecorruptions
        except ImportError as error:
            return f"not installed ({error.name})"
    return lambda picture: imagecorruptions.corrupt(
        picture, corruption_name=setting.corruption, severity=setting.severity
    )


def _original(setting: Setting) -> Callable[[np.ndarray], Any] | str:
    if package := published.missing(setting.corruption):
        return f"not installed ({package})"
    function = published.oracle(setting.corruption)
    params = SEVERITIES[setting.scale][setting.corruption][setting.severity - 1]
    rng = np.random.default_rng(0)
    return lambda picture: function(picture, params, rng)
