"""The manifest of a corrupted copy: what it is, so that a second run continues it or keeps off."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pushpull.copies.layouts import LAYOUTS, written
from pushpull.copies.plan import CopyPlan
from pushpull.data import ImageSplit, UnreadableImageError
from pushpull.data.images import decoding_threads
from pushpull.errors import InputError
from pushpull.evaluation.continuing import package_versions
from pushpull.evaluation.results import Info
from pushpull.files import HALF_WRITTEN, LOCK, read_json

MANIFEST = "manifest.json"
KIND = "corrupted copy 1"  # another number: a form that this version does not read
_FORMER = ".pushpull"  # earlier versions' folder of what was half done
_CHUNK = 64  # images read by a thread at a time: long enough that its start does not count
_PACKAGES = {"parquet": ("pillow", "pyarrow"), "npy": ("pillow", "numpy")}  # beside what all depend on
# What decides the files; the names of source and label may change between sittings.
_DECISIVE = (
    *("form", "split", "role", "images", "image_size", "framing", "limit", "sha256"),
    *("source_sha256", "corruptions", "severities", "scale", "seed", "jpeg_quality", "frost_textures"),
    *("shard_images", "versions"),
)


def new_manifest(plan: CopyPlan, info: Info) -> dict[str, Any]:
    """Return the manifest of a copy that is about to be made. No time or machine is in it: only the copy."""
    versions = {name: text for name, text in package_versions().items() if name in ("pushpull", "torch")}
    return {
        "kind": KIND,
        "complete": False,
        "form": plan.layout,
        "source": info["name"],
        "label": info["label"],
        "note": info["note"],
        "split": info["split"],
        "role": plan.role,
        "images": info["images"],
        "skipped": [],
        "image_size": info["image_size"],
        "framing": info["framing"],
        "limit": info["limit"],
        "sha256": info["sha256"],
        "source_sha256": source_digest(plan.split, plan.names),
        "corruptions": list(dict.fromkeys(name for name, _ in plan.conditions)),
        "severities": sorted({severity for _, severity in plan.conditions}),
        "scale": plan.scale,
        "seed": plan.seed,
        "jpeg_quality": plan.jpeg_quality,
        "frost_textures": plan.frost,
        "shard_images": plan.shard,
        "shards": plan.shards,
        "classes": list(plan.split.classes),
        "versions": versions | {name: version(name) for name in _PACKAGES.get(plan.layout, ("pillow",))},
    }


def source_digest(split: ImageSplit, names: Iterable[str]) -> str:
    """Return the SHA-256 of the images of a split, as they are stored, and of what their copies are called.

    All bytes are read once: seconds per gigabyte, where a copy decodes them for each of its tasks. Sizes and
    dates would be quicker; but a data set that was moved has other dates, a repainted one may have the same.

    Args:
        split: the images.
        names: of the files in the copy.
    """
    digest = hashlib.sha256("\0".join(names).encode())

    def part(start: int) -> bytes:
        rows = split.index[start : start + _CHUNK].tolist()
        return b"".join(hashlib.sha256(_content(split, row)).digest() for row in rows)

    with ThreadPoolExecutor(decoding_threads()) as pool:
        for some in pool.map(part, range(0, len(split), _CHUNK)):
            digest.update(some)
    return digest.hexdigest()


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


def save_manifest(root: Path, record: dict[str, Any]) -> None:
    """Write it whole."""
    with written(root / MANIFEST) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        # Halves of characters, as of names that are no UTF-8, can stand in JSON as escapes alone.
        text = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
        temporary.write_bytes(text.encode())


def found_manifest(root: Path) -> dict[str, Any] | None:
    """Return the manifest of the copy at `root`, None where there is nothing yet.

    Raises:
        InputError: `root` is a file, or holds something that is no corrupted copy.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; give a folder that is empty or does not exist")
    path = root / MANIFEST
    if not path.exists():
        names = (item.name for item in root.iterdir()) if root.exists() else ()
        others = sorted(name for name in names if name != LOCK and not HALF_WRITTEN.fullmatch(name))
        if others:
            raise InputError(
                f"{root} holds {others[0]}{', ...' if len(others) > 1 else ''} and no {MANIFEST}: it was not "
                "written by pushpull corrupt; give a folder that is empty or does not exist"
            )
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise InputError(f"{path} is not the manifest of a corrupted copy; give another folder")
    if (root / _FORMER).exists():
        raise InputError(
            f"{root} holds a part of a copy by an earlier version, which cannot be gone on with; "
            "remove the folder, or give another"
        )
    return record


def check_same(found: dict[str, Any], fresh: dict[str, Any], root: Path) -> None:
    """Raise `InputError` that says what differs, where two manifests are of different copies."""
    said = "; ".join(differences(found, fresh))
    if said:
        raise InputError(
            f"{root} holds another copy ({said}); --overwrite replaces it, another folder keeps both"
        )


def differences(found: dict[str, Any], fresh: dict[str, Any]) -> Iterator[str]:
    """Yield what makes two manifests those of different copies."""
    for key in _DECISIVE:
        there, now = found.get(key), fresh[key]
        if key == "source_sha256" and there != now:
            yield "the source's images or their names have changed since"
        elif isinstance(now, dict) and isinstance(there, dict):
            for part in {**there, **now}:
                if there.get(part) != now.get(part):
                    yield f"{key}.{part} is {_short(there.get(part))} there, {_short(now.get(part))} now"
        elif there != now:
            yield f"{key} is {_short(there)} there, {_short(now)} now"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} characters)"


def remove_copy(root: Path, record: dict[str, Any]) -> None:
    """Delete the files of the copy that a manifest describes, and the folders that are empty then.

    What else lies there stays. The manifest goes last, so that a kill leaves what can be removed again, and
    says "removed" meanwhile: what is left of the files is no part of a copy that could be gone on with.
    """
    root = root.resolve()
    try:
        files = list(LAYOUTS[record["form"]].files(record, root))
        folders = [root / name for name in record["corruptions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{root / MANIFEST} is broken ({error}); remove the folder by hand") from error
    for path in (*files, *folders):
        if path == root or not path.resolve().is_relative_to(root):
            raise InputError(f"{root / MANIFEST} names {path}, outside {root}; remove the folder by hand")
    save_manifest(root, {**record, "complete": False, "removed": True})
    for path in files:
        path.unlink(missing_ok=True)
    for folder in folders:
        for place, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # not empty: something that is not ours
                os.rmdir(place)
    (root / MANIFEST).unlink()
