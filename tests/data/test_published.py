"""Corrupted sets on disk: what is found in each layout, and what is refused."""

import numpy as np
import pytest
import torch

from data.published import array_set, folder_set, parquet_set
from pushpull.data.published import open_published
from pushpull.errors import InputError, MissingFileError

WNIDS = ["n01440764", "n01443537", "n01484850"]
ALL = (1, 2, 3, 4, 5)


def levels(split):
    """The grey level of each image of a split, at its row."""
    return [int(np.asarray(split.image(n))[0, 0, 0]) for n in range(len(split))]


@pytest.mark.parametrize("above", ["", "blur", "Tiny-ImageNet-C", "imagenet-c/blur"])
def test_folders_below_nothing_a_family_or_the_archives_name(tmp_path, above):
    folder_set(tmp_path / above, ["defocus_blur", "plasma_noise"], WNIDS)
    (tmp_path / ".pushpull").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    found = open_published(tmp_path)
    assert found.layout == "image folders"
    assert found.severities == {"defocus_blur": ALL, "plasma_noise": ALL}
    assert not found.numbered
    split = found.split("plasma_noise", 3)
    assert split.classes == WNIDS
    assert split.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert levels(split) == [120, 121, 122, 123, 124, 125]


def test_one_corruptions_folder_and_missing_severities(tmp_path):
    folder_set(tmp_path, ["fog"], WNIDS, levels=(1, 4))
    assert (
        open_published(tmp_path / "fog").severities == {"fog": (1, 4)} == open_published(tmp_path).severities
    )


def test_class_folders_called_1_to_5_are_no_severities(tmp_path):
    folder_set(tmp_path, ["fog"], ["1", "2", "3"])
    assert open_published(tmp_path).split("fog", 2).classes == ["1", "2", "3"]


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("above", ["", "CIFAR-10-C"])
def test_arrays(tmp_path, repeat, above):
    labels = [3, 1, 4, 1, 5, 9]
    array_set(tmp_path / above, ["fog", "caustic_refraction"], labels, repeat=repeat)
    found = open_published(tmp_path)
    assert (found.layout, found.numbered) == ("npy", True)
    assert found.severities == {"caustic_refraction": ALL, "fog": ALL}
    split = found.split("fog", 4)
    assert split.labels.tolist() == labels
    assert levels(split) == [160, 161, 162, 163, 164, 165]
    images = split.resident().images
    assert images.shape == (6, 3, 32, 32)
    assert images.is_contiguous()
    assert images.dtype == torch.uint8


def test_parquet(tmp_path):
    parquet_set(tmp_path, ["fog"], [0, 1, 2, 1], ["a", "b", "c"])
    found = open_published(tmp_path)
    assert (found.layout, found.severities) == ("parquet", {"fog": ALL})
    split = found.split("fog", 5)
    assert (split.classes, split.labels.tolist()) == (["a", "b", "c"], [0, 1, 2, 1])
    assert levels(split) == [0, 1, 2, 3]


def test_a_list_of_classes_sets_their_order_and_escapes_are_undone(tmp_path):
    folder_set(tmp_path, ["fog"], ["zebra", "a%2Fb"], per_class=1)
    (tmp_path / "classes.txt").write_text("zebra\na%2Fb\nempty\n")
    split = open_published(tmp_path).split("fog", 1)
    assert split.classes == ["zebra", "a/b", "empty"]
    assert split.labels.tolist() == [0, 1]
    assert levels(split) == [40, 41]


def test_digests_tell_sets_apart(tmp_path):
    folder_set(tmp_path / "a", ["fog", "snow"], WNIDS)
    folder_set(tmp_path / "b", ["fog"], WNIDS)
    folder_set(tmp_path / "c", ["fog"], WNIDS, make=lambda s, n: np.full((32, 32, 3), n, np.uint8))
    a, b, c = (open_published(tmp_path / name) for name in "abc")
    assert a.digest("fog") == b.digest("fog") == a.digest("snow") != c.digest("fog")
    array_set(tmp_path / "d", ["fog"], [0, 1, 2])
    array_set(tmp_path / "e", ["fog"], [0, 2, 1])
    d, e = (open_published(tmp_path / name) for name in "de")
    assert d.digest("fog") != e.digest("fog")
    parquet_set(tmp_path / "f", ["fog"], [0, 1], ["a", "b"])
    parquet_set(tmp_path / "g", ["fog"], [1, 1], ["a", "b"])
    assert open_published(tmp_path / "f").digest("fog") != open_published(tmp_path / "g").digest("fog")


