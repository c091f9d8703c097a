"""Each form has the engine's images, bit for bit, in the published layout, and can be read again."""

import sys
import tarfile

import datasets
import numpy as np
import pytest
import torch

from copies.made import CLASSES, QUICK, copy, tree
from data.made import image_folder
from pushpull.copies import write_corrupted
from pushpull.copies.plan import class_folders, original_name, safe_name, safe_stem
from pushpull.corruptions import corrupt
from pushpull.data import DataConfig, Framing, load_data
from pushpull.errors import InputError

NAMES, LEVELS = QUICK["corruptions"], (1, 2, 3, 4, 5)


def expected(split, clean, name, severity, **options):
    return corrupt(clean, name, severity, scale="cifar", seed=5, index=split.index, **options)


def read(folder, classes=None):
    """Return the images and labels of a folder that `load_data` knows, by position."""
    part = load_data(DataConfig(str(folder), classes=classes)).required("test")
    return part, part.resident().images


@pytest.mark.parametrize("quality", [None, 85])
def test_parquet(split, clean, tmp_path, quality):
    copy(split, tmp_path, "parquet", jpeg_quality=quality, severities=(2, 5))
    for name in NAMES:
        part, images = read(tmp_path / name / "5")
        assert torch.equal(images, expected(split, clean, name, 5, jpeg_quality=quality))
        assert part.classes == CLASSES
        assert torch.equal(part.labels, split.labels)
    shards = sorted(path.name for path in (tmp_path / "contrast" / "2").iterdir())
    assert shards == [f"test-{number:05}-of-00003.parquet" for number in range(3)]


def test_parquet_is_a_data_set_of_the_hub(split, clean, tmp_path):
    copy(split, tmp_path / "copy", "parquet", severities=3)
    data = datasets.load_dataset(str(tmp_path / "copy" / "pixelate" / "3"), cache_dir=str(tmp_path / "cache"))
    rows = data["test"]
    assert rows.features["label"].names == CLASSES
    assert rows["index"][:] == split.index.tolist()
    assert rows["label"][:] == split.labels.tolist()
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in rows["image"]])).permute(0, 3, 1, 2)
    assert torch.equal(pixels, expected(split, clean, "pixelate", 3))


@pytest.mark.parametrize("quality", [None, 40])
def test_folder(split, clean, tmp_path, quality):
    files = copy(split, tmp_path, "folder", jpeg_quality=quality, severities=(1, 4))
    ending = "jpg" if quality else "png"
    assert f"gaussian_noise/4/n%2Fa/01.{ending}" in files
    # By class and file name; row numbers are the names.
    order = torch.argsort(split.labels, stable=True)
    for name in NAMES:
        part, images = read(tmp_path / name / "4", classes=str(tmp_path / "classes.txt"))
        found = torch.argsort(part.labels, stable=True)
        assert torch.equal(part.labels[found], split.labels[order])
        assert [original_name(folder) for folder in part.classes] == CLASSES
        assert torch.equal(images[found], expected(split, clean, name, 4, jpeg_quality=quality)[order])
    assert len(files["files.txt"].splitlines()) == len(split)


@pytest.mark.parametrize("quality", [None, 60])
def test_npy(split, clean, tmp_path, quality):
    files = copy(split, tmp_path, "npy", jpeg_quality=quality)
    assert sorted(files) == sorted(["labels.npy", "manifest.json", *(f"{name}.npy" for name in NAMES)])
    labels = np.load(tmp_path / "labels.npy", allow_pickle=False)
    assert labels.dtype == np.int64
    assert labels.tolist() == split.labels.tolist() * 5
    for name in NAMES:
        found = np.load(tmp_path / f"{name}.npy", allow_pickle=False)
        assert found.shape == (5 * len(split), 16, 20, 3)
        wanted = torch.cat([expected(split, clean, name, level, jpeg_quality=quality) for level in LEVELS])
        assert torch.equal(torch.from_numpy(found).permute(0, 3, 1, 2), wanted)


@pytest.mark.parametrize("quality", [None, 85])
def test_webdataset(split, clean, tmp_path, quality):
    copy(split, tmp_path, "webdataset", jpeg_quality=quality, severities=(2, 5))
    for name in NAMES:
        part, images = read(tmp_path / name / "5")
        assert torch.equal(images, expected(split, clean, name, 5, jpeg_quality=quality))
        assert [original_name(folder) for folder in part.classes] == CLASSES
        assert torch.equal(part.labels, split.labels)
    shards = sorted((tmp_path / "contrast" / "2").glob("*.tar"))
    assert [path.name for path in shards] == [f"test-{number:05}-of-00003.tar" for number in range(3)]
    with tarfile.open(shards[0]) as file:
        members = file.getmembers()
    assert [member.name for member in members[:2]] == ["01.cls", "01.jpg" if quality else "01.png"]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
        (0, 0, 0, "", 0o644)
    }


def test_webdataset_as_the_hub_reads_it(split, clean, tmp_path):
    copy(split, tmp_path / "copy", "webdataset", severities=3, corruptions="pixelate")
    files = {"test": str(tmp_path / "copy" / "pixelate" / "3" / "*.tar")}
    rows = list(datasets.load_dataset("webdataset", data_files=files, streaming=True)["test"])
    assert [row["__key__"] for row in rows] == [f"{row:02}" for row in split.index.tolist()]
    assert [row["cls"] for row in rows] == split.labels.tolist()
    pixels = torch.from_numpy(np.stack([np.asarray(row["png"]) for row in rows])).permute(0, 3, 1, 2)
    assert torch.equal(pixels, expected(split, clean, "pixelate", 3))


