"""WebDataset shards are data like a folder of files, and what is wrong with one is said in a line."""

import gzip
import io
import json
import pickle
import tarfile
import tracemalloc

import pytest
import torch
from datasets import Dataset

from data.epochs import an_epoch_that_goes_on_anywhere
from data.made import encoded, image_folder, picture, shard, table, tar
from pushpull.data import DataConfig, eval_batches, load_data
from pushpull.data.images import AS_IS
from pushpull.data.load import _found
from pushpull.data.tables import tables_to_raw
from pushpull.errors import InputError

PICTURE = encoded(picture(7))


def raw(folder, label_column=None):
    return _found(str(folder), label_column)


def refused(folder, label_column=None):
    with pytest.raises(InputError) as caught:
        raw(folder, label_column)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (["train-000000.tar", "train-000001.tar"], ["val-000000.tar"]),
        (["imagenet1k-train-0000.tar", "imagenet1k-train-0001.tar"], ["imagenet1k-validation-00.tar"]),
        (["train/0.tar", "train/1.tar"], ["val/0.tar"]),
        (["data/x_train_0.tar", "data/x_train_1.tar"], ["data/x_dev_0.tar"]),
        (["train-00000-of-00002.tar", "train-00001-of-00002.tar"], ["validation-00000-of-00001.tar"]),
    ],
)
def test_shards_are_splits_with_rows_in_the_order_of_names(tmp_path, train, validation):
    shard(tmp_path / train[1], [0, 1], first=3)
    shard(tmp_path / train[0], [0, 2, 1])
    shard(tmp_path / validation[0], [1, 0], first=9)
    found = raw(tmp_path)
    assert found.classes == ["0", "1", "2"]
    assert list(found.splits) == ["train", "validation"]
    part, other = found.splits["train"], found.splits["validation"]
    assert (part.labels.tolist(), other.labels.tolist()) == ([0, 2, 1, 0, 1], [1, 0])
    assert part.index.tolist() == [0, 1, 2, 3, 4]
    assert [part.image(row).getpixel((0, 0))[0] for row in (4, 0, 3)] == [4, 0, 3]
    assert part.image_name(3) == f"{tmp_path / train[1]}: 0003.png"
    assert part.source.file_name(3) == "0003.png"
    assert part.source.encoded(3) == encoded(picture(3))


def test_tars_that_name_no_split_are_the_test_split(tmp_path):
    shard(tmp_path / "0000.tar", [0, 1])
    shard(tmp_path / "0001.tar", [1], first=2)
    data = load_data(str(tmp_path))
    assert (len(data.test), data.train, data.test.resident().images[:, 0, 0, 0].tolist()) == (
        3,
        None,
        [0, 1, 2],
    )


def test_they_are_the_data_of_a_folder_in_every_choice(tmp_path):
    """Fractions, class lists, batches and what a worker is given: nothing depends on where images lie."""
    folder = image_folder(tmp_path / "folder", {"train/a": 12, "train/b": 12, "test/a": 3, "test/b": 3})
    for split, count in (("train", 12), ("test", 3)):
        members = {}
        for label, name in enumerate("ab"):
            for number in range(count):
                members[f"{name}/{number:03}.png"] = encoded(picture(number))
                members[f"{name}/{number:03}.cls"] = label
        tar(tmp_path / "tars" / f"{split}-0.tar", members)
    (tmp_path / "tars" / "classes.txt").write_text("a\nb\n")
    (tmp_path / "only.txt").write_text("b\n")
    for options in ({"fraction": 0.5}, {"classes": str(tmp_path / "only.txt")}, {"memory_limit_gib": 0.0}):
        one, other = (load_data(DataConfig(str(place), **options)) for place in (folder, tmp_path / "tars"))
        for role in ("train", "validation", "test"):
            mine, theirs = getattr(one, role), getattr(other, role)
            assert mine.classes == theirs.classes
            for workers in (0, 2) if "memory_limit_gib" in options and role == "test" else (0,):
                pairs = zip(
                    eval_batches(mine, AS_IS, 4), eval_batches(theirs, AS_IS, 4, workers), strict=True
                )
                for before, after in pairs:
                    assert all(map(torch.equal, before, after))
    assert pickle.loads(pickle.dumps(other.train)).image(3).getpixel((0, 0)) == other.train.image(3).getpixel(
        (0, 0)
    )


