import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature

from data.made import encoded, parquet_folder, picture, table
from pushpull.data import tables
from pushpull.data.tables import find_files, load_parquet
from pushpull.errors import InputError

IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ROWS = table([0, 1], ["cat", "dog"])


def load(root):
    return load_parquet(find_files(root, "parquet"), root)


def test_one_file_a_split_and_the_names_of_the_classes(tmp_path):
    raw = load(parquet_folder(tmp_path, {"train": table([1, 0, 1], ["cat", "dog"]), "test": ROWS}))
    assert raw.classes == ["cat", "dog"]
    assert raw.splits["train"].labels.tolist() == [1, 0, 1]
    assert raw.splits["train"].image(2).getpixel((0, 0)) == (2, 2, 2)
    assert raw.splits["test"].image_name(1) == f"{tmp_path} test row 1 (1.png)"


@pytest.mark.parametrize(
    "files",
    [
        ["data/train-00000-of-00002", "data/train-00001-of-00002", "data/validation-00000-of-00001"],
        ["train-00000-of-00002", "train-00001-of-00002", "val-00000-of-00001"],
        ["plain_text/train-00000-of-00002", "plain_text/train-00001-of-00002", "plain_text/valid"],
        ["train/0000", "train/0001", "validation/0000"],
    ],
)
def test_layouts_of_the_hub(tmp_path, files):
    contents = [table([0, 0], ["cat", "dog"]), table([1], ["cat", "dog"]), ROWS]
    raw = load(parquet_folder(tmp_path, dict(zip(files, contents, strict=True))))
    assert {name: split.labels.tolist() for name, split in raw.splits.items()} == {
        "train": [0, 0, 1],
        "validation": [0, 1],
    }
    assert raw.splits["train"].index.tolist() == [0, 1, 2]


