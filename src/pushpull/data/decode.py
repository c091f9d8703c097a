"""One image file or one row of bytes, to RGB; what cannot be decoded is named, counted and skipped."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError
from pushpull.files import user_path

_MOST_PX = 89_000_000  # decoded 270 MB; where PIL begins to warn of files made to fill the memory


class UnreadableImageError(InputError):
    """An image that cannot be decoded.

    Args:
        name: which one: a path, or a split and its row.
        reason: what the decoder said.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} is not a readable image ({reason})", remedy="replace or remove it")
        # Both go into args, so that the error can be pickled on its way out of a worker.
        self.args = name, reason
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


@contextmanager
def _opened(content: bytes | Path, name: str) -> Iterator[Image.Image]:
    try:
        if not content:
            raise UnreadableImageError(name, "zero bytes")
        with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as image:
            if image.width * image.height > _MOST_PX:
                size = f"{image.height} x {image.width} px, above {_MOST_PX // 10**6} megapixels"
                raise UnreadableImageError(name, size)
            yield image
    except (MemoryError, InputError):
        raise
    except Exception as error:
        # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...: no common base.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # The buffer's address would make the same message differ from run to run.
        raise UnreadableImageError(name, reason.split(" <_io")[0]) from error


def open_rgb(content: bytes | Path, name: str) -> Image.Image:
    """Decode an image and convert it to RGB (see `to_rgb`).

    Args:
        content: the encoded bytes, or the path of a file.
        name: what an error calls the image.

    Raises:
        UnreadableImageError: missing, empty, truncated, not an image, above 89 megapixels (which its header
            says), or a mode that has no RGB form.
    """
    with _opened(content, name) as image:
        image.load()
        return to_rgb(image)


def image_size(content: bytes | Path, name: str) -> tuple[int, int]:
    """Return (height, width) in px from the header alone; raises as `open_rgb`."""
    with _opened(content, name) as image:
        return image.height, image.width


def to_rgb(image: Image.Image) -> Image.Image:
    """Return `image` as 8-bit RGB.

    Grey is repeated, transparency is dropped (not blended), CMYK goes through PIL's plain conversion,
    16-bit grey keeps its high byte (as PIL does for 16-bit colour). The EXIF orientation is NOT applied:
    ImageNet's evaluation convention, which torchvision and timm follow.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        words = np.asarray(image).astype(np.int64).clip(0, 0xFFFF)
        return Image.fromarray((words >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns about the direct way; the colours are the same
    return image.convert("RGB")


def pixels_of(image: str | Path | Image.Image | np.ndarray | Tensor) -> Tensor:
    """Return one image in any form as (3, H, W) uint8.

    Args:
        image: a path, a PIL image, or an array or tensor (H, W), (H, W, 3) or (3, H, W), uint8 or floats in
            [0, 1]; grey ones become three equal channels.

    Raises:
        InputError: another shape, type or range, or a file that is no image.
    """
    if isinstance(image, str | Path):
        path = user_path(image)
        return to_tensor(open_rgb(path, str(path)))
    if isinstance(image, Image.Image):
        return to_tensor(to_rgb(image))
    x = torch.as_tensor(image).detach().cpu()
    shape = tuple(x.shape)
    x = x[None] if x.ndim == 2 else x
    if x.ndim == 3 and x.shape[0] not in (1, 3):
        x = x.permute(2, 0, 1)
    if x.ndim != 3 or x.shape[0] not in (1, 3) or 0 in x.shape:
        raise InputError(f"image has shape {shape}; give one image (H, W), (H, W, 3) or (3, H, W)")
    if x.is_floating_point():
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise InputError("image has values outside [0, 1]; give uint8, or floats in [0, 1]")
        x = (x * 255).round().to(torch.uint8)
    elif x.dtype != torch.uint8:
        raise InputError(f"image is {x.dtype}; give uint8, or floats in [0, 1]")
    return x.expand(3, -1, -1).contiguous()


class SkipLimit:
    """The names of skipped images: at most floor(share * total) of them.

    Args:
        what: the split, as an error calls it.
        total: images in the split.
        share: of the images that may be unreadable, in [0, 1).
    """

    def __init__(self, what: str, total: int, share: float) -> None:
        self.what, self.total, self.share = what, total, share
        self.names: list[str] = []

    @property
    def allowed(self) -> int:
        """How many images may be skipped."""
        return math.floor(self.share * self.total)

    def admit(self, errors: Iterable[Exception]) -> None:
        """Count the unreadable images of a batch, each image once however often it is met.

        Raises:
            InputError: past the limit, with count, limit and the first names. Any error that is not an
                `UnreadableImageError` is raised as it is.
        """
        for error in errors:
            if not isinstance(error, UnreadableImageError):
                raise error
            if error.name in self.names:
                continue
            self.names.append(error.name)
            self.check(self.names, error.reason)
            warnings.warn(f"skipped: {error}", stacklevel=2)

    def check(self, names: Sequence[str], reason: str = "") -> None:
        """Raise `InputError` if these are more than may be skipped.

        Args:
            names: of unreadable images.
            reason: why the last one could not be read.
        """
        if len(names) <= self.allowed:
            return
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") + (f": {reason}" if reason else "")
        raise InputError(
            f"{len(names)} unreadable of {self.total} images of {self.what} ({shown}), more than the "
            f"{self.allowed} that unreadable_limit={self.share:g} allows; repair or remove them, "
            "or raise the limit"
        )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoding_threads() -> int:
    """Return how many threads decode: one for each processor that this process may use, up to 16."""
    return min(16, usable_cores())