@pytest.mark.parametrize("name", ["classes.txt", "pets.classes.txt", "classnames.txt"])
@pytest.mark.parametrize("place", ["", "test"])
def test_a_list_beside_the_tars_names_the_classes(tmp_path, name, place):
    shard(tmp_path / "test" / "0.tar", [2, 0])
    (tmp_path / place / name).write_text("cat\ndog\neel\n")
    found = raw(tmp_path)
    assert (found.classes, found.splits["test"].labels.tolist()) == (["cat", "dog", "eel"], [2, 0])


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["cat", "ant", "cat"], ["ant", "cat"], [1, 0, 1]),
        ([" 1\n", "0", "010"], [str(number) for number in range(11)], [1, 0, 10]),
        (["n02", "10", "9"], ["10", "9", "n02"], [2, 0, 1]),
    ],
)
def test_labels_are_numbers_or_words(tmp_path, labels, classes, numbers):
    shard(tmp_path / "test-0.tar", labels)
    found = raw(tmp_path)
    assert (found.classes, found.splits["test"].labels.tolist()) == (classes, numbers)


def test_words_are_numbered_by_the_list_or_by_the_training_split(tmp_path):
    shard(tmp_path / "train-0.tar", ["dog", "ant", "cat"])
    shard(tmp_path / "test-0.tar", ["dog"])
    assert raw(tmp_path).splits["test"].labels.tolist() == [2]
    (tmp_path / "classes.txt").write_text("dog\ncat\nant\n")
    assert raw(tmp_path).splits["test"].labels.tolist() == [0]
    shard(tmp_path / "test-0.tar", ["eel"])
    assert "test has the class 'eel', which the first split does not have, nor a list" in refused(tmp_path)


def test_labels_in_json(tmp_path):
    def write(*fields):
        members = {}
        for number, field in enumerate(fields):
            members |= {f"{number}.jpg": PICTURE, f"{number}.json": json.dumps(field)}
        tar(tmp_path / "test-0.tar", members)

    write({"label": 2, "width": 8}, {"label": 0, "width": 8})
    assert raw(tmp_path).splits["test"].labels.tolist() == [2, 0]
    write({"class": "b", "fine": 1, "x": 3}, {"class": "a", "fine": 0})
    assert raw(tmp_path).splits["test"].labels.tolist() == [1, 0]
    assert raw(tmp_path, "fine").splits["test"].labels.tolist() == [1, 0]
    assert "0.jpg' without a label" in refused(tmp_path, "coarse")
    write({"label": 0.5})
    assert "'0.json' has the label 0.5; give a whole number or a word" in refused(tmp_path)
    tar(tmp_path / "test-0.tar", {"0.jpg": PICTURE, "0.json": "{"})
    assert "'0.json' is not a label in UTF-8" in refused(tmp_path)
    tar(tmp_path / "test-0.tar", {"0.jpg": PICTURE, "0.json": "[" * 100_000})
    assert "'0.json' is not a label in UTF-8" in refused(tmp_path)


