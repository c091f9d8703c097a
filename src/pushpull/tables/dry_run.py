"""Every row of a table for two steps, on few images: to know today that next week's table will run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pushpull.data import DataSplits, ImageSplit
from pushpull.evaluation.images import stratified_positions
from pushpull.tables.spec import Row

NOTE = "dry run, not results"
_STEPS, _BATCH, _TEST_IMAGES = 2, 8, 2


def shortened(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with recipes of one epoch of small batches, which is two steps of the data below."""
    return [
        replace(row, recipe=replace(row.recipe, epochs=1, batch_size=_BATCH, workers=0, compile=False))
        for row in rows
    ]


def few_images(splits: DataSplits, limit: int | None) -> DataSplits:
    """Return the data with images for two steps and two (or `limit`) to evaluate on.

    Where there are no training images, test images take their place: nothing of a dry run is a result.
    """
    test = splits.required("test")
    train = splits.train or test
    validation = splits.validation or test
    return replace(
        splits,
        train=_few(train, _STEPS * _BATCH),
        validation=_few(validation, _BATCH),
        test=_few(test, limit or _TEST_IMAGES),
        note=NOTE,
        label=f"{splits.label} ({NOTE})",
    )


def _few(split: ImageSplit, count: int) -> ImageSplit:
    return split.subset(stratified_positions(split, count)) if count < len(split) else split
