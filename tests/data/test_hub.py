import datasets
import pytest
from datasets import DatasetDict

from data.made import table
from pushpull.data.load import DataConfig, load_data
from pushpull.data.tables import is_hub_name
from pushpull.errors import InputError


@pytest.fixture
def hub(monkeypatch):
    """What load_dataset is asked for, and gives."""
    asked, given = [], {}

    def load_dataset(path, name=None):
        asked.append((path, name))
        if isinstance(given.get(path), Exception):
            raise given[path]
        return given[path]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked, given


def test_names():
    assert is_hub_name("uoft-cs/cifar10")
    assert is_hub_name("ILSVRC/imagenet-1k:default")
    for name in ("cifar10", "/data/cifar10", "./data", "a/b/c", "../data", "a/b c"):
        assert not is_hub_name(name)


def test_a_data_set_of_the_hub(hub):
    asked, given = hub
    given["owner/set"] = DatasetDict(
        {
            "test": table([0, 1], ["cat", "dog"]),
            "train": table([0, 1] * 10, ["cat", "dog"]),
            "extra": table([0]),
        }
    )
    data = load_data("owner/set:small")
    assert asked == [("owner/set", "small")]
    assert data.classes == ["cat", "dog"]
    assert [len(split) for split in (data.train, data.validation, data.test)] == [18, 2, 2]
    assert data.label == "set:small"
    assert data.remarks == ["not a split of ours, not used: extra"]
    assert data.test.image(1).getpixel((0, 0)) == (1, 1, 1)


def test_a_decoding_image_feature_is_never_decoded_by_the_library(hub):
    rows = table([0, 1], ["cat", "dog"]).cast_column("img", datasets.Image())
    hub[1]["owner/set"] = DatasetDict({"test": rows})
    assert load_data("owner/set").test.image(1).getpixel((0, 0)) == (1, 1, 1)


def test_imagenets_test_split_is_unlabelled_so_validation_is_evaluated(hub):
    names = ["tench", "goldfish"]
    hub[1]["ILSVRC/imagenet-1k"] = DatasetDict(
        {
            "train": table([0, 1] * 20, names),
            "validation": table([1, 0, 1], names),
            "test": table([-1, -1], names),
        }
    )
    data = load_data(DataConfig("ILSVRC/imagenet-1k", validation_fraction=0.25))
    assert data.test.name == "validation"
    assert data.test.labels.tolist() == [1, 0, 1]
    assert data.validation.name == "train (held out)"
    assert (len(data.train), len(data.validation)) == (30, 10)
    assert data.remarks == ["the test split is unlabelled: not used"]


def test_what_cannot_be_had_is_one_line(hub):
    hub[1]["owner/set"] = ConnectionError("Couldn't reach 'owner/set' on the Hub\nLong\nstory")
    with pytest.raises(InputError, match="'owner/set' is not a folder here and cannot be fetched") as caught:
        load_data("owner/set")
    assert "Couldn't reach" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_split_that_we_know(hub):
    hub[1]["owner/set"] = DatasetDict({"everything": table([0])})
    with pytest.raises(InputError, match="no train, validation or test split among everything"):
        load_data("owner/set")
