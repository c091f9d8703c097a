import pickle

import numpy as np
import pytest
import torch

from data.made import encoded, image_folder, noisy_jpeg, picture, table
from pushpull.data.folder import load_folder
from pushpull.data.images import ImageSplit, TableSource
from pushpull.data.preprocessing import Framing
from pushpull.errors import InputError


def counted(count: int = 6) -> ImageSplit:
    """Image i is of level i, its label i % 3."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 5).contiguous()
    return ImageSplit.from_tensors(images, [number % 3 for number in range(count)], ["a", "b", "c"])


def from_table(labels=(0, 1, 0, 1, 1), replace=None) -> ImageSplit:
    rows = table(list(labels))
    if replace:
        rows = rows.map(lambda row, i: {"img": {"bytes": replace[i], "path": None}} if i in replace else row,
                        with_indices=True)  # fmt: skip
    return ImageSplit("test", ["x", "y"], torch.tensor(labels), torch.arange(len(labels)),
                      TableSource(rows, "img", "made test"))  # fmt: skip


def test_a_subset_of_a_subset_keeps_the_identity_of_its_images():
    part = counted().subset([5, 1, 3]).subset([2, 0])
    assert part.index.tolist() == [3, 5]
    assert part.labels.tolist() == [0, 2]
    assert [part.image(position).getpixel((0, 0))[0] for position in range(2)] == [3, 5]
    assert part.resident().images[:, 0, 0, 0].tolist() == [3, 5]
    assert part.resident().index.tolist() == [3, 5]


@pytest.mark.parametrize("positions", [[6], [-1], torch.tensor([0, 99])])
def test_positions_outside_are_refused(positions):
    with pytest.raises(InputError, match=r"0\.\.5"):
        counted().subset(positions)


def test_the_labels_of_tensors_are_checked():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert ImageSplit.from_tensors(images, [0, 3]).classes == ["0", "1", "2", "3"]
    for labels, said in (
        ([0], "one per image"),
        ([0, 2], r"labels are 0\.\.2 for 2 classes"),
        ([-1, 0], r"-1\.\.0"),
    ):
        with pytest.raises(InputError, match=said):
            ImageSplit.from_tensors(images, labels, ["a", "b"])
    with pytest.raises(InputError, match="uint8"):
        ImageSplit.from_tensors(images.float(), [0, 1])


def test_resident_decodes_a_table_in_order_and_once():
    split = from_table()
    data = split.resident()
    assert data.images.shape == (5, 3, 8, 8)
    assert data.images[:, 1, 3, 3].tolist() == [0, 1, 2, 3, 4]
    assert data.labels.tolist() == [0, 1, 0, 1, 1]
    assert split.resident() is data
    assert split.resident(Framing(resize=4)).images.shape == (5, 3, 4, 4)


def test_resident_over_many_tasks_keeps_positions(tmp_path):
    split = load_folder(image_folder(tmp_path, {"a": 150, "b": 100})).splits["test"]
    shuffled = split.subset(torch.randperm(250, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(shuffled.resident().images[:, 0, 0, 0].long(), shuffled.index % 150)


def test_fits_is_arithmetic():
    split = from_table()
    exact = 5 * 3 * 8 * 8 / 2**30
    assert split.fits(Framing(), exact)
    assert not split.fits(Framing(), exact * 0.99)
    assert split.fits(Framing(crop=4), exact / 4)
    split.memory_limit_gib = 0.0
    assert not split.fits(Framing())
    assert split.subset([]).fits(Framing())


def test_images_of_two_sizes_name_the_first_odd_one_and_the_remedy():
    split = from_table(replace={3: encoded(picture(3, (9, 8))), 4: encoded(picture(3, (7, 7)))})
    with pytest.raises(InputError, match=r"made test row 3 is 9 x 8 px.*8 x 8.*Framing\(256, 224\)"):
        split.resident()
    assert split.resident(Framing(7, 7)).images.shape == (5, 3, 7, 7)


def test_an_unreadable_image_in_a_small_split_is_an_error_that_names_it():
    split = from_table(replace={2: noisy_jpeg()[:1500]})
    said = (
        r"1 unreadable of 5 images of the test split \(made test row 2: .*truncated.*"
        "more than the 0 that unreadable_limit=0.001 allows"
    )
    with pytest.raises(InputError, match=said):
        split.resident(Framing(8, 8))


def test_unreadable_images_under_the_limit_are_skipped_and_named():
    split = from_table(replace={0: b"", 2: b"junk"})
    split.unreadable_limit = 0.4
    with pytest.warns(UserWarning, match="skipped: made test row"):
        data = split.resident()
    assert data.index.tolist() == [1, 3, 4]
    assert data.images[:, 0, 0, 0].tolist() == [1, 3, 4]
    assert data.labels.tolist() == [1, 1, 1]
    assert data.skipped == split.skipped == ["made test row 0", "made test row 2"]
    split = from_table(replace={0: b"", 2: b"junk"})
    split.unreadable_limit = 0.39
    with pytest.raises(InputError, match="2 unreadable of 5"), pytest.warns(UserWarning, match="skipped"):
        split.resident()


def test_a_split_without_a_readable_image_says_so():
    split = from_table(labels=(0, 1), replace={0: b"", 1: b""})
    with pytest.raises(InputError, match="no readable image"):
        split.resident()


def test_pickling_leaves_the_decoded_copy_behind():
    split = from_table()
    split.resident()
    copy = pickle.loads(pickle.dumps(split))
    assert copy.image(4).getpixel((0, 0)) == (4, 4, 4)
    assert copy._resident == {}


def test_reading_a_table_does_not_decode_other_rows():
    split = from_table(replace={0: b"junk"})
    assert split.image(1).getpixel((0, 0)) == (1, 1, 1)
    with pytest.raises(InputError, match="made test row 0 is not a readable image"):
        split.image(0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0.9, 1.6]), r"labels of test are torch.float32 \(0.9, 1.6, ...\); give whole numbers"),
        (["cat", "dog"], "labels of test are not whole numbers"),
        ([0, 10**6], "test has the label 1000000 for 2 images"),
        ([0, 10**30], "labels of test are not whole numbers"),
        (np.array([1, 2**63 + 1], dtype=np.uint64), r"reach beyond 2\*\*63"),
    ],
)
def test_labels_that_are_no_numbers_of_classes(labels, message):
    with pytest.raises(InputError, match=message):
        ImageSplit.from_tensors(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", "bool"])
def test_labels_of_every_integer_type(kind):
    found = ImageSplit.from_tensors(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.array([1, 0], dtype=kind))
    assert (found.labels.dtype, found.labels.tolist(), found.classes) == (torch.int64, [1, 0], ["0", "1"])