def test_an_array_is_written_as_numpy_would(split, tmp_path):
    copy(split, tmp_path, "npy", corruptions="contrast")
    np.save(tmp_path / "again.npy", np.load(tmp_path / "contrast.npy", allow_pickle=False))
    assert (tmp_path / "contrast.npy").read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_npy_needs_all_five_severities(split, tmp_path):
    with pytest.raises(InputError, match=r"severities lacks 2, 4: .*holds all five"):
        copy(split, tmp_path / "copy", "npy", severities=(1, 3, 5))
    assert not (tmp_path / "copy").exists()


def test_files_keep_their_names_and_an_empty_class_its_folder(tmp_path):
    layout = {"train/cat": 1, "train/dog": 1, "train/eel": 1, "test/cat": 2, "test/dog": 1}
    source = image_folder(tmp_path / "source", layout, size=(20, 30))
    framing = Framing(18, 16)
    record = write_corrupted(
        str(source), tmp_path / "copy", format="folder", corruptions="fog", severities=1, scale="cifar",
        framing=framing,
    )  # fmt: skip
    assert record["framing"] == {"resize": 18, "crop": 16}
    found = {path.name for path in (tmp_path / "copy" / "fog" / "1").iterdir()}
    assert found == {"cat", "dog", "eel"}
    assert [path.name for path in sorted((tmp_path / "copy/fog/1/cat").iterdir())] == ["000.png", "001.png"]


def test_files_of_one_name_are_called_by_their_row(tmp_path):
    source = image_folder(tmp_path / "source", {"cat/a": 2, "cat/b": 1, "dog": 1}, size=(16, 16))
    write_corrupted(
        str(source), tmp_path / "copy", format="folder", corruptions="contrast", severities=1, scale="cifar"
    )
    assert sorted(tree(tmp_path / "copy" / "contrast" / "1")) == [
        "cat/0.png",
        "cat/1.png",
        "cat/2.png",
        "dog/3.png",
    ]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat", "cat"),
        ("n/a", "n%2Fa"),
        ("..", "%2E%2E"),
        ("50%", "50%25"),
        (" a b ", "%20a b%20"),
        ("é", "é"),
        ("a\u2028b\x85c\x1dd\x9be", "a%E2%80%A8b%C2%85c%1Dd%C2%9Be"),
    ],
)
def test_class_names_are_safe_and_come_back(name, safe):
    assert safe_name(name) == safe
    assert original_name(safe) == name


def test_no_character_ends_a_line_but_the_line_feed():
    breaks = [chr(code) for code in range(sys.maxunicode + 1) if len(f"a{chr(code)}b".splitlines()) > 1]
    assert len(breaks) > 9
    assert len(safe_name("a".join(breaks)).splitlines()) == 1


def test_names_with_line_breaks_are_copied_and_overwritten(tmp_path):
    layout = {"ca\u2028t": 2, "do\x85g": 1}
    source = image_folder(tmp_path / "source", layout, size=(16, 16))
    (source / "do\x85g" / "000.png").rename(source / "do\x85g" / "a\u2029b.png")
    options = {"format": "folder", "corruptions": "contrast", "severities": 1, "scale": "cifar"}
    write_corrupted(str(source), tmp_path / "copy", **options)
    part, _ = read(tmp_path / "copy" / "contrast" / "1", classes=str(tmp_path / "copy" / "classes.txt"))
    assert [original_name(name) for name in part.classes] == list(layout)
    assert "contrast/1/do%C2%85g/a%E2%80%A9b.png" in tree(tmp_path / "copy")
    write_corrupted(str(source), tmp_path / "copy", **(options | {"corruptions": "fog"}), overwrite=True)
    assert not (tmp_path / "copy" / "contrast").exists()


def test_long_names_are_shortened_and_stay_apart(tmp_path):
    source = image_folder(tmp_path / "source", {"cat": 2}, size=(16, 16))
    long = ["%" * 240 + "a", "%" * 240 + "b"]
    for number, stem in enumerate(long):
        (source / "cat" / f"00{number}.png").rename(source / "cat" / f"{stem}.png")
    write_corrupted(
        str(source), tmp_path / "copy", format="folder", corruptions="contrast", severities=1, scale="cifar"
    )
    found = [path.name for path in (tmp_path / "copy" / "contrast" / "1" / "cat").iterdir()]
    assert sorted(found) == sorted(f"{safe_stem(stem)}.png" for stem in long)
    assert len(set(found)) == 2
    assert len(safe_stem("é%" * 120).encode()) <= 251


def test_a_class_with_too_long_a_name_is_refused_before_anything_is_written(split, tmp_path):
    split.classes = ["cat", "dog", "%" * 100]
    with pytest.raises(InputError, match="name of 300 bytes, more than 251; --format parquet") as caught:
        copy(split, tmp_path / "copy", "folder")
    assert len(str(caught.value)) < 200
    assert not (tmp_path / "copy").exists()
    copy(split, tmp_path / "copy", "parquet", severities=1, corruptions="contrast")


def test_classes_that_share_a_name_do_not_share_a_folder():
    assert class_folders(["crane", "Crane"]) == ["0 crane", "1 Crane"]
