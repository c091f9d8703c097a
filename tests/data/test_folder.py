import os
import sys

import pytest

from data.made import image_folder
from pushpull.data.folder import load_folder
from pushpull.errors import InputError


def names(split):
    return [split.image_name(position).split("/")[-2:] for position in range(len(split))]


def test_splits_and_classes_sorted_by_name(tmp_path):
    raw = load_folder(
        image_folder(tmp_path, {"train/b": 2, "train/a": 1, "train/c": 1, "val/b": 1, "test/c": 2})
    )
    assert raw.classes == ["a", "b", "c"]
    assert {name: split.labels.tolist() for name, split in raw.splits.items()} == {
        "train": [0, 1, 1, 2],
        "validation": [1],
        "test": [2, 2],
    }
    assert names(raw.splits["train"]) == [
        ["a", "000.png"],
        ["b", "000.png"],
        ["b", "001.png"],
        ["c", "000.png"],
    ]
    assert raw.splits["train"].image(2).getpixel((0, 0)) == (1, 1, 1)
    assert raw.splits["test"].index.tolist() == [0, 1]


def test_tiny_imagenet_as_it_is_unpacked(tmp_path):
    image_folder(tmp_path, {"train/b/images": 1, "train/a/images": 1, "val/images": 3, "test/images": 2})
    listed = tmp_path / "val" / "val_annotations.txt"
    listed.write_text("000.png\tb\t0\t0\t9\t9\n001.png\ta\t0\t0\t9\t9\n002.png\tb\t0\t0\t9\t9\n")
    raw = load_folder(tmp_path)
    assert raw.classes == ["a", "b"]
    assert list(raw.splits) == ["train", "validation"]
    assert raw.splits["validation"].labels.tolist() == [0, 1, 1]
    assert [name for _, name in names(raw.splits["validation"])] == ["001.png", "000.png", "002.png"]
    assert raw.remarks == ["test/ has no class folders: unlabelled, not used"]
    listed.write_text("000.png b\n")
    with pytest.raises(InputError, match=r"val_annotations.txt has the line '000.png b', not FILE<tab>CLASS"):
        load_folder(tmp_path)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_the_validation_folder_has_several_names(tmp_path, name):
    raw = load_folder(image_folder(tmp_path, {"train/a": 1, f"{name}/a": 1}))
    assert list(raw.splits) == ["train", "validation"]


def test_two_names_for_one_split(tmp_path):
    with pytest.raises(InputError, match="both val/ and validation/"):
        load_folder(image_folder(tmp_path, {"val/a": 1, "validation/a": 1}))


def test_a_class_that_training_lacks(tmp_path):
    with pytest.raises(InputError, match=r"val/d is a class that .*train does not have.*2 classes: a, b"):
        load_folder(image_folder(tmp_path, {"train/a": 1, "train/b": 1, "val/d": 1}))


def test_without_a_training_split_the_classes_are_those_of_all(tmp_path):
    raw = load_folder(image_folder(tmp_path, {"val/b": 1, "test/a": 1}))
    assert raw.classes == ["a", "b"]
    assert raw.splits["validation"].labels.tolist() == [1]


def test_only_class_folders_are_a_test_split(tmp_path):
    raw = load_folder(image_folder(tmp_path, {"cat": 2, "train": 1, "dog": 1}))
    assert raw.classes == ["cat", "dog", "train"]
    assert raw.splits["test"].labels.tolist() == [0, 0, 1, 2]
    assert list(raw.splits) == ["test"]


def test_a_flat_test_folder_is_unlabelled(tmp_path):
    raw = load_folder(image_folder(tmp_path, {"train/a": 1, "val/a": 1, "test": 3}))
    assert list(raw.splits) == ["train", "validation"]
    assert raw.remarks == ["test/ has no class folders: unlabelled, not used"]


def test_folders_that_are_no_splits_are_said(tmp_path):
    raw = load_folder(image_folder(tmp_path, {"train/a": 1, "Annotations/x": 1}))
    assert raw.remarks == ["not a split, not used: Annotations"]


def test_images_lie_at_any_depth_and_other_files_do_not_count(tmp_path):
    image_folder(tmp_path, {"a/deep/er": 1, "a": 1, ".hidden": 1})
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "._000.png").write_bytes(b"x")
    raw = load_folder(tmp_path)
    assert raw.classes == ["a"]
    assert names(raw.splits["test"]) == [["a", "000.png"], ["er", "000.png"]]


@pytest.mark.parametrize("layout", [{}, {"train": 2}, {"train/a": 0}, {"train/a": 1, "val": 2}])
def test_no_images_in_class_folders(tmp_path, layout):
    with pytest.raises(InputError, match="no images in class folders") as caught:
        load_folder(image_folder(tmp_path, layout))
    assert "train/, val/ and test/" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere have no such names")
@pytest.mark.parametrize("name", ["caf\udce9", "cat/caf\udce9.png"], ids=["class", "file"])
def test_names_that_are_not_utf8_are_refused(tmp_path, name):
    image_folder(tmp_path, {"cat": 1, "dog": 1}, size=(16, 16))
    (tmp_path / ("dog" if "/" not in name else "cat/000.png")).rename(tmp_path / name)
    with pytest.raises(InputError, match=r"caf\\udce9.*' is not UTF-8.*; rename it"):
        load_folder(tmp_path)


def test_what_lies_about_in_folders_is_left_out_and_counted(tmp_path):
    root = image_folder(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    image_folder(root, {"train/a/.ipynb_checkpoints": 1, "val/b/@eaDir/0.png": 1, "val/__MACOSX": 1})
    (root / "train" / "backup").mkdir()
    raw = load_folder(root)
    assert raw.classes == ["a", "b"]
    assert [len(split) for split in raw.splits.values()] == [4, 2]
    assert raw.remarks == ["left out: 1 x empty class folder, 2 x hidden or thumbnail folder"]


def test_links_are_followed_once_and_never_back(tmp_path):
    root = image_folder(tmp_path / "set", {"train/a": 2, "train/b": 3, "val/a": 1})
    elsewhere = image_folder(tmp_path / "elsewhere", {"more": 4, "more/deeper": 1})
    (root / "train" / "a" / "loop").symlink_to(root / "train" / "a")
    (root / "train" / "a" / "up").symlink_to("..")
    (root / "train" / "b" / "split").symlink_to(root / "val")
    (root / "train" / "b" / "top").symlink_to("/")
    (root / "train" / "c").symlink_to(root / "train" / "b")
    (root / "train" / "d").symlink_to(elsewhere / "more")
    (root / "train" / "d2").symlink_to(elsewhere / "more")
    (elsewhere / "more" / "back").symlink_to(elsewhere / "more")
    raw = load_folder(root)
    assert raw.classes == ["a", "b", "d"]
    assert raw.splits["train"].labels.bincount().tolist() == [2, 3, 5]
    assert raw.remarks == ["left out: 7 x link to a folder that is there already"]


def test_names_of_images_that_are_no_files(tmp_path):
    root = image_folder(tmp_path, {"a": 1, "b": 1})
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "endless.png").symlink_to("/dev/zero")
    (root / "b" / "gone.png").symlink_to("nowhere.png")
    (root / "b" / "linked.png").symlink_to(root / "a" / "000.png")
    raw = load_folder(root)
    assert names(raw.splits["test"]) == [["a", "000.png"], ["b", "000.png"], ["b", "linked.png"]]
    assert raw.remarks == ["left out: 3 x name of an image that is no file"]
