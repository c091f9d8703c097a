"""The command `pushpull corrupt`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pushpull.copies.copying import write_corrupted
from pushpull.copies.gallery import write_gallery
from pushpull.copies.manifest import MANIFEST
from pushpull.data import Framing
from pushpull.data.cores import usable_cores
from pushpull.errors import InputError


def corrupt_command(
    source: str | None = None,
    destination: str | None = None,
    *,
    gallery: bool = False,
    format: str | None = None,
    split: str | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    scale: str | None = None,
    seed: int = 0,
    jpeg_quality: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
    tile: int | None = None,
    limit: int | None = None,
    shard_images: int | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Write a corrupted copy of a data set, or draw one image in every corruption; a killed one continues.

    Args:
        source: digits, a folder of parquet files, an image folder, or owner/name of the hub. With --gallery
            an image file, or sample, a photograph that scikit-learn ships.
        destination: The folder that gets the copy: new, empty, or with a part of this copy. With --gallery
            the picture, .png or .jpg; by default NAME-gallery.png.
        gallery: Draw one image in all corruptions and severities instead.
        format: parquet (corruption/severity/test-00000-of-00001.parquet), folder (ImageNet-C's
            corruption/severity/class/file) or npy (CIFAR-10-C's files). By default parquet.
        split: test (what evaluate takes), validation or train. By default test.
        corruptions: Names of corruptions, families (noise, blur, weather, digital), benchmark (the 15), extra
            (the 4 others) or all. By default benchmark; in a gallery all.
        severities: Some of 1 2 3 4 5. By default all.
        scale: The corruptions' constants: imagenet, cifar or tiny. By default by the size of the images.
        seed: Of the corruptions' random numbers.
        jpeg_quality: Store JPEG of this quality, 1 to 100; ImageNet-C has 85. By default PNG, without loss.
        resize: Shorter side in pixels before corruption. By default images stay as they are where all have
            one size; else 256, and --crop 224.
        crop: Side in pixels of the square that is kept of the middle.
        tile: Height in pixels of an image in a gallery; by default 160.
        limit: At most so many images, the same share of every class, always the same ones.
        shard_images: Images that are decoded at a time: the rows of a parquet file. By default up to 1000, by
            their size.
        workers: Processes. By default one for each usable core.
        batch_size: Images at a time, by default 64; does not change results.
        overwrite: Replace the copy or picture that is there.
        quiet: Show no progress bar.

    Raises:
        InputError: something that does not exist or does not fit, in one line.
    """
    framing = None if resize is None and crop is None else Framing(resize, crop)
    both = _given(corruptions=corruptions, severities=severities, scale=scale, jpeg_quality=jpeg_quality)
    both |= _given(framing=framing, seed=seed, overwrite=overwrite)
    copies = _given(format=format, split=split, limit=limit, shard_images=shard_images)
    copies |= _given(workers=workers, batch_size=batch_size)
    if gallery:
        _refuse("with --gallery, which draws one image", copies)
        path = write_gallery(source, destination, **both, **_given(tile_px=tile))
        print(f"Written to {path.resolve()}")
        return
    _refuse("without --gallery", _given(tile=tile))
    _copy(source, destination, {"workers": usable_cores(), "progress": not quiet} | both | copies)


def _copy(source: str | None, destination: str | None, options: dict[str, Any]) -> None:
    if source is None or destination is None:
        raise InputError("give a data set and a destination (pushpull corrupt SRC DST), or --gallery [IMAGE]")
    record = write_corrupted(source, destination, **options)
    print(_summary(record))
    print(f"Complete in {Path(destination).expanduser().resolve()}; {MANIFEST} says what it is")


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given: the others' defaults are those of the functions."""
    return {name: value for name, value in options.items() if value is not None}


def _refuse(why: str, options: dict[str, Any]) -> None:
    """Raise where an option is given that would do nothing."""
    for name, value in options.items():
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
