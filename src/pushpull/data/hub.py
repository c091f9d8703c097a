"""Data sets of the public hub, by owner/name."""

from __future__ import annotations

import re

from pushpull.data.columns import tables_to_raw
from pushpull.data.raw import SPLITS, RawData, split_called
from pushpull.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")


def is_hub_name(name: str) -> bool:
    """Return whether `name` has the form owner/name or owner/name:configuration."""
    return _NAME.fullmatch(name) is not None


def load_hub(name: str) -> RawData:
    """Fetch a data set (into the library's cache) and return its splits.

    Raises:
        InputError: not there, not reachable, not allowed, or not a table of images with labels.
    """
    from datasets import load_dataset

    path, _, configuration = name.partition(":")
    try:
        found = load_dataset(path, configuration or None)
    except Exception as error:
        # Not found, gated, offline, no disk, a script: the library and its HTTP client share no base class.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name!r} is not a folder here and cannot be had from the hub ({reason}); "
            "check the name and the connection, or give a folder of parquet files"
        ) from error
    tables = {split: found[key] for key in found if (split := split_called(key)) and len(found[key])}
    if not tables:
        raise InputError(f"{name!r} has no train, validation or test split among {', '.join(found)}")
    raw = tables_to_raw({split: tables[split] for split in SPLITS if split in tables}, name)
    others = [key for key in found if not split_called(key)]
    if others:
        raw.remarks.append(f"not a split of ours, not used: {', '.join(others)}")
    return raw
