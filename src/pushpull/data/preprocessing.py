"""How an image becomes what a network sees: its framing (resize, crop) and its normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pushpull.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MOST_SIDE_PX = 8192  # of a network's input
_MOST_PX = 50_000_000  # of an image that is resized: 150 MB, and in floating point four times that


def _positive(what: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(f"{what}={value!r} is not a positive number of pixels; give an integer >= 1 or None")


@dataclass(frozen=True)
class Framing:
    """Resize, then crop: what of an image is kept, as PIL and torchvision do it.

    The shorter side is brought to `resize` pixels (PIL bilinear, which antialiases; the longer side is
    rounded down), then the centre `crop` x `crop` pixels are taken. None leaves that step out.
    ImageNet-C was made with `Framing(256, 224)`.

    Args:
        resize: shorter side after resizing, px.
        crop: side of the square that is kept, px; at most `resize`.

    Raises:
        InputError: a size that is not a positive integer, or a crop larger than the resized image.
    """

    resize: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        _positive("resize", self.resize)
        _positive("crop", self.crop)
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise InputError(
                f"crop={self.crop} is larger than resize={self.resize}; give a crop of at most that"
            )

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) in px of an image of (height, width) `size` once it is framed."""
        if self.crop is not None:
            return self.crop, self.crop
        if self.resize is None:
            return size
        longer = int(self.resize * max(size) / min(size))
        return (longer, self.resize) if size[0] >= size[1] else (self.resize, longer)

    def apply(self, image: Image.Image, name: Callable[[], str] = lambda: "the image") -> Image.Image:
        """Return `image` resized and cropped.

        Raises:
            InputError: it is below the crop, or would have more than 50 megapixels resized; called `name()`.
        """
        height, width = Framing(self.resize).output_size((image.height, image.width))
        if (height, width) != (image.height, image.width):
            if height * width > _MOST_PX:
                raise InputError(
                    f"resize={self.resize} would make {name()} {height} x {width} px, above "
                    f"{_MOST_PX // 10**6} megapixels; give a smaller resize"
                )
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.crop is None:
            return image
        if self.crop > min(height, width):
            raise InputError(
                f"crop={self.crop} is larger than {name()} ({height} x {width} px); "
                f"give a resize of at least {self.crop}"
            )
        top, left = round((height - self.crop) / 2.0), round((width - self.crop) / 2.0)
        return image.crop((left, top, left + self.crop, top + self.crop))


def to_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """Return an RGB image as (3, H, W) uint8."""
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of a batch: y = (resize(x) - mean) / std for x in [0, 1].

    It is applied after the corruption, so a network of any input size meets the same corrupted images.

    Args:
        mean: of each channel (R, G, B), for images in [0, 1].
        std: likewise, positive.
        size: (height, width) in px that the network takes, an integer for a square; None: as they are.

    Raises:
        InputError: not three numbers, a std that is not positive, a size that is not positive.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: tuple[int, int] | int | None = None

    def __post_init__(self) -> None:
        for what in ("mean", "std"):
            given: Any = getattr(self, what)
            try:
                first, second, third = (float(value) for value in given)
            except (TypeError, ValueError, OverflowError):
                said = f"{what}={given!r} is not three numbers; give one a channel (R, G, B)"
                raise InputError(said) from None
            if not all(map(math.isfinite, (first, second, third))):
                raise InputError(
                    f"{what}={given!r} has a value that is not finite; give three finite numbers"
                )
            # Lists come from YAML and JSON; tuples make equal settings compare equal.
            object.__setattr__(self, what, (first, second, third))
        if min(self.std) <= 0:
            raise InputError(
                f"std={self.std!r} has a value that is not positive; give three positive numbers"
            )
        if self.size is not None:
            object.__setattr__(self, "size", _height_width(self.size))

    def __call__(self, images: Tensor) -> Float[Tensor, "n 3 height width"]:
        """Return `images` resized (bilinear, antialiased) where `size` differs, and normalised.

        Args:
            images: (N, 3, H, W), uint8 in 0..255 or floating in [0, 1]; uint8 becomes float32.

        Raises:
            InputError: another shape, or another dtype.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(
                f"images of shape {tuple(images.shape)} are not a batch of RGB; give (N, 3, H, W)"
            )
        if images.dtype == torch.uint8:
            images = images.float() / 255
        elif not images.is_floating_point():
            raise InputError(f"images of {images.dtype} are not pixels; give uint8, or floating in [0, 1]")
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = F.interpolate(images, size=self.size, mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "size": list(_height_width(self.size)) if self.size else None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Return the `Preprocessing` of what `to_dict` gave; `InputError` for an unknown or missing key."""
        if not isinstance(values, Mapping):
            raise InputError(f"preprocessing={values!r} is not a mapping; give mean, std and (optional) size")
        if set(values) - {"size"} != {"mean", "std"}:
            raise InputError(
                f"preprocessing has the keys {sorted(map(str, values))}; give mean, std and (optional) size"
            )
        return cls(**values)


def _height_width(size: Any) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, Sequence) else (size,)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2:
        raise InputError(
            f"size={size!r} is not (height, width) in pixels; give two integers, or one for a square"
        )
    for value in pair:
        _positive("size", value)
        if value > _MOST_SIDE_PX:
            raise InputError(
                f"size={value} is above {_MOST_SIDE_PX} pixels, more than a network can be given"
            )
    return pair[0], pair[1]
