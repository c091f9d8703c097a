"""What is asked of an evaluation: which conditions, of which images, made how."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pushpull.corruptions.arguments import checked_output, checked_seed
from pushpull.data import Framing
from pushpull.data.published import PublishedSet, open_published
from pushpull.errors import InputError
from pushpull.evaluation.classes import check_counts
from pushpull.evaluation.conditions import CleanImages, Conditions, InMemory, Loading, OnDisk, Pair
from pushpull.evaluation.images import EvalData, EvalImages, eval_images, images_of_set
from pushpull.evaluation.settings import condition_list, published_scale, severity_scale


@dataclass(frozen=True)
class Request:
    """The arguments of `evaluate` that say what is measured; see there."""

    corrupted: Path | str | None
    corruptions: str | Iterable[str] | None
    severities: int | Iterable[int]
    scale: str | None
    seed: int
    jpeg_quality: int | None
    limit: int | None
    framing: Framing | None

    def checked(self) -> Request:
        """Return it with plain numbers, after refusing what needs no look at data."""
        checked_output(True, self.jpeg_quality)
        seed = checked_seed(self.seed)
        if self.corrupted is None:
            condition_list(self.corruptions, self.severities)
        elif self.jpeg_quality is not None or seed:
            option = "jpeg_quality" if self.jpeg_quality is not None else "seed"
            raise InputError(
                f"{option}={getattr(self, option)} changes nothing in images on disk; leave one out"
            )
        return replace(self, seed=seed)

    def opened(self, data: EvalData | None, loading: Loading) -> tuple[list[Pair], EvalImages, Conditions]:
        """Return the conditions in order, the images that all are held against, and where theirs come from.

        Raises:
            InputError: data that cannot be evaluated, or conditions that it does not have.
        """
        if self.corrupted is not None:
            return self._on_disk(open_published(self.corrupted), data, loading)
        if data is None:
            raise InputError("data is missing; give a data set, or a corrupted set on disk (corrupted)")
        wanted = condition_list(self.corruptions, self.severities)
        images = eval_images(data, limit=self.limit, framing=self.framing)
        scale = severity_scale(self.scale, images.size, corrupted=len(wanted) > 1)
        frost = any(name == "frost" for name, _ in wanted)
        clean = CleanImages(images, loading)
        return wanted, images, InMemory(clean, scale, self.seed, self.jpeg_quality, frost=frost)

    def _on_disk(
        self, published: PublishedSet, data: EvalData | None, loading: Loading
    ) -> tuple[list[Pair], EvalImages, Conditions]:
        has_clean = data is not None
        wanted = condition_list(self.corruptions, self.severities, published.severities, clean=has_clean)
        pairs = [(name, severity) for name, severity in wanted if name is not None and severity is not None]
        if not pairs and data is None:
            raise InputError(f"no corruption of {published.root} was asked for, and no clean data given")
        if data is not None:
            images = eval_images(data, limit=self.limit, framing=self.framing)
        else:
            images = images_of_set(published, *pairs[0], limit=self.limit)
        for name, severity in pairs:
            counts = published.counts(name, severity)
            check_counts(f"{name} {severity} of {published.root}", counts, images)
        size = _size_on_disk(published, pairs, images)
        conditions = OnDisk(
            published=published,
            images=images,
            clean=CleanImages(images, loading) if has_clean else None,
            loading=loading,
            scale=published_scale(self.scale, size),
            limit=self.limit,
            names=tuple(dict.fromkeys(name for name, _ in pairs)),
        )
        return wanted, images, conditions


def _size_on_disk(
    published: PublishedSet, pairs: list[tuple[str, int]], images: EvalImages
) -> tuple[int, int]:
    """Return (height, width) of the set's images in px; warn where the clean ones have another."""
    if images.of_set or not pairs:
        return images.size
    split = published.split(*pairs[0])
    size = split.framed_size(Framing())
    if size != images.size:
        (height, width), (clean_height, clean_width) = size, images.size
        warnings.warn(
            f"the images on disk are {height}x{width}, the clean ones {clean_height}x{clean_width}",
            stacklevel=4,
        )
    return size
