"""Every row of a table for two steps, on few images: to know today that next week's table will run."""

from __future__ import annotations

from dataclasses import replace

from pushpull.data import DataSplits, ImageSplit
from pushpull.evaluation.images import stratified_positions
from pushpull.reports.tables.spec import TableFile

NOTE = "dry run, not results"
_STEPS, _BATCH, _TEST_IMAGES = 2, 8, 2


def shortened(table: TableFile) -> TableFile:
    """Return the table with one seed, two test images, and one epoch of two small batches of the data below.

    All else stays as it is (compilation, workers): whether that works is the question.
    """
    rows = (replace(row, recipe=replace(row.recipe, epochs=1, batch_size=_BATCH)) for row in table.rows)
    return replace(table, rows=tuple(rows), seeds=table.seeds[:1], limit=_TEST_IMAGES)


def few_images(splits: DataSplits, limit: int | None) -> DataSplits:
    """Return the data with images for two steps, and `limit` (None: all) to evaluate on.

    Where there are no training images, test images take their place: nothing of a dry run is a result.
    """
    test = splits.required("test")
    train = splits.train or test
    validation = splits.validation or test
    return replace(
        splits,
        train=_few(train, _STEPS * _BATCH),
        validation=_few(validation, _BATCH),
        test=_few(test, len(test) if limit is None else limit),
        note=NOTE,
        label=f"{splits.label} ({NOTE})",
    )


def _few(split: ImageSplit, count: int) -> ImageSplit:
    return split.subset(stratified_positions(split, count)) if count < len(split) else split
