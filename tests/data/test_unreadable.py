import warnings

import pytest

from pushpull.data.decode import SkipLimit, UnreadableImageError
from pushpull.errors import InputError


def broken(*numbers):
    return [UnreadableImageError(f"row {number}", "truncated") for number in numbers]


def test_the_limit_is_a_share_rounded_down():
    assert SkipLimit("it", 50_000, 0.001).allowed == 50
    assert SkipLimit("it", 999, 0.001).allowed == 0


def test_an_image_met_twice_counts_once():
    limit = SkipLimit("it", 10, 0.2)
    with pytest.warns(UserWarning, match="skipped: row"):
        limit.admit(broken(3, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limit.admit(broken(5, 3))
    assert limit.names == ["row 3", "row 5"]


def test_past_the_limit_it_stops_with_count_limit_and_names():
    limit = SkipLimit("train", 20, 0.15)
    said = r"4 unreadable of 20 images of train \(row 1, row 2, row 3, \.\.\.: truncated\), more than the 3"
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(InputError, match=said):
        limit.admit(broken(1, 2, 3, 4))


def test_other_errors_are_not_skipped():
    with pytest.raises(InputError, match="crop"):
        SkipLimit("it", 10, 0.9).admit([InputError("crop")])
