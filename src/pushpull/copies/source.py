"""What a copy is made of: an identity of every image's content and name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from pushpull.data import ImageSplit, UnreadableImageError
from pushpull.data.resident import decoding_threads

_CHUNK = 64  # images a task: long enough that a thread's start does not count


def source_digest(split: ImageSplit, names: Iterable[str]) -> str:
    """Return the SHA-256 of the images of a split, as they are stored, and of what their copies are called.

    All bytes are read once: seconds a gigabyte, where a copy decodes them for each of its tasks. Sizes and
    dates would be quicker; but a data set that was moved has other dates, a repainted one may have the same.

    Args:
        split: the images.
        names: of the files in the copy.
    """
    digest = hashlib.sha256("\0".join(names).encode())
    starts = range(0, len(split), _CHUNK)
    with ThreadPoolExecutor(decoding_threads()) as pool:
        for part in pool.map(lambda start: _part(split, range(start, start + _CHUNK)), starts):
            digest.update(part)
    return digest.hexdigest()


def _part(split: ImageSplit, positions: range) -> bytes:
    rows = split.index[positions.start : positions.stop].tolist()
    return b"".join(hashlib.sha256(_content(split, row)).digest() for row in rows)


def _content(split: ImageSplit, row: int) -> bytes:
    """Return a stored file's bytes, or size and pixels of what is not stored as a file."""
    encoded = getattr(split.source, "encoded", None)
    try:
        if encoded is not None:
            return bytes(encoded(row))
        image = split.source.open(row)
        return repr(image.size).encode() + image.tobytes()
    except UnreadableImageError:
        return b""  # counted when it is decoded
