import threading

import pytest
import torch
from torch.utils.data import DataLoader

from data.made import image_folder
from data.test_images import counted, from_table
from pushpull.data.batches import StreamDataset, collate_readable, eval_batches
from pushpull.data.load import load_data
from pushpull.data.preprocessing import Framing, to_tensor
from pushpull.errors import InputError

STREAM = {"memory_limit_gib": 0.0}


def _as_is(image, index):
    return to_tensor(image)


@pytest.mark.parametrize("options", [{}, STREAM, {**STREAM, "workers": 2}])
def test_every_image_once_in_order(options):
    batches = list(eval_batches(from_table(), Framing(), 2, **options))
    assert [len(batch.labels) for batch in batches] == [2, 2, 1]
    assert torch.cat([batch.index for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0, 1, 0, 1, 1]
    images = torch.cat([batch.images for batch in batches])
    assert images.dtype == torch.uint8
    assert images[:, 2, 7, 7].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("options", [{}, STREAM, {**STREAM, "workers": 1}])
def test_unreadable_images_are_skipped_and_listed(options):
    split = from_table(replace={1: b"junk"})
    split.unreadable_limit = 0.2
    with pytest.warns(UserWarning, match="made test row 1"):
        batches = list(eval_batches(split, Framing(), 2, **options))
    assert torch.cat([batch.index for batch in batches]).tolist() == [0, 2, 3, 4]
    assert split.skipped == ["made test row 1"]


@pytest.mark.parametrize("options", [{}, STREAM, {**STREAM, "workers": 1}])
def test_errors_are_one_line_from_workers_too(options):
    with pytest.raises(InputError, match="1 unreadable of 5") as caught:
        list(eval_batches(from_table(replace={1: b"junk"}), Framing(), 2, **options))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"crop=9 is larger than made test row 0 \(0\.png\)") as caught:
        list(eval_batches(from_table(), Framing(crop=9), 2, **options))
    assert "\n" not in str(caught.value)


def test_streaming_does_not_touch_the_global_generator():
    before = torch.get_rng_state()
    list(eval_batches(from_table(), Framing(), 2, **STREAM))
    assert torch.equal(before, torch.get_rng_state())


def test_the_device_moves_uint8():
    (batch,) = eval_batches(counted(), Framing(), 6, device="meta")
    assert batch.images.device.type == batch.labels.device.type == batch.index.device.type == "meta"
    assert batch.images.dtype == torch.uint8


def test_bad_sizes_are_refused_at_once():
    for options in ({"batch_size": 0}, {"batch_size": 1, "workers": -1}):
        with pytest.raises(InputError, match="batch_size >= 1"):
            eval_batches(counted(), Framing(), **options)


def test_an_empty_split_has_no_batches():
    assert list(eval_batches(counted().subset([]), Framing(), 4)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_streamed_training_drops_and_reports(workers):
    split = from_table(replace={1: b"junk", 4: b""}).subset([4, 3, 1, 0])
    loader = DataLoader(StreamDataset(split, _as_is), 2, collate_fn=collate_readable, num_workers=workers)
    first, second = loader
    assert first.images.shape == (1, 3, 8, 8)
    assert (first.index.tolist(), first.labels.tolist(), first.unreadable) == ([3], [1], ["made test row 4"])
    assert (second.index.tolist(), second.unreadable) == ([0], ["made test row 1"])


def test_a_batch_with_nothing_readable_is_empty():
    batch = collate_readable([StreamDataset(from_table(replace={0: b""}), _as_is)[0]])
    assert len(batch.images) == len(batch.labels) == len(batch.index) == 0
    assert batch.unreadable == ["made test row 0"]


def _refuse(image, index):
    raise InputError(f"image {index} is too small")


def test_what_a_transform_refuses_leaves_a_worker_as_one_line():
    loader = DataLoader(StreamDataset(counted(), _refuse), 2, collate_fn=collate_readable, num_workers=1)
    assert [str(error) for error in next(iter(loader)).errors] == [
        "image 0 is too small",
        "image 1 is too small",
    ]


def test_streamed_batches_are_laid_out_like_resident_ones():
    batches = [next(eval_batches(from_table(), Framing(), 3, **options)) for options in ({}, STREAM)]
    assert batches[0].images.stride() == batches[1].images.stride()


def test_threads_stream_what_memory_holds_and_stop_when_nobody_asks(tmp_path):
    split = load_data(str(image_folder(tmp_path, {"a": 30, "b": 25}))).required("test")
    kept, streamed = (list(eval_batches(split, Framing(), 8, memory_limit_gib=limit)) for limit in (4.0, 0.0))
    assert [len(batch.labels) for batch in streamed] == [8] * 6 + [7]
    for one, other in zip(kept, streamed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    before = threading.active_count()
    batches = eval_batches(split, Framing(), 2, memory_limit_gib=0.0)
    next(batches)
    batches.close()
    assert threading.active_count() == before