def test_what_holds_no_set(tmp_path):
    with pytest.raises(MissingFileError, match=r"corrupted='nowhere' is not a folder; give one with"):
        open_published("nowhere")
    with pytest.raises(InputError, match=r"holds no corrupted set; give a folder with CORRUPTION/SEVERITY"):
        open_published(tmp_path)
    folder_set(tmp_path, ["noise/fog", "blur/fog"], WNIDS, per_class=1, levels=(1,))
    with pytest.raises(InputError, match=r"has fog twice"):
        open_published(tmp_path)


def test_damaged_folders(tmp_path):
    folder_set(tmp_path / "a", ["fog"], WNIDS)
    (tmp_path / "a" / "snow" / "1" / WNIDS[0]).mkdir(parents=True)
    (tmp_path / "a" / "snow" / "2").mkdir()
    found = open_published(tmp_path / "a")
    assert found.severities["snow"] == (1,)  # an empty folder is no severity
    with pytest.raises(InputError, match=r"snow/1 has no images in class folders"):
        found.split("snow", 1)
    parquet_set(tmp_path / "b", ["fog"], [0, 1], ["a", "b"])
    (tmp_path / "b" / "snow" / "1" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match=r"snow/1 has no parquet files"):
        open_published(tmp_path / "b").split("snow", 1)


# As make_imagenet_c_bar.py names them; as text "10.00" comes before "2.00".
BAR_AMOUNTS = {
    "blue_noise_sample": ["0.80", "1.60", "2.40", "4.00", "5.60"],
    "inverse_sparkles": ["1.00", "2.00", "4.00", "9.00", "10.00"],
}


def test_severities_of_imagenet_c_bar_are_amounts(tmp_path):
    for name, amounts in BAR_AMOUNTS.items():
        folder_set(tmp_path, [name], WNIDS, per_class=1)
        for level, amount in enumerate(amounts, start=1):
            (tmp_path / name / str(level)).rename(tmp_path / name / amount)
    found = open_published(tmp_path)
    assert found.severities == dict.fromkeys(BAR_AMOUNTS, ALL)
    assert [levels(found.split("inverse_sparkles", level))[0] for level in ALL] == [40, 80, 120, 160, 200]
    for amount in ("4.00", "9.00"):
        (tmp_path / "inverse_sparkles" / amount).rename(tmp_path / f".{amount}")
        with pytest.raises(InputError, match=r"inverse_sparkles has \d severities \(1.00, .* not 5"):
            open_published(tmp_path)


def test_other_folders_and_links_beside_severities(tmp_path):
    folder_set(tmp_path / "store", ["shot_noise"], WNIDS, per_class=1)
    (tmp_path / "store" / "shot_noise" / "tmp").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "fog").symlink_to(tmp_path / "store" / "shot_noise")
    assert open_published(tmp_path / "store").severities == {"shot_noise": ALL}
    assert open_published(tmp_path / "set").severities == {"fog": ALL}


def test_files_that_belong_to_no_set_do_not_matter(tmp_path):
    folder_set(tmp_path / "tree", ["fog"], WNIDS, per_class=1)
    np.save(tmp_path / "tree" / "mean.npy", np.zeros(3))
    assert open_published(tmp_path / "tree").layout == "image folders"
    array_set(tmp_path / "rows", ["fog", "snow"], [0, 1, 2])
    np.save(tmp_path / "rows" / "clean.npy", np.zeros((3, 32, 32, 3), np.uint8))
    (tmp_path / "rows" / "._fog.npy").write_bytes(b"x")
    (tmp_path / "rows" / "brightness.npy").symlink_to("nowhere")
    found = open_published(tmp_path / "rows")
    assert found.split("fog", 5).labels.tolist() == [0, 1, 2]
    for name, message in (("clean", "clean.npy has 3 images"), ("brightness", "not a readable .npy array")):
        with pytest.raises(InputError, match=message):
            found.split(name, 1)
    parquet_set(tmp_path / "table", ["fog"], [0, 1], ["a", "b"])
    (tmp_path / "table" / "fog" / "1" / "._test-00000-of-00001.parquet").write_bytes(b"x")
    assert len(open_published(tmp_path / "table").split("fog", 1)) == 2