def test_other_members_do_not_matter(tmp_path):
    members = {"./": b"", "readme.txt": "x", "._0.png": "x", ".DS_Store": "x", "info.json": "{}"}
    members |= {"./0.mask.png": b"", "./0.png": PICTURE, "./0.cls": "1", "./0.txt": "a cat"}
    members |= {"b.c/1.v2.WEBP": PICTURE, "b.c/1.v2.cls": "0"}
    tar(tmp_path / "test-0.tar", members)
    (tmp_path / "test-0.idx").write_text("x")
    part = raw(tmp_path).splits["test"]
    assert [part.source.file_name(row) for row in range(2)] == ["./0.png", "b.c/1.v2.WEBP"]
    assert part.labels.tolist() == [1, 0]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path, kind):
    key = "é" * 150
    with tarfile.open(tmp_path / "test-0.tar", "w", format=kind) as file:
        for ending, content in (("cls", b"0"), ("png", PICTURE)):
            member = tarfile.TarInfo(f"folder/{key}.{ending}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    part = raw(tmp_path).splits["test"]
    assert part.source.file_name(0) == f"folder/{key}.png"
    assert part.image(0).getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            {"0.cls": "0", "0.png": PICTURE, "1.png": PICTURE},
            "test-0.tar has '1.png' without a label (NAME.cls",
        ),
        ({"0.cls": "", "0.png": PICTURE}, "has '0.png' without a label"),
        (
            {"0.png": PICTURE, "1.png": PICTURE, "0.cls": 0, "1.cls": 1},
            "has '0.cls' without an image; the files",
        ),
        ({"0.cls": "0"}, "has '0.cls' without an image"),
        ({"a.txt": "0"}, "test-0.tar has no image with a label"),
        ({}, "test-0.tar has no image with a label"),
        ({"0.a.png": PICTURE, "0.b.png": PICTURE, "0.cls": "0"}, "has '0.a.png' and '0.b.png' in one sample"),
        ({"0.cls": b"\xff", "0.png": PICTURE}, "'0.cls' is not a label in UTF-8"),
        ({"0.cls": "0" * 2000, "0.png": PICTURE}, "'0.cls' has 2000 bytes, too many for a label"),
        ({"0.cls": "-2", "0.png": PICTURE}, "has the label -2; labels are 0, 1"),
        ({"0.cls": "9" * 30, "0.png": PICTURE}, "labels out of range"),
        ({"\udcff.png": PICTURE, "\udcff.cls": "0"}, r"'\udcff.png' is not UTF-8"),
    ],
)
def test_samples_that_are_none(tmp_path, members, said):
    tar(tmp_path / "test-0.tar", members)
    assert said in refused(tmp_path)


