from itertools import chain

import pytest
import torch

from data.made import encoded, image_folder, parquet_folder, picture, table
from pushpull.data import DataConfig, Framing, load_data
from pushpull.data.load import class_file_digest
from pushpull.errors import InputError, MissingFileError
from support import SHARED, needs_shared


def rows_of(*splits):
    return [None if split is None else split.index.tolist() for split in splits]


def test_digits_is_the_default_and_says_what_it_is():
    data = load_data()
    assert data.label == "digits (demonstration, not evidence)"
    assert data.note == "demonstration, not evidence"
    assert [len(split) for split in (data.train, data.validation, data.test)] == [1293, 145, 359]
    rows = [*chain(*rows_of(data.train, data.validation, data.test))]
    assert sorted(rows) == list(range(1797))
    assert data.classes == list("0123456789")
    assert data.framing == Framing()
    assert data.image_size == (32, 32)


def test_digits_are_scikit_learns_enlarged():
    from sklearn.datasets import load_digits

    grey, numbers = load_digits(return_X_y=True)
    data = load_data("digits").test
    resident = data.resident()
    assert torch.equal(data.labels, torch.from_numpy(numbers)[data.index])
    assert torch.equal(resident.images[:, 0], resident.images[:, 2])
    small = torch.nn.functional.avg_pool2d(resident.images[:, :1].float(), 4).flatten(1)
    expected = torch.from_numpy(grey)[data.index] * 255 / 16
    # Enlarging smooths: the block means stay near the original levels and in step with them.
    assert torch.corrcoef(torch.stack([small.flatten(), expected.float().flatten()]))[0, 1] > 0.97


def test_the_test_split_of_digits_does_not_depend_on_the_split_seed():
    first, second = (load_data(DataConfig(split_seed=seed)) for seed in (0, 1))
    assert torch.equal(first.test.index, second.test.index)
    assert not torch.equal(first.validation.index, second.validation.index)


def test_with_all_three_splits_each_has_its_role(tmp_path):
    folder = image_folder(tmp_path, {"train/a": 10, "val/a": 3, "test/a": 2})
    data = load_data(str(folder))
    assert [split.name for split in (data.train, data.validation, data.test)] == [
        "train",
        "validation",
        "test",
    ]
    assert rows_of(data.train, data.validation, data.test) == [list(range(10)), [0, 1, 2], [0, 1]]
    assert data.label == tmp_path.name


def test_without_a_test_split_validation_is_evaluated_and_selection_holds_out(tmp_path):
    folder = image_folder(tmp_path, {"train/a": 10, "train/b": 10, "val/a": 3})
    data = load_data(DataConfig(str(folder), validation_fraction=0.2))
    assert data.test.name == "validation"
    assert torch.bincount(data.validation.labels).tolist() == [2, 2]
    assert sorted(chain(*rows_of(data.train, data.validation))) == list(range(20))
    none = load_data(DataConfig(str(folder), validation_fraction=0.0))
    assert none.validation is None
    assert len(none.train) == 20
    with pytest.raises(
        InputError, match=r"no validation split, only train \(20 images\).*validation_fraction > 0"
    ):
        none.required("validation")


def test_the_fraction_is_of_what_is_left_and_leaves_validation_alone(tmp_path):
    folder = image_folder(tmp_path, {"train/a": 20, "train/b": 20, "test/a": 1})
    whole = load_data(DataConfig(str(folder), split_seed=5))
    part = load_data(DataConfig(str(folder), split_seed=5, fraction=0.5))
    assert rows_of(whole.validation, whole.test) == rows_of(part.validation, part.test)
    assert torch.bincount(part.train.labels).tolist() == [9, 9]
    assert set(part.train.index.tolist()) < set(whole.train.index.tolist())


def test_a_class_of_one_image_is_trained_on_whatever_the_fraction(tmp_path):
    folder = image_folder(tmp_path, {"train/a": 20, "train/b": 1, "test/a": 1})
    data = load_data(DataConfig(str(folder), fraction=0.05))
    assert data.train.labels.tolist() == [0, 1]
    assert data.validation.labels.tolist() == [0, 0]


def test_nothing_to_hold_out(tmp_path):
    data = load_data(str(image_folder(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 1})))
    assert data.validation is None
    assert len(data.train) == 2


def test_only_classes_is_for_evaluation(tmp_path):
    data = load_data(str(image_folder(tmp_path, {"a": 2, "b": 1})))
    assert len(data.required("test")) == 3
    with pytest.raises(InputError, match=r"has no train split, only test \(3 images\); give data with"):
        data.required("train")


