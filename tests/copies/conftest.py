"""Small images in memory."""

import pytest
import torch

from copies.made import CLASSES
from pushpull.data import ImageSplit


@pytest.fixture
def split():
    """11 images of 16x20 px whose row numbers are not their positions."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (22, 3, 16, 20), generator=generator).to(torch.uint8)
    whole = ImageSplit.from_tensors(images, torch.arange(22) // 2 % 3, CLASSES)
    return whole.subset(torch.arange(1, 22, 2))


@pytest.fixture
def clean(split):
    """The images as one tensor."""
    return split.resident().images