def test_a_label_far_above_the_images_is_refused_before_anything_grows(tmp_path):
    shard(tmp_path / "test-0.tar", [0, 10**12])
    tracemalloc.start()
    assert f"has the label {10**12} for 2 images" in refused(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert f"has the label {10**12} but 2 class names" in refused(tmp_path)


def test_a_test_split_without_labels_is_left_out(tmp_path):
    shard(tmp_path / "train-0.tar", [0, 1] * 4)
    tar(tmp_path / "test-0.tar", {"0.png": PICTURE, "1.png": PICTURE})
    data = load_data(DataConfig(str(tmp_path), validation_fraction=0.25))
    assert (data.test, data.remarks) == (None, ["the test split is unlabelled: not used"])


@pytest.mark.parametrize(
    ("kind", "name"), [(tarfile.SYMTYPE, "0.png"), (tarfile.LNKTYPE, "0.cls"), (tarfile.FIFOTYPE, "0.png")]
)
def test_a_member_that_is_no_regular_file(tmp_path, kind, name):
    with tarfile.open(tmp_path / "test-0.tar", "w") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "1.png"
        file.addfile(member)
    assert f"test-0.tar: '{name}' is a link, a sparse or a special file; pack the file" in refused(tmp_path)


def damaged(content):
    """Ways to damage a tar of four members, of 512 bytes each and a header before."""
    yield "within a member", content[: 5 * 512 + 100]
    yield "within a header", content[: 4 * 512 + 100]
    yield "between members", content[: 4 * 512]
    yield "before its end's mark", content[: 8 * 512]
    yield "zeros in a header's place", content[: 4 * 512] + bytes(512) + content[5 * 512 :]
    yield (
        "a name beside its checksum",
        content[:2049] + b"Z" + content[2050:],
    )
    yield "a negative size", content[: 2 * 512 + 124] + b"\xff" * 12 + content[2 * 512 + 136 :]
    yield "two tars in one", content + content


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_tar(tmp_path, number):
    path = shard(tmp_path / "test-0.tar", [0, 1])
    content = path.read_bytes()
    assert content[257:262] == b"ustar"
    ways = list(damaged(content))
    assert len(ways) == 8
    path.write_bytes(ways[number][1])
    assert f"{path} is cut short or damaged after " in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_no_tar(tmp_path, content):
    (tmp_path / "test-0.tar").write_bytes(content)
    assert "is cut short or damaged after 'its beginning'" in refused(tmp_path)


@pytest.mark.parametrize("name", ["train-0.tar.gz", "train-0.tgz", "train-0.tar", "train/0.tar.zst"])
def test_a_compressed_tar(tmp_path, name):
    content = shard(tmp_path / "x.tar", [0, 1]).read_bytes()
    (tmp_path / "x.tar").unlink()
    (tmp_path / "train").mkdir(exist_ok="/" in name)
    if "/" not in name:
        (tmp_path / "train").rmdir()
    (tmp_path / name).write_bytes(gzip.compress(content))
    assert f"{tmp_path / name} is compressed, so that nothing in it can be read alone" in refused(tmp_path)


def test_names_of_shards(tmp_path):
    shard(tmp_path / "train-00000-of-00003.tar", [0, 1])
    assert "1 files of a split of 3" in refused(tmp_path)
    (tmp_path / "train-00000-of-00003.tar").rename(tmp_path / "train-0.tar")
    shard(tmp_path / "extra-0.tar", [0, 1])
    assert "has no train, validation or test among extra-0.tar, ...; rename" in refused(tmp_path)
    (tmp_path / "extra-0.tar").unlink()
    (tmp_path / "a.classes.txt").write_text("cat\ndog\n")
    (tmp_path / "b.classes.txt").write_text("dog\ncat\n")
    assert "has a.classes.txt and b.classes.txt; keep one" in refused(tmp_path)


def test_what_folders_were_unpacked_from_stays_where_it_is(tmp_path):
    image_folder(tmp_path, {"train/a": 2, "val/a": 1})
    shard(tmp_path / "ILSVRC2012_img_val.tar", [0])
    shard(tmp_path / "train" / "n01440764.tar", [0])
    (tmp_path / "devkit.tar.gz").write_bytes(b"x")
    assert {name: len(split) for name, split in raw(tmp_path).splits.items()} == {"train": 2, "validation": 1}


@pytest.mark.filterwarnings("ignore:skipped")
def test_an_image_that_cannot_be_read_is_named_and_skipped(tmp_path):
    members = {}
    for number in range(10):
        members |= {f"{number}.cls": 0, f"{number}.png": b"" if number == 4 else PICTURE}
    path = tar(tmp_path / "test-0.tar", members)
    data = load_data(DataConfig(str(tmp_path), unreadable_limit=0.1))
    assert len(data.test.resident().labels) == 9
    assert data.test.skipped == [f"{path}: 4.png"]
    path.write_bytes(path.read_bytes()[:600])  # after the index was made
    with pytest.raises(InputError, match=r"test-0.tar: 1.png"):
        data.test.image(1)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        data.test.image(1)


def test_the_index_takes_a_hundred_bytes_an_image(tmp_path):
    tiny = b"x"
    members = {}
    for number in range(5000):
        members |= {f"n01440764_{number:05}.cls": number % 7, f"n01440764_{number:05}.jpg": tiny}
    tar(tmp_path / "imagenet1k-train-0000.tar", members)
    source = raw(tmp_path).splits["train"].source
    assert source._rows.data.nbytes / 5000 < 100


def test_a_data_set_of_the_hub_in_webdataset_form():
    rows = table([1, 0, 1]).rename_columns({"img": "jpg", "label": "cls"})
    assert tables_to_raw({"test": rows}, "owner/set").splits["test"].labels.tolist() == [1, 0, 1]


def test_an_epoch_of_training_is_the_same_for_any_worker_and_rank_and_goes_on_where_it_stopped(tmp_path):
    for number in range(3):
        shard(tmp_path / f"train-{number}.tar", [0, 1, 2] * 3, first=9 * number, size=(12, 10))
    shard(tmp_path / "val-0.tar", [0, 1, 2], size=(12, 10))
    data = DataConfig(str(tmp_path), memory_limit_gib=0.0)
    whole = an_epoch_that_goes_on_anywhere(data, given=2)
    assert [images.shape for images, _ in whole] == [(6, 3, 8, 8)] * 4
    assert len({int(image.max()) for images, _ in whole for image in images}) > 8


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "test-0.tar").symlink_to(tmp_path / "gone")
    assert f"{tmp_path / 'test-0.tar'} cannot be read (No such file or directory)" in refused(tmp_path)


def test_a_table_that_names_a_place_in_a_file_does_not_get_it(tmp_path):
    """Only an index that was made here is believed: a parquet file of a stranger could name any file."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(PICTURE)
    own = encoded(picture(9))
    cell = {"bytes": own, "path": "x.png", "tar": str(secret), "offset": 0, "size": len(PICTURE)}
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"image": [cell], "label": [0]}).to_parquet(tmp_path / "data" / "test.parquet")
    image = raw(tmp_path / "data").splits["test"].image(0)
    assert image.getpixel((0, 0)) == (9, 9, 9)
