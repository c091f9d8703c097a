"""Parquet files of the hub, and of other stores, are read in place, and are then data like a local folder."""

import pickle
import shutil
import time
from types import SimpleNamespace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from huggingface_hub import HfFileSystem
from huggingface_hub.utils import _http
from PIL import Image

from data.epochs import an_epoch_that_goes_on_anywhere
from data.hub import COMMIT, NAME, stand_in
from data.made import encoded, parquet_folder, table
from pushpull.data import DataConfig, eval_batches, load_data, remote
from pushpull.data.images import AS_IS
from pushpull.data.remote import hub_name, is_remote
from pushpull.errors import InputError
from pushpull.export import source
from pushpull.reports import modelcard

ADDRESS = f"hf://datasets/{NAME}"
GROUP = 8  # rows


def photographs(labels, seed=0, size=(72, 60)):
    """Return a table of noise, so that an image takes 13 KB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), *size, 3), dtype=np.uint8)
    rows = {"image": [{"bytes": encoded(Image.fromarray(one)), "path": None} for one in pixels]}
    features = {"image": ImageFeature(decode=False), "label": ClassLabel(names=["cat", "dog", "eel"])}
    return Dataset.from_dict({**rows, "label": labels}, features=Features(features))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name, labels in {
        "train-00000-of-00002": [0, 1, 2, 1] * 10,
        "train-00001-of-00002": [2, 0] * 15,
        "validation-00000-of-00001": [1, 2, 0] * 6,
    }.items():
        (root / "data").mkdir(parents=True, exist_ok=True)
        rows = photographs(labels, len(labels))
        rows.to_parquet(root / "data" / f"{name}.parquet", batch_size=GROUP)
    return root


@pytest.fixture
def hub(folder, monkeypatch):
    remote._NEAR.__init__()
    with stand_in(folder, monkeypatch) as server:
        yield server


def refused(name=ADDRESS, label_column=None):
    with pytest.raises(InputError) as caught:
        load_data(DataConfig(name, label_column=label_column))
    text = str(caught.value)
    assert "\n" not in text
    return text


def images(split):
    return [split.image(position).tobytes() for position in range(len(split))]


def test_addresses():
    assert all(map(is_remote, (ADDRESS, f"{ADDRESS}@main/data", "s3://bucket/set", "memory://set")))
    assert not any(map(is_remote, ("owner/set", "/data/set", "C:\\set", "digits", "hf:owner/set", "a b://c")))
    assert hub_name(f"{ADDRESS}@refs%2Fconvert%2Fparquet/default") == NAME
    assert hub_name("s3://owner/set") is None
    assert hub_name("hf://datasets/owner") is None


@pytest.mark.parametrize("options", [{}, {"fraction": 0.5, "split_seed": 3, "validation_fraction": 0.2}])
def test_the_same_images_labels_and_splits_as_of_the_folder(hub, folder, tmp_path, options):
    classes = tmp_path / "classes.txt"
    classes.write_text("eel\ncat\n")
    options = {**options, "classes": str(classes)} if options else options
    there, here = load_data(DataConfig(ADDRESS, **options)), load_data(DataConfig(str(folder), **options))
    assert there.remarks == [*here.remarks, f"read in place: hf://datasets/{NAME}@{COMMIT}"]
    assert (there.classes, there.framing, there.image_size) == (here.classes, here.framing, here.image_size)
    for role in ("train", "validation", "test"):
        one, other = there.required(role), here.required(role)
        assert (one.name, one.labels.tolist()) == (other.name, other.labels.tolist())
        assert one.index.tolist() == other.index.tolist()
        assert images(one) == images(other)
    assert not [path for path in hub.asked if "resolve/main" in path]  # one commit, whatever comes later


def test_opening_reads_footers_and_labels_and_an_image_its_row_group(hub, folder):
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    raw = remote.load_remote(ADDRESS)
    assert hub.sent < size / 4
    # A footer, and a row group's labels, are a request each; pyarrow asks for a long footer twice.
    assert len(hub.ranges) <= 2 * 3 + 5 + 4 + 3
    train, before = raw.splits["train"], len(hub.ranges)
    train.image(9)
    assert len(hub.ranges) == before + 1
    _, first, last = hub.ranges[-1]
    assert last - first < 2 * GROUP * 72 * 60 * 3
    for position in (8, 15, 10, 9):
        train.image(position)
    assert len(hub.ranges) == before + 1
    train.image(16)
    assert len(hub.ranges) == before + 2


def test_what_is_kept_near_is_bounded_and_an_epoch_fetches_each_row_group_once(hub, monkeypatch):
    split = remote.load_remote(ADDRESS).splits["train"]
    monkeypatch.setattr(remote, "NEAR_BYTES", 220_000)  # two row groups
    before, most = len(hub.ranges), 0
    order = split.shuffled(torch.Generator().manual_seed(1))
    assert sorted(order.tolist()) == list(range(70))
    for position in order.tolist():
        split.image(position)
        most = max(most, sum(size for _, size in remote._NEAR._kept.values()))
    assert 110_000 < most <= 220_000
    assert len(hub.ranges) - before == 5 + 4
    again = split.shuffled(torch.Generator().manual_seed(1))
    assert torch.equal(order, again)
    assert not torch.equal(order, split.shuffled(torch.Generator().manual_seed(2)))
    # Within a window images of its row groups are mixed: neighbours come from both.
    groups = [row // GROUP for row in order.tolist()[:12]]
    assert len(set(groups)) == 2
    assert groups != sorted(groups)


def test_a_part_is_mixed_within_windows_of_the_row_groups_that_it_has(hub, monkeypatch):
    monkeypatch.setattr(remote, "NEAR_BYTES", 1)
    split = remote.load_remote(ADDRESS).splits["train"].subset([3, 69, 2, 68, 1])
    rows = split.index[split.shuffled(torch.Generator().manual_seed(0))].tolist()
    assert {frozenset(rows[:2]), frozenset(rows[:3])} & {frozenset([69, 68]), frozenset([1, 2, 3])}


def test_an_epoch_of_training_is_the_same_for_any_worker_and_rank_and_goes_on_where_it_stopped(hub):
    data = DataConfig(ADDRESS, memory_limit_gib=0.0)
    whole = an_epoch_that_goes_on_anywhere(data, given=4)
    assert [images.shape for images, _ in whole] == [(6, 3, 8, 8)] * 10


def test_evaluation_streams_the_images_of_the_folder(hub, folder):
    here = load_data(str(folder)).test
    there = pickle.loads(pickle.dumps(load_data(ADDRESS).test))  # as a worker that is spawned gets it
    for workers in (0, 2):
        found = list(eval_batches(there, AS_IS, 5, workers, memory_limit_gib=0.0))
        for one, other in zip(found, eval_batches(here, AS_IS, 5), strict=True):
            assert all(map(torch.equal, one, other))


def test_a_connection_that_fails_once_is_tried_again(hub, monkeypatch):
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    split, failures = remote.load_remote(ADDRESS).splits["train"], iter([True, True])
    hub.broken = lambda path: next(failures, False)
    assert split.image(0).size == (60, 72)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_connection_that_is_gone_ends_with_one_line(hub, monkeypatch, workers):
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    split = load_data(ADDRESS).test
    remote._NEAR.__init__()
    hub.broken, before = (lambda path: True), len(hub.asked)
    with pytest.raises(
        InputError, match=r"validation-00000-of-00001.parquet' cannot be read in place"
    ) as caught:
        list(eval_batches(split, AS_IS, 4, workers, memory_limit_gib=0.0))
    assert "\n" not in str(caught.value)
    assert split.skipped == []  # an image that cannot be fetched is none that cannot be read
    assert len(hub.asked) - before < 60


def test_no_network_is_one_line_at_once(hub):
    hub.shutdown()
    hub.server_close()
    start = time.monotonic()
    assert f"'{ADDRESS}' cannot be read in place (Connect" in refused()
    assert time.monotonic() - start < 5


def test_what_is_not_there(hub):
    assert "cannot be read in place" in refused("hf://datasets/owner/other")
    assert f"or the hub's own conversion ({ADDRESS}@refs%2Fconvert%2Fparquet/CONFIG)" in refused(
        f"{ADDRESS}/x"
    )
    assert "cannot be read in place" in refused("nosuchstore://set")
    assert "cannot be read in place" in refused("http://localhost:1/set")  # whose listing is empty
    assert "cannot be read in place" in refused("memory://no-such-set")
    assert "label_column='labl' is not one of image, label" in refused(label_column="labl")


def test_files_without_images(hub, folder):
    for path in folder.rglob("*.parquet"):
        path.rename(path.with_suffix(".json"))
    assert "has no parquet files to be read in place" in refused()


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing", b"PAR1" + b"x" * 3000 + b"\xff\xff\0\0PAR1"])
def test_a_damaged_footer(hub, folder, content):
    file = "data/train-00001-of-00002.parquet"
    (folder / file).write_bytes(content)
    assert f"{file} cannot be read as parquet" in refused()


def test_files_that_do_not_belong_together(hub, folder):
    (folder / "data" / "train-00001-of-00002.parquet").unlink()
    assert "1 files of a split of 2" in refused()
    rows = photographs([0] * 4).rename_column("label", "other")
    rows.to_parquet(folder / "data" / "train-00001-of-00002.parquet")
    HfFileSystem.clear_instance_cache()
    assert "train-00001-of-00002.parquet has other columns than" in refused()


def test_a_folder_below_and_words_as_labels(hub, folder):
    shutil.rmtree(folder / "data")
    rows = {"img": table([0, 1, 0])["img"][:], "label": ["b", "a", "b"]}
    for name in ("fine/train", "coarse/train"):
        parquet_folder(folder, {name: Dataset.from_dict(rows)})
    assert "in several folders (coarse, fine)" in refused()
    found = remote.load_remote(f"{ADDRESS}@main/fine")
    assert (found.classes, found.splits["train"].labels.tolist()) == (["a", "b"], [1, 0, 1])


def test_a_row_cannot_name_a_file_of_this_machine(hub, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(Image.new("RGB", (4, 4))))
    shutil.rmtree(folder / "data")
    for path in (str(secret), "../../../../secret.png"):
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        cells = pa.array([{"bytes": None, "path": path}], kind)
        pq.write_table(pa.table({"image": cells, "label": [0]}), folder / "test.parquet")
        HfFileSystem.clear_instance_cache()
        assert "names the file" in refused()
        remote._NEAR.__init__()


def test_an_export_fetches_nothing_and_a_card_names_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "load_data", lambda data: pytest.fail("fetched"))
    network = SimpleNamespace(data=DataConfig(ADDRESS), source=tmp_path)
    assert source._data(network, None) == (None, None, None)
    assert modelcard._slug(f"{ADDRESS}@main/data") == NAME


def test_another_store_and_its_second_try(folder, monkeypatch):
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket", recursive=True)
    try:
        split = remote.load_remote("memory://bucket").splits["train"]
        here = load_data(DataConfig(str(folder), validation_fraction=0)).train
        assert images(split) == images(here)
        remote._NEAR.__init__()
        monkeypatch.setattr(remote, "_WAIT_SECONDS", 0.0)
        opened, failures = type(store)._open, iter([True, False, True, True])

        def sometimes(self, *args, **options):
            if next(failures):
                raise OSError("reset by peer")
            return opened(self, *args, **options)

        monkeypatch.setattr(type(store), "_open", sometimes)
        split.image(0)
        with pytest.raises(InputError, match="reset by peer"):
            split.image(60)
    finally:
        store.rm("/bucket", recursive=True)
