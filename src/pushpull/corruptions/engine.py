"""The entry points: a batch of images in, the corrupted batch out, at once or in two steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pushpull.corruptions import grey
from pushpull.corruptions.arguments import (
    Level,
    check_images,
    checked_jpeg_quality,
    checked_level,
    checked_seed,
    checked_size,
    identities,
)
from pushpull.corruptions.jpeg import jpeg_compression
from pushpull.corruptions.registry import Canvas, Corruption
from pushpull.errors import InputError
from pushpull.random import Draws, native
from pushpull.random.native import tables_on_the_host

# Images of so many pixels are corrupted together: on a CPU, for each thread, what a step leaves shall still
# be in the cache at the next; an accelerator needs much work per step, and its memory bounds it.
_PIXELS_PER_THREAD = 4 * 224 * 224
_PIXELS_ELSEWHERE = 256 * 224 * 224


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    scale: str = "imagenet",
    seed: int = 0,
    index: Tensor | Sequence[int] | None = None,
    jpeg_quality: int | None = None,
    quantize: bool = True,
) -> Tensor:
    """Corrupt a batch of images as the common-corruptions benchmark does.

    The same image, index, name, severity, scale and seed give the same result, bit for bit, whatever else is
    in the batch; no global random state is read or changed unless `index` is None.

    Args:
        images: (N, 3, H, W) RGB, uint8 in 0..255 or floating point in [0, 1]; H, W >= 16, on any device.
        name: one of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`, or one of `register_corruption`.
        severity: 1..5.
        scale: which constants: "imagenet" (made for 224 pixels), "cifar" (32) or "tiny" (64).
        seed: any integer, modulo 2^64; another seed is another drawing.
        index: (N,) integers, which images these are. None: new identities from torch's default generator, so
            that `torch.manual_seed` governs them.
        jpeg_quality: 1..100: encode the corrupted image as JPEG (4:2:0) and decode it. 85 is what the files
            of the published ImageNet-C went through; CIFAR-10-C was stored without (None).
        quantize: True: clip and truncate to whole grey levels, as the published programs. False: only clip to
            [0, 1]; images come back floating-point, uint8 ones as float32.

    Returns:
        The same shape and device; the same dtype but for uint8 with `quantize=False`.

    Raises:
        InputError: for an argument that is not as above.

    Source: Hendrycks & Dietterich, ICLR 2019.

    >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    >>> corrupt(images, "fog", 3, scale="cifar", index=[0, 1]).shape
    torch.Size([2, 3, 32, 32])
    """
    level = checked_level(name, severity, scale)
    quality = checked_jpeg_quality(jpeg_quality, quantize=quantize)
    word = checked_seed(seed)
    check_images(images)
    rows = identities(index, len(images), images.device)
    canvas = Canvas(images.shape[2], images.shape[3], images.dtype == torch.uint8)
    parts = (
        _apply(images[part], level, _sample(level, word, rows[part], canvas), quantize, quality)
        for part in _parts(images, level.corruption)
    )
    return _joined(parts, len(images))


def sample_corruption(
    name: str,
    severity: int,
    size: tuple[int, int],
    *,
    scale: str = "imagenet",
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
        InputError: for an argument that is not as above.
    """
    level, word = checked_level(name, severity, scale), checked_seed(seed)
    if level.corruption.sample is None:
        raise InputError(f"{name} draws while it is applied: use corrupt, which does both")
    canvas = Canvas(*checked_size(size), eight_bit)
    try:
        count = len(index)
    except TypeError as error:
        raise InputError(f"index={index!r} is no sequence; give one integer per image") from error
    return _sample(level, word, identities(index, count, torch.device(device)), canvas)


def apply_corruption(
    images: Tensor,
    name: str,
    severity: int,
    drawn: Any,
    *,
    scale: str = "imagenet",
    jpeg_quality: int | None = None,
    quantize: bool = True,
) -> Tensor:
    """Corrupt images with what `sample_corruption` drew; deterministic.

    Args:
        images, name, severity, scale, jpeg_quality, quantize: as for `corrupt`.
        drawn: from `sample_corruption` for as many images of this size.

    Raises:
        InputError: for an argument that is not as above.
    """
    level = checked_level(name, severity, scale)
    quality = checked_jpeg_quality(jpeg_quality, quantize=quantize)
    check_images(images)
    _check_drawn(drawn, level, images)
    parts = (
        _apply(images[part], level, _taken(drawn, part), quantize, quality)
        for part in _parts(images, level.corruption)
    )
    return _joined(parts, len(images))


def _parts(images: Tensor, corruption: Corruption) -> Iterator[slice]:
    """Yield slices that cover the batch; an empty batch has one, which is empty."""
    if corruption.on_bytes and native.applies(images):
        yield slice(None)  # an image at a time anyhow, from bytes to bytes: nothing lies in between
        return
    on_cpu = images.device.type == "cpu"
    pixels = _PIXELS_PER_THREAD * torch.get_num_threads() if on_cpu else _PIXELS_ELSEWHERE
    step = max(1, pixels // (images.shape[2] * images.shape[3]))
    for start in range(0, max(len(images), 1), step):
        yield slice(start, start + step)


def _joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """Return the parts of a batch of `count` images as one, without a copy where there is only one."""
    first = next(parts)
    if len(first) == count:
        return first
    if not native.applies(first):
        return torch.cat([first, *parts])
    # One after the other into place: each part is made in the memory of the one before, still in the cache.
    whole = first.new_empty(count, *first.shape[1:])
    done = 0
    for part in chain((first,), parts):
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _sample(level: Level, seed: int, rows: Tensor, canvas: Canvas) -> Any:
    with tables_on_the_host():
        draws = Draws(rows, seed=seed, name=level.corruption.name, severity=level.severity)
        sample = level.corruption.sample
        return draws if sample is None else sample(draws, level.params, canvas)


def _apply(images: Tensor, level: Level, drawn: Any, quantize: bool, jpeg_quality: int | None) -> Tensor:
    if len(images) == 0:
        return images.clone() if quantize or images.is_floating_point() else images.float()
    x = images.contiguous()  # one result whatever the memory order, and flat views in the corruptions
    x = grey.to_bytes(x) if level.corruption.on_bytes else grey.to_floats(x)
    with torch.autocast(x.device.type, enabled=False), tables_on_the_host():
        corrupted = level.corruption.apply(x, level.params, drawn)
    kind = torch.float32 if images.dtype == torch.uint8 else images.dtype
    if not quantize:
        return grey.to_floats(corrupted).clamp(0.0, 1.0).to(kind)
    levels = grey.truncate_to_bytes(corrupted)
    if jpeg_quality is not None:
        levels = jpeg_compression(levels, jpeg_quality)
    return levels if images.dtype == torch.uint8 else levels.to(kind).div_(255.0)


def _check_drawn(drawn: Any, level: Level, images: Tensor) -> None:
    """Raise unless `drawn` has the form of what is drawn for these images."""
    canvas = Canvas(images.shape[2], images.shape[3], images.dtype == torch.uint8)
    like = _sample(level, 0, torch.zeros(1, dtype=torch.int64), canvas)
    name = level.corruption.name
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
    if len(images) and level.corruption.limits is not None:
        for field, limits in level.corruption.limits(level.params).items():
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
