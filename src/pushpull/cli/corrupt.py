"""The command `pushpull corrupt`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pushpull.copies.copying import CopyOptions, write_corrupted
from pushpull.copies.gallery import write_gallery
from pushpull.copies.manifest import MANIFEST
from pushpull.data import Framing
from pushpull.data.decode import usable_cores
from pushpull.errors import InputError, all_printable, say
from pushpull.files import user_path

_OF_BOTH = ("corruptions", "severities", "scale", "seed", "jpeg_quality", "overwrite")
_OF_COPIES = ("format", "split", "limit", "shard_images", "workers", "batch_size")


def corrupt_command(
    source: str | None = None,
    destination: str | None = None,
    *,
    options: CopyOptions,
    gallery: bool = False,
    resize: int | None = None,
    crop: int | None = None,
    tile: int | None = None,
    quiet: bool = False,
) -> None:
    """Write a corrupted copy of a data set, or draw one image in every corruption; a killed one continues.

    Args:
        source: digits, a folder of parquet files or tar shards, an image folder, owner/name of the hub, or
            hf://datasets/owner/name, which is read in place. With --gallery an image file, or
            sample, a photograph that scikit-learn ships.
        destination: The folder that gets the copy: new, empty, or with a part of this copy. With --gallery
            the picture, .png or .jpg; by default NAME-gallery.png.
        gallery: Draw one image in all corruptions and severities instead.
        resize: Shorter side in pixels before corruption. By default images stay as they are where all have
            one size; else 256, and --crop 224.
        crop: Side in pixels of the square that is kept of the middle.
        tile: Height in pixels of an image in a gallery; by default 160.
        quiet: Show no progress bar.
        options: What a copy has in it, and how it is made.

    Raises:
        InputError: something that does not exist or does not fit, in one line.

    Example:
        pushpull corrupt photos copies/photos-c --corruptions fog frost --severities 1 3 5
    """
    framing = None if resize is None and crop is None else Framing(resize, crop)
    if gallery:
        _draw_gallery(source, destination, options, framing=framing, tile_px=tile)
    else:
        _refuse("without --gallery", {"tile": tile})
        _copy(source, destination, options, framing, progress=not quiet)


def _copy(
    source: str | None, destination: str | None, options: CopyOptions, framing: Framing | None, progress: bool
) -> None:
    """Write the copy and say what is in it."""
    if source is None or destination is None:
        raise InputError("give a data set and a destination (pushpull corrupt SRC DST), or --gallery [IMAGE]")
    options = replace(options, workers=usable_cores() if options.workers is None else options.workers)
    record = write_corrupted(source, destination, options, framing=framing, progress=progress)
    place = user_path(destination).resolve()
    say(f"{_summary(all_printable(record))}\nComplete in {place}; {MANIFEST} says what it is")


def _draw_gallery(source: str | None, destination: str | None, options: CopyOptions, **others: Any) -> None:
    """Draw it by what was given; what only a copy has is refused."""
    _refuse("with --gallery, which draws one image", {name: getattr(options, name) for name in _OF_COPIES})
    wanted = others | {name: getattr(options, name) for name in _OF_BOTH}
    given = {name: value for name, value in wanted.items() if value is not None}
    say(f"Written to {write_gallery(source, destination, **given).resolve()}")


def _refuse(why: str, options: dict[str, Any]) -> None:
    """Raise where an option is given that would do nothing."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name} {value} means nothing {why}; leave it out")


def _summary(record: dict[str, Any]) -> str:
    """Return in a line what a copy holds."""
    names, levels = record["corruptions"], " ".join(map(str, record["severities"]))
    height, width = record["image_size"]
    lost = len(record["skipped"])
    skipped = f", {lost} unreadable left out" if lost else ""
    return (
        f"{record['label']}: {record['images'] - lost} images of {height}x{width}{skipped}, "
        f"{len(names)} corruption{'s' * (len(names) > 1)} at severity {levels}, {record['scale']} scale, "
        f"seed {record['seed']}"
    )