def test_a_class_list_selects_and_renumbers(tmp_path):
    folder = image_folder(
        tmp_path / "set", {"train/a": 4, "train/b": 4, "train/c": 4, "test/a": 1, "test/c": 2}
    )
    names = tmp_path / "names.txt"
    names.write_text("c\na\n")
    data = load_data(DataConfig(str(folder), classes=str(names), validation_fraction=0.0))
    assert data.classes == data.test.classes == ["c", "a"]
    assert data.test.labels.tolist() == [1, 0, 0]
    assert data.train.index.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert data.label == "set, 2 of 3 classes"
    digest = class_file_digest(str(names))
    names.write_text("# the same two\nc\n\na\n")
    again = load_data(DataConfig(str(folder), classes=str(names), label="Two"))
    assert class_file_digest(str(names)) == digest
    assert again.label == "Two"
    names.write_text("aa\n")
    with pytest.raises(InputError, match="'aa' is not in the data; near: a"):
        load_data(DataConfig(str(folder), classes=str(names)))


def test_a_split_without_the_classes_does_not_change_the_others_roles(tmp_path):
    folder = image_folder(tmp_path / "set", {"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1, "test/b": 1})
    names = tmp_path / "names.txt"
    names.write_text("a\n")
    with pytest.raises(InputError, match=r"the test split of .* has no image of the classes"):
        load_data(DataConfig(str(folder), classes=str(names)))


def test_the_default_framing_depends_on_the_sizes(tmp_path):
    folder = image_folder(tmp_path, {"a": 3}, size=(20, 30))
    data = load_data(str(folder))
    assert (data.framing, data.image_size) == (Framing(), (20, 30))
    (folder / "a" / "other.png").write_bytes(encoded(picture(0, (30, 20))))
    data = load_data(str(folder))
    assert (data.framing, data.image_size) == (Framing(256, 224), (224, 224))


def test_limits_of_the_configuration_reach_the_splits(tmp_path):
    folder = image_folder(tmp_path, {"train/a": 10, "test/a": 4})
    data = load_data(DataConfig(str(folder), unreadable_limit=0.5, memory_limit_gib=0.0))
    assert data.validation.unreadable_limit == data.test.subset([0]).unreadable_limit == 0.5
    assert not data.train.fits(data.framing)


def test_missing_labels_outside_the_test_split_are_an_error(tmp_path):
    parquet_folder(tmp_path, {"train": table([0, -1], ["a"]), "test": table([0], ["a"])})
    with pytest.raises(InputError, match="1 of 2 images of the train split"):
        load_data(str(tmp_path))


@pytest.mark.parametrize("labels", [[-1, -1], [-1, 0]])
def test_a_test_split_without_labels_alone_is_an_error(tmp_path, labels):
    parquet_folder(tmp_path, {"test": table(labels, ["a"])})
    with pytest.raises(InputError, match="no label"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mnist", InputError),
        ("./gone", MissingFileError),
        ("/gone/away", MissingFileError),
        ("a/b/c", MissingFileError),
    ],
)
def test_a_name_that_is_nothing_lists_what_is_allowed(name, kind):
    with pytest.raises(
        kind, match=rf"data set '{name}' does not exist; give 'digits', a folder of parquet"
    ) as caught:
        load_data(name)
    assert "owner/name" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_a_file(tmp_path):
    with pytest.raises(InputError, match="no images in class folders and no parquet files"):
        load_data(str(tmp_path))
    (tmp_path / "x.png").write_bytes(encoded(picture(1)))
    with pytest.raises(InputError, match=r"x\.png' is a file; give the folder"):
        load_data(str(tmp_path / "x.png"))


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"fraction": 0.0},
        {"fraction": 1.1},
        {"fraction": float("nan")},
        {"validation_fraction": 1.0},
        {"validation_fraction": -0.1},
        {"unreadable_limit": 1.0},
        {"memory_limit_gib": -1.0},
    ],
)
def test_the_configuration_names_the_bad_value(options):
    (what,) = options
    with pytest.raises(InputError, match=what):
        DataConfig(**options)


@needs_shared
def test_cifar10_and_the_imagenet_sample():
    cifar = load_data(str(SHARED / "data" / "cifar10"))
    assert [len(split) for split in (cifar.train, cifar.validation, cifar.test)] == [45000, 5000, 10000]
    assert cifar.classes[:2] == ["airplane", "automobile"]
    assert torch.bincount(cifar.validation.labels).tolist() == [500] * 10
    assert (cifar.framing, cifar.image_size) == (Framing(), (32, 32))
    sample = load_data(str(SHARED / "data" / "imagenet_sample"))
    assert (sample.train, sample.validation, sample.test.name) == (None, None, "validation")
    assert sample.framing == Framing(256, 224)
    assert sample.test.subset(range(8)).resident(sample.framing).images.shape == (8, 3, 224, 224)
