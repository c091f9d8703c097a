"""Labels as whole numbers, and class names as many as the images call for, whatever the largest label is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from pushpull.errors import InputError, one_line

# So many classes may be without names and without images; the largest sets have 22,000.
_ALWAYS = 100_000


def whole_labels(labels: Any, origin: str) -> Int64[Tensor, " n"]:
    """Return labels as int64: whole numbers of any type, or True and False.

    Args:
        labels: a tensor, an array or a sequence.
        origin: what an error calls the data.

    Raises:
        InputError: they are of another type: nothing is rounded.
    """
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"labels of {origin} are not whole numbers ({one_line(error)}); number them"
        ) from error
    if found.is_floating_point() or found.is_complex():
        shown = ", ".join(f"{value:g}" for value in found.flatten()[:3].tolist())
        raise InputError(f"labels of {origin} are {found.dtype} ({shown}, ...); give whole numbers from 0")
    if found.dtype == torch.uint64 and found.numel() and int(found.view(torch.int64).min()) < 0:
        raise InputError(f"labels of {origin} reach beyond 2**63; give whole numbers from 0")
    return found.to(torch.int64).cpu()


def numbered(labels: Iterable[Int64[Tensor, " n"]], origin: str) -> list[str]:
    """Return the names "0", "1", ... of the labels of all splits, up to the largest; none without labels.

    Raises:
        InputError: the largest label is far above what so many images can need.
    """
    splits = [values for values in labels if len(values)]
    top = max((int(values.max()) for values in splits), default=-1)
    images = sum(map(len, splits))
    if top >= max(_ALWAYS, images):
        raise InputError(
            f"{origin} has the label {top} for {images} images; number the classes 0, 1, 2, ..., or name them"
        )
    return [str(number) for number in range(top + 1)]
