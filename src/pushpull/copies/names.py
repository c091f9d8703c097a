"""Names of class folders and image files: safe on every file system, and unique."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from urllib.parse import unquote

from pushpull.data import ImageSplit
from pushpull.errors import InputError

# Separators, what Windows forbids, control characters, whatever ends a line of a list (U+0085, U+2028, U+2029
# among them), % itself, and #, a comment's beginning in class lists.
_UNSAFE = re.compile(r'[/\\:*?"<>|%#\x00-\x1f\x7f-\x9f\u2028\u2029]|^[.\s]|[.\s]$')
_LONGEST_BYTES = 255 - len(".jpg")  # file systems take 255
_HASH_DIGITS = 16


def safe_name(name: str) -> str:
    """Return `name` with each character that a file system may refuse written as %XX.

    "cat" stays "cat", "n/a" becomes "n%2Fa"; `original_name` turns it back.
    """
    if not name:
        return "%"
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def original_name(name: str) -> str:
    """Return what `safe_name` was given."""
    return "" if name == "%" else unquote(name)


def class_folders(classes: list[str]) -> list[str]:
    """Return a folder name for each class; where two classes share a name, all have their number in front."""
    names = [safe_name(name) for name in classes]
    if _distinct(names):
        return names
    digits = len(str(len(names) - 1))
    return [f"{number:0{digits}} {name}" for number, name in enumerate(names)]


def check_folders(folders: list[str], classes: list[str]) -> None:
    """Raise `InputError` where a class folder's name is longer than a file system takes."""
    for folder, name in zip(folders, classes, strict=True):
        if (count := len(folder.encode())) > _LONGEST_BYTES:
            raise InputError(
                f"the class {name[:20]!r}... would be a folder with a name of {count} bytes, more than "
                f"{_LONGEST_BYTES}; --format parquet takes any name"
            )


def safe_stem(stem: str) -> str:
    """Return `safe_name(stem)`; where that is too long for a file, its beginning and a hash of the whole."""
    name = safe_name(stem)
    if len(name.encode()) <= _LONGEST_BYTES:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    head = name.encode()[: _LONGEST_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{head}~{digits}"


def image_names(split: ImageSplit, folders: list[str]) -> list[str]:
    """Return folder/stem of each image's file: the stem of the source's file where each has its own.

    Where an image comes from no file, or two of a class would meet, all are called by their row number.
    """
    labels, rows = split.labels.tolist(), split.index.tolist()
    file_name = getattr(split.source, "file_name", lambda row: None)
    stems = [PurePath(file_name(row) or "").stem for row in rows]
    if all(stems):
        names = [f"{folders[label]}/{safe_stem(stem)}" for label, stem in zip(labels, stems, strict=True)]
        if _distinct(names):
            return names
    digits = len(str(max(rows)))
    return [f"{folders[label]}/{row:0{digits}}" for label, row in zip(labels, rows, strict=True)]


def _distinct(names: list[str]) -> bool:
    """Return whether no two are the same where a file system does not tell "A" from "a"."""
    return len({name.casefold() for name in names}) == len(names)
