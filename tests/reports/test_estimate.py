import math

import pytest

from pushpull.reports import Estimate


def test_mean_and_sample_standard_deviation_by_hand():
    # Mean 2; squared distances 1, 0, 1; divided by n - 1 = 2.
    estimate = Estimate.of([1.0, 2.0, 3.0])
    assert (estimate.mean, estimate.std, estimate.n) == (2.0, 1.0, 3)


def test_of_two_values_the_deviation_is_their_distance_by_root_two():
    assert Estimate.of([0.1, 0.3]).std == pytest.approx(0.2 / math.sqrt(2))


def test_a_single_value_has_no_spread():
    assert Estimate.of([0.25]) == Estimate(0.25, None, 1)


@pytest.mark.parametrize(
    ("estimate", "options", "text"),
    [
        (Estimate(0.1234, None, 1), {}, "12.3"),
        (Estimate(0.1234, 0.0051, 3), {}, "12.3 ± 0.5"),
        (Estimate(0.1234, 0.0, 3), {}, "12.3 ± 0.0"),
        (Estimate(0.1234, 0.0051, 3), {"spread": False}, "12.3"),
        (Estimate(-0.025, None, 1), {"signed": True}, "−2.5"),
        (Estimate(0.025, None, 1), {"signed": True}, "+2.5"),
        (Estimate(-0.0001, None, 1), {"signed": True}, "0.0"),
        (Estimate(24.31, None, 1), {"factor": 1.0}, "24.3"),
    ],
)
def test_text(estimate, options, text):
    assert estimate.text(**options) == text