def test_a_folder_without_parquet_files_has_none(tmp_path):
    (tmp_path / "a").mkdir()
    assert find_files(tmp_path, "parquet") == {}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["train-00000-of-00003", "train-00002-of-00003"], "2 files of a split of 3"),
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "3 files of a split of 1"),
        (["train-00000-of-00001", "train"], "stands beside shards"),
        (["rows"], "no train, validation or test among rows.parquet"),
        (["fine/train", "coarse/train"], r"several folders \(coarse, fine\)"),
    ],
)
def test_files_that_do_not_make_splits(tmp_path, files, said):
    parquet_folder(tmp_path, dict.fromkeys(files, ROWS))
    with pytest.raises(InputError, match=said):
        find_files(tmp_path, "parquet")


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PAR1" + b"x" * 50]
)
def test_a_broken_file_is_one_line(tmp_path, content):
    (tmp_path / "test.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"test\.parquet cannot be read as parquet") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_rows(tmp_path):
    with pytest.raises(InputError, match="without a row"):
        load(parquet_folder(tmp_path, {"train": table([], ["cat"])}))


def test_large_files_go_through_the_librarys_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_READ_LIMIT_BYTES", 0)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    raw = load(parquet_folder(tmp_path / "data", {"train": table([1, 0, 1], ["cat", "dog"])}))
    assert list((tmp_path / "cache").rglob("*.arrow"))
    assert raw.classes == ["cat", "dog"]
    assert raw.splits["train"].resident().images[:, 0, 0, 0].tolist() == [0, 1, 2]


def columns(tmp_path, data, features=None):
    rows = Dataset.from_dict(data, features=Features(features) if features else None)
    return load(parquet_folder(tmp_path, {"train": rows}))


IMAGES = [encoded(picture(3)), encoded(picture(4))]


def test_bare_bytes_are_found_by_what_is_in_them(tmp_path):
    raw = columns(tmp_path, {"digest": [b"ab", b"cd"], "pixels": IMAGES, "label": [0, 2]})
    assert raw.classes == ["0", "1", "2"]
    assert raw.splits["train"].image(1).getpixel((0, 0)) == (4, 4, 4)


def test_a_plain_struct_of_bytes_and_path(tmp_path):
    struct = pa.array([{"bytes": one, "path": None} for one in IMAGES])
    pq.write_table(pa.table({"pic": struct, "label": [1, 0]}), tmp_path / "test.parquet")
    assert load(tmp_path).splits["test"].image(0).getpixel((0, 0)) == (3, 3, 3)


def test_of_several_images_the_usual_name_is_taken_and_said(tmp_path):
    rows = {"mask": IMAGES[::-1], "image": IMAGES, "label": [0, 1]}
    raw = columns(tmp_path, rows)
    assert raw.splits["train"].image(0).getpixel((0, 0)) == (3, 3, 3)
    assert raw.remarks == ["images from 'image' of mask, image"]


def test_of_several_labels_the_finer_is_taken_and_said(tmp_path):
    features = {
        "img": ImageFeature(decode=False),
        "coarse_label": ClassLabel(names=["x", "y"]),
        "fine_label": ClassLabel(names=["p", "q", "r"]),
    }
    cells = [{"bytes": one, "path": None} for one in IMAGES]
    raw = columns(tmp_path, {"img": cells, "coarse_label": [0, 1], "fine_label": [2, 0]}, features)
    assert raw.classes == ["p", "q", "r"]
    assert raw.splits["train"].labels.tolist() == [2, 0]
    assert raw.remarks == [
        "labels from 'fine_label', the finest of coarse_label (2 classes), fine_label (3 classes)"
    ]


def test_integers_count_as_labels_only_under_such_a_name(tmp_path):
    raw = columns(
        tmp_path, {"image": IMAGES, "image_id": [7, 8], "coarse_label": [0, 0], "fine_label": [1, 0]}
    )
    assert raw.splits["train"].labels.tolist() == [1, 0]
    with pytest.raises(InputError, match="no column of labels among image, image_id"):
        columns(tmp_path, {"image": IMAGES, "image_id": [7, 8]})


def test_no_image_column(tmp_path):
    with pytest.raises(InputError, match="no column of images among text, label"):
        columns(tmp_path, {"text": ["a", "b"], "label": [0, 1]})


def test_labels_beyond_the_names(tmp_path):
    pq.write_table(table([0, 1, 2]).data.table, tmp_path / "train.parquet")
    parquet_folder(tmp_path, {"test": ROWS})
    with pytest.raises(InputError, match="other class names"):
        load(tmp_path)
    (tmp_path / "train.parquet").unlink()
    parquet_folder(tmp_path, {"train": ROWS})
    bare = table([0, 5]).cast_column("label", Value("int64"))
    parquet_folder(tmp_path, {"test": bare})
    with pytest.raises(InputError, match="label 5 but 2 class names"):
        load(tmp_path)


def test_splits_with_other_class_names(tmp_path):
    with pytest.raises(InputError, match=r"the test split of .* has other class names"):
        load(parquet_folder(tmp_path, {"train": ROWS, "test": table([0, 1], ["dog", "cat"])}))


def test_missing_labels_are_marked(tmp_path):
    features = {"img": Value("binary"), "label": Value("int64")}
    raw = columns(tmp_path, {"img": IMAGES, "label": [None, 1]}, features)
    assert raw.splits["train"].labels.tolist() == [-1, 1]


def labelled(root, **columns):
    """A table with these columns of labels, each (type, values)."""
    count = len(next(iter(columns.values()))[1])
    rows = {"img": [{"bytes": encoded(picture(row)), "path": None} for row in range(count)]}
    features = {"img": ImageFeature(decode=False)} | {
        name: Value(kind) for name, (kind, _) in columns.items()
    }
    rows |= {name: values for name, (_, values) in columns.items()}
    return parquet_folder(root, {"test": Dataset.from_dict(rows, features=Features(features))})


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_labels_of_every_integer_type(tmp_path, kind):
    raw = load(labelled(tmp_path, label=(kind, [0, 2, 1])))
    assert raw.classes == ["0", "1", "2"]
    assert raw.splits["test"].labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("kind", "values", "classes", "labels"),
    [
        ("string", ["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        ("large_string", ["10", "2", "2"], ["10", "2"], [0, 1, 1]),
        ("bool", [True, False, True], ["False", "True"], [1, 0, 1]),
    ],
)
def test_labels_that_are_words(tmp_path, kind, values, classes, labels):
    raw = load(labelled(tmp_path, label=(kind, values)))
    assert raw.classes == classes
    assert raw.splits["test"].labels.tolist() == labels


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("float32", [0.9, 1.6], r"column 'label' of .* holds float32, no labels; labels are whole numbers"),
        ("timestamp[s]", [0, 1], r"holds timestamp\[ms\], no labels"),
        ("int64", [0, 1_000_000], r"has the label 1000000 for 2 images; number the classes"),
        ("int64", [0, 2**62], r"has the label 4611686018427387904 for 2 images"),
        ("int64", [0, -2], r"has the label -2"),
    ],
)
def test_labels_that_are_none(tmp_path, kind, values, message):
    with pytest.raises(InputError, match=message):
        load(labelled(tmp_path, label=(kind, values)))


