"""The images that an evaluation runs over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from pushpull.data import (
    DataConfig,
    DataSplits,
    Framing,
    ImageSplit,
    UnreadableImageError,
    load_data,
)
from pushpull.data.images import AS_IS
from pushpull.data.published import PublishedSet
from pushpull.errors import InputError, integer
from pushpull.evaluation.results import Info
from pushpull.random import Draws

EvalData = str | DataConfig | DataSplits | ImageSplit | tuple[Tensor, Tensor]

# Which images `limit` takes is part of what a result means, so its seed is fixed.
_LIMIT_SEED = 0


@dataclass(frozen=True)
class EvalImages:
    """The images of an evaluation.

    Args:
        split: what is evaluated, after `limit`.
        whole: what there is before `limit`.
        framing: resize and crop before anything else.
        size: (height, width) after it.
        info: what the results say of them.
        classes: how many logits a network must have; None where the data does not know.
        of_set: whether they are images of a corrupted set, because there are no clean ones.
    """

    split: ImageSplit
    whole: ImageSplit
    framing: Framing
    size: tuple[int, int]
    info: Info
    classes: int | None
    of_set: bool = False


def eval_images(data: EvalData, *, limit: int | None = None, framing: Framing | None = None) -> EvalImages:
    """Return the test images that `data` names or is.

    Args:
        data: a name, a `DataConfig`, `DataSplits` (its test split), an `ImageSplit`, or a tuple of images
            (uint8, (n, 3, H, W)) and labels (n,).
        limit: at most so many, the same share of every class, always the same ones; None: all.
        framing: None: the data's own.

    Raises:
        InputError: no test split, no images, labels below 0, or a limit below 1.
    """
    whole, name, label, note, own_framing = _named(data)
    total = len(whole)
    split = limited(whole, label, limit)
    framing = framing or own_framing
    size = split.framed_size(framing)
    info = _info(split, framing, size)
    info |= {"name": name, "label": label, "limit": len(split) if len(split) < total else None, "note": note}
    # Labels alone do not tell how many classes there are: the highest may not occur.
    classes = None if isinstance(data, tuple) else len(split.classes)
    return EvalImages(split, whole, framing, size, info, classes)


def images_of_set(published: PublishedSet, name: str, severity: int, *, limit: int | None) -> EvalImages:
    """Return the images of one condition of a corrupted set, where there are no clean ones.

    Args:
        published: the set.
        name, severity: of the condition.
        limit: as for `eval_images`.

    Raises:
        InputError: no images with labels, or a limit below 1.
    """
    whole = published.split(name, severity)
    split = limited(whole, whole.name, limit)
    size = split.framed_size(AS_IS)
    info = _info(split, AS_IS, size, of_pixels=False)
    label = published.root.resolve().name
    number = len(split) if len(split) < len(whole) else None
    info |= {"name": str(published.root), "label": label, "split": "corrupted", "limit": number}
    classes = None if published.numbered else len(split.classes)
    return EvalImages(split, whole, AS_IS, size, info, classes, of_set=True)


def _info(split: ImageSplit, framing: Framing, size: tuple[int, int], *, of_pixels: bool = True) -> Info:
    return {
        "name": split.name,
        "label": split.name,
        "split": split.name,
        "images": len(split),
        "image_size": list(size),
        "classes": list(split.classes),
        "skipped": [],
        "limit": None,
        "note": None,
        "framing": {"resize": framing.resize, "crop": framing.crop},
        "sha256": _data_digest(split, framing, size, of_pixels=of_pixels),
    }


def _named(data: EvalData) -> tuple[ImageSplit, str, str, str | None, Framing]:
    """Return split, name, label, note and framing."""
    if isinstance(data, str | DataConfig):
        data = load_data(data)
    if isinstance(data, DataSplits):
        return data.required("test"), data.config.name, data.label, data.note, data.framing
    if isinstance(data, tuple):
        data = ImageSplit.from_tensors(*data)
    if isinstance(data, ImageSplit):
        return data, "in memory", f"{data.name} images in memory", None, Framing()
    raise InputError(
        f"data of type {type(data).__name__} is none that evaluate knows; "
        "give a name, DataConfig, DataSplits, ImageSplit or (images, labels)"
    )


def limited(split: ImageSplit, label: str, limit: int | None) -> ImageSplit:
    """Return the images that are evaluated.

    Args:
        split: all images.
        label: what errors call them.
        limit: at most so many, the same share of every class; None: all.

    Raises:
        InputError: no images, labels below 0, or a limit below 1.
    """
    if len(split) == 0:
        raise InputError(f"{label} holds no images; give a data set that has some")
    lowest = int(split.labels.min())
    if lowest < 0:
        raise InputError(
            f"{label} holds the label {lowest}: its test images have no labels; use another split"
        )
    if limit is None:
        return split
    limit = integer("limit", limit, "give a number of images, or none for all")
    if limit >= len(split):
        return split
    if limit < 1:
        raise InputError(f"limit={limit} is below 1; give a number of images, or none for all")
    return split.subset(stratified_positions(split, limit))


def stratified_positions(split: ImageSplit, count: int) -> Tensor:
    """Return `count` ascending positions, always the same: of every class its share, to one image.

    Args:
        split: the images.
        count: 1..len(split).
    """
    sizes = torch.bincount(split.labels)
    share = sizes.double() * count / len(split)
    quota = share.floor().long()
    # Largest remainders get the images that rounding down left; a stable sort settles ties by class number.
    by_remainder = (share - quota).sort(descending=True, stable=True).indices
    quota[by_remainder[: count - int(quota.sum())]] += 1
    order = Draws(split.index, seed=_LIMIT_SEED, name="limit", severity=0).uniform().sort(stable=True).indices
    by_class = order[split.labels[order].sort(stable=True).indices]
    starts = sizes.cumsum(0) - sizes
    place_in_class = torch.arange(len(split)) - starts.repeat_interleave(sizes)
    return by_class[place_in_class < quota.repeat_interleave(sizes)].sort().values


def _data_digest(split: ImageSplit, framing: Framing, size: tuple[int, int], *, of_pixels: bool) -> str:
    """Digest of labels, row numbers, class names and the first readable image: tells data sets apart.

    Without the image where every condition has its own.
    """
    digest = hashlib.sha256("\n".join(split.classes).encode())
    for values in (split.labels, split.index):
        digest.update(values.cpu().contiguous().numpy().tobytes())
    for position in range(len(split) if of_pixels else 0):
        try:
            digest.update(split.framed(position, framing, size).numpy().tobytes())
            break
        except UnreadableImageError:
            continue
    return digest.hexdigest()
