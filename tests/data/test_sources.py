"""A data source of the user's own, by name."""

from unittest.mock import patch

import pytest
import torch

from pushpull.data import DataConfig, ImageSplit, load_data, register_data
from pushpull.data.load import SOURCES
from pushpull.errors import InputError


@pytest.fixture(autouse=True)
def tidy():
    """What a test registers is gone after it."""
    with patch.dict(SOURCES):
        yield


def images(count):
    return torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.arange(count) % 3


def test_a_source_is_data_like_any_other():
    @register_data("mine")
    def mine():
        train = ImageSplit.from_tensors(*images(30), ["a", "b", "c"], name="train")
        return {"train": train, "test": images(6), "classes": ["a", "b", "c"], "note": "made up"}

    data = load_data(DataConfig("mine", fraction=0.5))
    assert data.classes == ["a", "b", "c"]
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 3, 6)
    assert data.label == "mine (made up)"
    assert mine()["note"] == "made up"  # the function stays what it was


def test_classes_are_numbered_over_all_splits_where_they_have_no_names():
    register_data("bare")(lambda: {"train": images(9), "test": images(2)})
    assert load_data("bare").classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (None, "returns a NoneType; return a mapping of splits"),
        ({}, "has no split; return one of train, validation, test"),
        ({"tset": images(3)}, "'tset' is not one of .*did you mean 'test'"),
        ({"test": images(3)[0]}, r"is not a pair \(images, labels\)"),
        ({"test": (images(3)[0].float(), images(3)[1])}, r"the test split of data set 'odd': images are"),
        (
            {"test": iter(images(3))},
            "the test split of data set 'odd' is streamed: .*; download it",
        ),
        ({"test": images(3), "classes": ["one"]}, r"labels are 0\.\.2 for 1 classes"),
    ],
)
def test_what_is_no_data_is_refused_in_a_line(made, text):
    register_data("odd")(lambda: made)
    with pytest.raises(InputError, match=text):
        load_data("odd")


def test_names_are_not_taken_twice_and_unknown_ones_listed():
    with pytest.raises(InputError, match="data set 'digits' exists already"):
        register_data("digits")(lambda: {})
    with pytest.raises(InputError, match=r"data set 'digit' does not exist; give 'digits', a folder"):
        load_data("digit")