def test_other_types_and_words_in_another_split(tmp_path):
    labelled(tmp_path, label=("uint8", [0, 1])).joinpath("test.parquet").rename(tmp_path / "train.parquet")
    raw = load(labelled(tmp_path, label=("int64", [1, 0])))
    assert {name: split.labels.tolist() for name, split in raw.splits.items()} == {
        "train": [0, 1],
        "test": [1, 0],
    }
    labelled(tmp_path, label=("string", ["a", "b"])).joinpath("test.parquet").rename(
        tmp_path / "train.parquet"
    )
    labelled(tmp_path, label=("string", ["a", "c"]))
    with pytest.raises(InputError, match=r"test has the class 'c', which the first split does not have"):
        load(tmp_path)


def test_the_plain_column_of_labels_wins_and_an_option_names_another(tmp_path):
    columns = {"label": ("int64", [0, 1, 0]), "target": ("int64", [2, 1, 0]), "score": ("float32", [0, 1, 2])}
    root = labelled(tmp_path, **columns)
    raw = load(root)
    assert raw.splits["test"].labels.tolist() == [0, 1, 0]
    assert raw.remarks == ["labels from 'label', the plain one of label (2 classes), target (3 classes)"]
    other = load_parquet(find_files(root, "parquet"), root, "target")
    assert (other.splits["test"].labels.tolist(), other.remarks) == ([2, 1, 0], [])
    with pytest.raises(InputError, match=r"label_column='targt' is not one of.*did you mean 'target'"):
        load_parquet(find_files(root, "parquet"), root, "targt")
    with pytest.raises(InputError, match=r"column 'score' of .* holds float32, no labels"):
        load_parquet(find_files(root, "parquet"), root, "score")


def of_paths(root, *paths):
    """A table that names files; written without `datasets`, which would put their content into it."""
    images = pa.array([{"bytes": None, "path": str(path)} for path in paths], IMAGE_TYPE)
    (root / "data").mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": [0] * len(paths)}), root / "data" / "test.parquet")
    return load(root)


def test_images_beside_their_table_by_path(tmp_path):
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "1.png").write_bytes(encoded(picture(7)))
    raw = of_paths(tmp_path, "in/1.png", tmp_path / "data/in/1.png", "../data/in/1.png")
    assert [raw.splits["test"].image(row).getpixel((0, 0)) for row in range(3)] == [(7, 7, 7)] * 3


def test_paths_that_leave_the_folder_of_the_data_are_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded(picture(7)))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "secret.png")
    for path in (tmp_path / "secret.png", "../../secret.png", "../link.png", "a\0b.png"):
        with pytest.raises(InputError, match=r"test row 0 names the file .*, which is not in .*set"):
            of_paths(tmp_path / "set", path).splits["test"].image(0)
