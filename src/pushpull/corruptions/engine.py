"""The entry points: a batch of images in, the corrupted batch out, at once or in two steps.

The checks of their arguments serve the transforms, augmentations and evaluations too; each mistake is one
clear line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushpull.corruptions import grey
from pushpull.corruptions.jpeg import jpeg_compression
from pushpull.corruptions.registry import REGISTRY, Canvas, Corruption, scale_by_size, spelled
from pushpull.errors import InputError, integer
from pushpull.random import Draws, native
from pushpull.random.native import tables_on_the_host

SMALLEST_PX = 16
# Images of so many pixels are corrupted together: on a CPU, for each thread, what a step leaves shall still
# be in the cache at the next; an accelerator needs much work per step, and its memory bounds it.
_PIXELS_PER_THREAD = 4 * 224 * 224
_PIXELS_ELSEWHERE = 256 * 224 * 224

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    scale: str | None = "imagenet",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    jpeg_quality: int | None = None,
    quantize: bool = True,
) -> Tensor:
    """Corrupt a batch of images as the common-corruptions benchmark does (Hendrycks & Dietterich, ICLR 2019).

    The same image, index, name, severity, scale and seed give the same bits, whatever else is in the batch;
    no global random state is read or changed unless `index` is None.

    Args:
        images: (N, 3, H, W) RGB, uint8 in 0..255 or floating point in [0, 1]; H, W >= 16, on any device.
        name, severity: one of `CORRUPTIONS`, `EXTRA_CORRUPTIONS` or `register_corruption`, in any case, with
            spaces or hyphens too; 1..5.
        scale: which constants: "imagenet" (made for 224 pixels), "cifar" (32) or "tiny" (64). None: those of
            the nearest size, as in evaluations, with a warning if the images have another size.
        seed: any integer, modulo 2^64; another seed gives other random numbers.
        index: (N,) integers, which images these are; None: drawn anew by torch's generator.
        jpeg_quality: 1..100: encode and decode as JPEG (4:2:0); published: ImageNet-C 85, CIFAR-10-C None.
        quantize: clip and truncate to whole grey levels, as published. False: only clip to [0, 1].

    Returns:
        The same shape and device; the same dtype, but float32 for uint8 with `quantize=False`.

    Raises:
        InputError: an argument that is not as above.

    >>> corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "fog", 3, scale="cifar", index=[0, 1]).shape
    torch.Size([2, 3, 32, 32])
    """
    how, word = _checked(images, name, severity, scale, jpeg_quality, quantize), checked_seed(seed)
    rows, canvas = identities(index, len(images), images.device), _canvas(images)
    return _in_parts(images, how, lambda part: _sample(how[0], word, rows[part], canvas))


def sample_corruption(
    name: str,
    severity: int,
    size: tuple[int, int],
    *,
    scale: str | None = "imagenet",
    seed: int = 0,
    index: Tensor | Sequence[int],
    eight_bit: bool = True,
    device: torch.device | str = "cpu",
) -> Any:
    """Draw what is random in a corruption, for `apply_corruption`; together they are `corrupt`.

    Args:
        name, severity, scale, seed: as for `corrupt`.
        size: (height, width) of the images, px.
        index: (N,) integers, which images these are.
        eight_bit: whether the images are uint8; shot_noise draws more for others.
        device: where the images are.

    Returns:
        None for a corruption without randomness, else a tensor or a named tuple of tensors with leading N:
        each corruption's module (`pushpull.corruptions.noise`, ...) says what they are. They may be changed.

    Raises:
        InputError: an argument that is not as above.
    """
    scale = _by_size(*checked_size(size)) if scale is None else scale
    level, word = checked_level(name, severity, scale), checked_seed(seed)
    if level[0].sample is None:
        raise InputError(f"{name} draws its random numbers while it is applied: use corrupt, which does both")
    canvas = Canvas(*checked_size(size), eight_bit)
    try:
        count = len(index)
    except TypeError as error:
        raise InputError(f"index={index!r} is not a sequence; give one integer per image") from error
    return _sample(level, word, identities(index, count, torch.device(device)), canvas)


def apply_corruption(
    images: Tensor,
    name: str,
    severity: int,
    drawn: Any,
    *,
    scale: str | None = "imagenet",
    jpeg_quality: int | None = None,
    quantize: bool = True,
) -> Tensor:
    """Corrupt images with what `sample_corruption` drew; deterministic.

    Args:
        images, name, severity, scale, jpeg_quality, quantize: as for `corrupt`.
        drawn: from `sample_corruption` for as many images of this size.

    Returns:
        As `corrupt`.

    Raises:
        InputError: an argument that is not as above.
    """
    how = _checked(images, name, severity, scale, jpeg_quality, quantize)
    _check_drawn(drawn, how[0], images)
    return _in_parts(images, how, lambda part: _taken(drawn, part))


def _in_parts(images: Tensor, how: _How, drawn: Callable[[slice], Any]) -> Tensor:
    """Return images corrupted a part of the batch at a time; `drawn` tells what is random in a part."""
    corruption, *_ = how[0]
    # From bytes to bytes loops do an image at a time anyhow: nothing lies in between.
    at_once = corruption.on_bytes and native.applies(images)
    parts = [slice(None)] if at_once else slices(images, _PIXELS_PER_THREAD)
    results = (_apply(images[part], how, drawn(part)) for part in parts)
    first, count = next(results), len(images)
    if len(first) == count:
        return first
    if not native.applies(first):
        return torch.cat([first, *results])
    # One after the other into place: each part is made in the memory of the one before, still in the cache.
    whole = first.new_empty(count, *first.shape[1:])
    done = 0
    for result in chain((first,), results):
        whole[done : done + len(result)] = result
        done += len(result)
    return whole


def slices(images: Tensor, pixels_per_thread: int) -> Iterator[slice]:
    """Yield what to do together, so many pixels for each thread, more on an accelerator; one if empty."""
    on_cpu = images.device.type == "cpu"
    pixels = pixels_per_thread * torch.get_num_threads() if on_cpu else _PIXELS_ELSEWHERE
    step = max(1, pixels // (images.shape[2] * images.shape[3]))
    for start in range(0, max(len(images), 1), step):
        yield slice(start, start + step)


def _sample(level: Level, seed: int, rows: Tensor, canvas: Canvas) -> Any:
    corruption, severity, params = level
    with tables_on_the_host():
        draws = Draws(rows, seed=seed, name=corruption.name, severity=severity)
        return draws if corruption.sample is None else corruption.sample(draws, params, canvas)


def _apply(images: Tensor, how: _How, drawn: Any) -> Tensor:
    (corruption, _, params), jpeg_quality, quantize = how
    if len(images) == 0:
        return images.clone() if quantize or images.is_floating_point() else images.float()
    x = images.contiguous()  # one result whatever the memory order, and flat views in the corruptions
    x = grey.to_bytes(x) if corruption.on_bytes else grey.to_floats(x)
    with torch.autocast(x.device.type, enabled=False), tables_on_the_host():
        corrupted = corruption.apply(x, params, drawn)
    kind = torch.float32 if images.dtype == torch.uint8 else images.dtype
    if not quantize:
        return grey.to_floats(corrupted).clamp(0.0, 1.0).to(kind)
    levels = grey.truncate_to_bytes(corrupted)
    if jpeg_quality is not None:
        levels = jpeg_compression(levels, jpeg_quality)
    return levels if images.dtype == torch.uint8 else levels.to(kind).div_(255.0)


def _check_drawn(drawn: Any, level: Level, images: Tensor) -> None:
    """Raise unless `drawn` has the form of what is drawn for these images."""
    like = _sample(level, 0, torch.zeros(1, dtype=torch.int64), _canvas(images))
    corruption, _, params = level
    name = corruption.name
    if type(drawn) is not type(like):
        given, wanted = type(drawn).__name__, type(like).__name__
        raise InputError(f"drawn is a {given}, {name} takes a {wanted}; draw it by sample_corruption")
    pairs = zip(drawn, like, strict=True) if isinstance(like, tuple) else [(drawn, like)]
    for mine, theirs in pairs:
        found, wanted = _form(mine), _form(theirs, len(images))
        if found != wanted:
            raise InputError(
                f"drawn has {found} where {name} takes {wanted}; draw for these images and severity"
            )
    if len(images) and corruption.limits is not None:
        for field, limits in corruption.limits(params).items():
            _check_within(f"drawn.{field} of {name}", getattr(drawn, field), *limits)


def _check_within(what: str, part: Tensor, least: float, greatest: float) -> None:
    low, high = (bound.item() for bound in part.aminmax())
    if not (low >= least and high <= greatest):  # so that NaN fails too
        raise InputError(f"{what} spans {low:g}..{high:g}; give values in {least:g}..{greatest:g}")


def _form(part: Any, count: int | None = None) -> str:
    """Say what a part of what is drawn is: its shape (for `count` images) and type of number."""
    if not isinstance(part, Tensor):
        return "nothing" if part is None else type(part).__name__
    shape = tuple(part.shape) if count is None else (count, *part.shape[1:])
    return f"{shape} {str(part.dtype).removeprefix('torch.')}"


def _taken(drawn: Any, part: slice) -> Any:
    """Return what was drawn for a part of the batch."""
    if drawn is None or isinstance(drawn, Tensor):
        return None if drawn is None else drawn[part]
    return type(drawn)(*(_taken(field, part) for field in drawn))


Level = tuple[Corruption, int, Any]
"""A corruption, a severity, and its constants at one scale."""
_How = tuple[Level, int | None, bool]  # and the quality of JPEG afterwards, and whether to quantize


_by_size = cache(scale_by_size)  # so that the note comes once for each size


def _checked(
    images: Tensor, name: str, severity: int, scale: str | None, jpeg_quality: int | None, quantize: bool
) -> _How:
    check_images(images)
    level = checked_level(name, severity, _by_size(*images.shape[2:]) if scale is None else scale)
    return level, checked_jpeg_quality(jpeg_quality, quantize=quantize), quantize


def _canvas(images: Tensor) -> Canvas:
    return Canvas(images.shape[2], images.shape[3], images.dtype == torch.uint8)


def checked_level(name: str, severity: int, scale: str) -> Level:
    """Return the corruption of that name with the constants of its severity and scale, or raise."""
    corruption = REGISTRY.find(spelled(name, REGISTRY))
    level = checked_severity(severity)
    return corruption, level, corruption.params(level, scale)


def checked_jpeg_quality(jpeg_quality: int | None, *, quantize: bool = True) -> int | None:
    """Return the quality as int, or None; raise unless it is in 1..100 and goes with `quantize`."""
    if not isinstance(quantize, bool):
        raise InputError(f"quantize={quantize!r} is neither True nor False; give one of them")
    if jpeg_quality is None:
        return None
    quality = integer("jpeg_quality", jpeg_quality, "give one of 1..100, or None for no JPEG")
    if not 1 <= quality <= 100:
        raise InputError(f"jpeg_quality={quality} is outside 1..100; 85 is what ImageNet-C was stored with")
    if not quantize:
        raise InputError(
            f"jpeg_quality={quality} goes through 8 bits, which quantize=False forbids; leave one of them out"
        )
    return quality


def checked_severity(severity: object) -> int:
    """Return a severity of 1..5 as int, or raise."""
    level = integer("severity", severity, "give one of 1..5")
    if not 1 <= level <= 5:
        raise InputError(f"severity={level} is outside 1..5; give one of 1, 2, 3, 4, 5")
    return level


def checked_seed(seed: object) -> int:
    """Return a seed as int, or raise."""
    return integer("seed", seed, "give any whole number")


def _unlike_pixels(images: Tensor) -> str | None:
    """Return what a tensor is, where it is none of plain numbers that one can compute with."""
    if images.is_nested:
        return "nested"
    if images.is_quantized:
        return "quantized"
    if images.layout != torch.strided:
        return str(images.layout).removeprefix("torch.")
    return "meta" if images.device.type == "meta" else None


def check_images(images: Tensor, *, smallest_px: int = SMALLEST_PX, verb: str = "corrupt") -> None:
    """Raise unless `images` is a batch of RGB images, uint8 or in [0, 1], none smaller than `smallest_px`.

    `verb` says what is not to be done after normalising.
    """
    if not isinstance(images, Tensor):
        raise InputError(
            f"images is a {type(images).__name__}, not a tensor; give a (N, 3, H, W) torch tensor"
        )
    kind = _unlike_pixels(images)
    if kind:
        raise InputError(f"images is a {kind} tensor; give a plain one, on a device, with its pixels")
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"images has the shape {tuple(images.shape)}, not (N, 3, H, W); give a batch of RGB images"
        )
    height, width = images.shape[2:]
    check_size(height, width, smallest_px)
    if images.dtype == torch.uint8:
        return
    if images.dtype not in _FLOATING:
        raise InputError(
            f"images has the dtype {images.dtype}; give uint8 in 0..255, or float16, bfloat16, float32 or "
            "float64 in [0, 1]"
        )
    if images.numel() == 0:
        return
    low, high = (bound.item() for bound in images.detach().aminmax())
    # Written so that NaN, for which every comparison is false, fails too.
    if not (low >= 0.0 and high <= 1.0):
        raise InputError(
            f"images spans {low:.8g}..{high:.8g}, outside [0, 1]; {verb} before normalising, or give uint8"
        )


def checked_size(size: object) -> tuple[int, int]:
    """Return (height, width) in px as integers, or raise unless images of that size can be corrupted."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise InputError(f"size={size!r} is not (height, width); give two integers")
    height, width = (integer("size", side, "give (height, width) in px") for side in size)
    check_size(height, width)
    return height, width


def check_size(height: int, width: int, smallest_px: int = SMALLEST_PX) -> None:
    """Raise unless images of this size, px, are large enough."""
    if min(height, width) < smallest_px:
        raise InputError(
            f"images of {height}x{width} are too small; give at least {smallest_px}x{smallest_px}"
        )


def identities(index: Tensor | Sequence[int] | None, count: int, device: torch.device) -> Tensor:
    """Return (N,) int64 on `device`: the given identities, or new ones."""
    if index is None:
        return torch.randint(0, 2**62, (count,), device="cpu").to(device)
    try:
        # By way of a fresh array: torch takes neither backward views nor lists of numpy's uint64.
        given = index if isinstance(index, Tensor) else torch.from_numpy(np.array(index, order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"index of type {type(index).__name__} holds no integers; give {count} integers"
        ) from error
    if given.numel() == 0 and count == 0:
        return torch.zeros(0, dtype=torch.int64, device=device)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise InputError(f"index has the dtype {given.dtype}; give {count} integers, one per image")
    if given.shape != (count,):
        raise InputError(
            f"index has the shape {tuple(given.shape)}, the batch {count} images; give ({count},) integers"
        )
    return given.to(device=device, dtype=torch.int64)