def test_a_folder_too_deep_and_an_empty_name(tmp_path):
    folder_set(tmp_path, ["fog"], WNIDS, per_class=1)
    with pytest.raises(InputError, match=r"3 may be one severity of a set, whose folder is two above"):
        open_published(tmp_path / "fog" / "3")
    with pytest.raises(MissingFileError, match=r"corrupted='' is not a folder"):
        open_published("")


def test_the_digest_sees_every_class_and_stands_links_to_nothing(tmp_path):
    folder_set(tmp_path, ["fog"], [f"class{n}" for n in range(7)])
    before = open_published(tmp_path).digest("fog")
    (tmp_path / "fog" / "4" / "class1" / "0002.png").unlink()
    after = open_published(tmp_path).digest("fog")
    assert after != before
    (tmp_path / "fog" / "1" / "class0" / "0000.png").unlink()
    (tmp_path / "fog" / "1" / "class0" / "0000.png").symlink_to("nowhere")
    assert open_published(tmp_path).digest("fog") != after


def npy(header):
    """The bytes of a .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04junk",
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 32, 32, 3), }\n" % 10**30),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (10, \n"),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }\n" % 10**15),
    ],
)
def test_headers_that_are_no_headers(tmp_path, content):
    array_set(tmp_path, ["brightness"], [0, 1])
    (tmp_path / "fog.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"fog.npy is not a readable .npy array"):
        open_published(tmp_path).split("fog", 1)
    (tmp_path / "labels.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"labels.npy is not a readable .npy array"):
        open_published(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("fog", np.zeros((10, 32, 32, 3), np.float32), r"fog.npy is \(10, 32, 32, 3\) float32; give \(5 n"),
        ("fog", np.zeros((10, 3, 32, 32), np.uint8), r"fog.npy is \(10, 3, 32, 32\) uint8"),
        ("fog", np.zeros((15, 32, 32, 3), np.uint8), r"fog.npy has 15 images, labels.npy labels for 5 x 2"),
        ("fog", np.array([{}], dtype=object), r"fog.npy is not a readable .npy array"),
        ("labels", np.zeros((10,), np.float32), r"labels.npy is \(10,\) float32"),
        ("labels", np.zeros((3,), np.uint8), r"labels.npy has 3 labels for 10 images"),
        ("labels", np.arange(10, dtype=np.uint8), r"not the same ones five times over: this is one severity"),
        ("labels", -np.ones((10,), np.int64), r"give \(n,\) or \(5 n,\) integers from 0"),
        ("labels", np.zeros((0,), np.uint8), r"labels.npy is \(0,\) uint8"),
        ("labels", np.uint8(3), r"holds no array of several rows"),
    ],
)
def test_damaged_arrays(tmp_path, name, array, message):
    array_set(tmp_path, ["brightness", "fog"], [0, 1])
    np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message) as caught:
        open_published(tmp_path).split("fog", 1)
    assert "\n" not in str(caught.value)


def test_arrays_that_are_not_all_there(tmp_path):
    array_set(tmp_path, ["fog"], [0, 1])
    (tmp_path / "fog.npy").write_bytes((tmp_path / "fog.npy").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"fog.npy is not a readable .npy array"):
        open_published(tmp_path)
    (tmp_path / "fog.npy").unlink()
    with pytest.raises(InputError, match=r"has labels.npy alone"):
        open_published(tmp_path)
    (tmp_path / "labels.npy").rename(tmp_path / "fog.npy")
    with pytest.raises(MissingFileError, match=r"labels.npy does not exist; fetch it"):
        open_published(tmp_path)
