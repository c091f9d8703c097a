"""Shared filters against scipy, OpenCV and numpy."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pushpull.corruptions import filters
from pushpull.errors import InputError

NUMPY_PAD = {"nearest": "edge", "reflect": "symmetric", "reflect101": "reflect"}
SCIPY = {"nearest": "nearest", "reflect": "reflect", "reflect101": "mirror"}


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@given(border=st.sampled_from(filters.BORDERS), size=st.integers(1, 20), before=st.integers(0, 70))
def test_border_index_is_numpys_pad(border, size, before):
    ours = filters.border_index(torch.arange(-before, size + 7), size, border)
    np.testing.assert_array_equal(ours, np.pad(np.arange(size), (before, 7), mode=NUMPY_PAD[border]))


def test_unknown_border_is_named():
    with pytest.raises(InputError, match=r"border='reflekt'.*did you mean 'reflect'"):
        filters.border_index(torch.arange(3), 3, "reflekt")


def test_pad_by_hand():
    padded = filters.pad(torch.tensor([[1.0, 2.0]]), 1, 0, 2, 1, "reflect")
    assert padded.tolist() == [[2, 1, 1, 2, 2]] * 2


@pytest.mark.parametrize("border", filters.BORDERS)
@pytest.mark.parametrize("truncate", [3.0, 4.0])
@pytest.mark.parametrize("sigma", [0.3, 0.7, 2.44, 19.52])
def test_gaussian_blur_is_scipys(sigma, truncate, border):
    x = noise(2, 21, 34)
    expected = [
        ndimage.gaussian_filter(plane, sigma, truncate=truncate, mode=SCIPY[border]) for plane in x.numpy()
    ]
    np.testing.assert_allclose(
        filters.gaussian_blur(x, sigma, truncate=truncate, border=border), expected, atol=1e-6
    )


def test_gaussian_blur_of_one_tap_is_the_image():
    x = noise(1, 16, 16)
    assert torch.equal(filters.gaussian_blur(x, 0.05), x)
    assert torch.equal(filters.gaussian_blur(x, 0.0), x)


@pytest.mark.parametrize("size", [3, 17, 21])
def test_correlation_of_whole_numbers_is_exact(size):
    """Whole numbers, up to the largest sums that a float64 tells apart in the corruptions."""
    kernel = (noise(size, size).double() * 2**20 / size).round()
    x = (noise(2, 3, 23, 40).double() * 255 * 1024).round()
    expected = [cv2.filter2D(image, -1, kernel.numpy()) for image in x.permute(0, 2, 3, 1).numpy()]
    padded = filters.pad(x, *[size // 2] * 4, "reflect101")
    ours = filters.correlate_whole(padded, kernel).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(ours, np.rint(np.stack(expected)))  # OpenCV takes an FFT too


@pytest.mark.parametrize(
    ("at_least", "length"), [(1, 1), (7, 8), (244, 250), (254, 256), (264, 270), (270, 270)]
)
def test_fft_length(at_least, length):
    assert filters.fft_length(at_least) == length
