"""scikit-learn's handwritten digits, brought to 32x32 RGB: real, small, part of an installed package."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from pushpull.data.images import ImageSplit
from pushpull.data.raw import RawData
from pushpull.data.subsets import stratified

NOTE = "demonstration, not evidence"
SIDE_PX = 32
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: the test images are the same whatever the configuration


def load_digits() -> RawData:
    """Return 1797 digits of the UCI optical recognition set (8x8, 17 grey levels), enlarged (bicubic).

    `index` is scikit-learn's row. The test split is a fixed fifth, stratified.
    """
    from sklearn.datasets import load_digits as sklearn_digits

    grey, numbers = sklearn_digits(return_X_y=True)
    levels = (grey.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    large = [Image.fromarray(one).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC) for one in levels]
    images = torch.from_numpy(np.stack([np.asarray(one) for one in large]))[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(numbers).to(torch.int64)
    everything = ImageSplit.from_tensors(
        images.contiguous(), labels, [str(digit) for digit in range(10)], name="digits"
    )
    rest, test = stratified(everything, TEST_FRACTION, seed=TEST_SEED, purpose="digits test")
    test.name, rest.name = "test", "train"
    return RawData(everything.classes, {"train": rest, "test": test}, [], NOTE)
