"""Streamed batches some of whose images cannot be read."""

import csv
from dataclasses import replace

import pytest
import torch

from pushpull.data import Framing
from pushpull.data.decode import UnreadableImageError
from pushpull.errors import InputError
from pushpull.training import AugmentConfig, train
from pushpull.training.loaders import ImageData, check_augment
from pushpull.training.module import Classifier

# The order of an epoch is drawn: of eight pairs, at least one loses both images or one.
BROKEN = (0, 3, 5, 8, 11, 13)


class Damaged:
    """A source some of whose images cannot be decoded."""

    def __init__(self, source, rows):
        self.source, self.rows = source, rows

    def name(self, row):
        return self.source.name(row)

    def size(self, row):
        return self.source.size(row)

    def open(self, row):
        if row in self.rows:
            raise UnreadableImageError(self.name(row), "truncated")
        return self.source.open(row)


def damaged(few, rows):
    """Sixteen training images, streamed."""
    train_split = few.train.subset(range(16))
    rows = {int(train_split.index[place]) for place in rows}
    source = Damaged(train_split.source, rows)
    return replace(few, train=replace(train_split, source=source, memory_limit_gib=0.0))


@pytest.fixture
def recipe(recipe):
    return replace(recipe, batch_size=2, workers=0, data=replace(recipe.data, unreadable_limit=0.9))


@pytest.mark.filterwarnings("ignore:skipped")
def test_an_epoch_has_its_steps_and_its_validation_whatever_could_be_read(few, recipe, tmp_path, monkeypatch):
    step, sizes = Classifier.training_step, []

    def watch(self, batch, number):
        sizes.append(len(batch[1]))
        return step(self, batch, number)

    monkeypatch.setattr(Classifier, "training_step", watch)
    folder = train(recipe, tmp_path / "run", progress=False, splits=damaged(few, BROKEN))
    assert sizes == [2] * 16
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file) if row["validation_error"]]
    assert epochs == ["0", "1"]


class OneDevice:
    """What a loader asks of a trainer."""

    current_epoch, global_rank, world_size = 0, 0, 1

    class strategy:  # noqa: N801
        root_device = torch.device("cpu")


@pytest.mark.filterwarnings("ignore:skipped")
def test_a_batch_that_lost_too_much_is_the_next_that_did_not(few, recipe):
    def batches(rows, given=0):
        data = ImageData(recipe, damaged(few, rows))
        data.trainer = OneDevice()
        loader = data.train_dataloader()
        loader.load_state_dict({"epoch": 0, "given": given})
        return loader, list(loader)

    loader, whole = batches(())
    lost = {2, 3, 7}  # steps; the last one's next is the first
    rows = [int(loader.batches[number][0]) for number in lost]
    expected = [{2: 4, 3: 4, 7: 0}.get(number, number) for number in range(8)]
    for given in (0, 3):  # from the beginning, and where a stopped epoch goes on
        _, found = batches(rows, given)
        assert len(found) == 8 - given
        for (images, labels), number in zip(found, expected[given:], strict=True):
            assert torch.equal(images, whole[number][0])
            assert torch.equal(labels, whole[number][1])


@pytest.mark.filterwarnings("ignore:skipped")
def test_no_batch_with_two_readable_images_is_an_error(few, recipe, tmp_path):
    with pytest.raises(InputError, match="no batch of 2 has two readable images; raise batch_size"):
        train(recipe, tmp_path / "run", progress=False, splits=damaged(few, range(1, 15)))


def test_a_crop_for_small_images_on_large_ones_is_refused(splits):
    photographs = replace(splits, framing=Framing(256, 224), image_size=(224, 224))
    with pytest.raises(
        InputError, match=r"crop=32 .*224x224.* set augment\.crop=224 and augment\.resize=256"
    ):
        check_augment(AugmentConfig(), photographs)
    with pytest.raises(InputError, match=r"differ in size.*set augment\.crop=224"):
        check_augment(AugmentConfig(crop=None), photographs)
    with pytest.raises(InputError, match=r"crop=41 is larger than images of 32x32 with padding 4"):
        check_augment(AugmentConfig(crop=41), splits)
    check_augment(AugmentConfig(resize=256, crop=176), photographs)
    check_augment(AugmentConfig(crop=None), splits)
    check_augment(AugmentConfig(crop=24), splits)
