"""A small network and small data for the evaluation's tests."""

import pytest
import torch
from torch import nn

from pushpull.data import ImageSplit
from pushpull.evaluation import conditions
from pushpull.random import Draws


class SmallNet(nn.Module):
    """Convolution, dropout, pooling, linear: enough to answer differently on every image."""

    def __init__(self, classes=10):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 6, 5, stride=2)
            self.norm = nn.BatchNorm2d(6)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(6 * 9, classes)

    def forward(self, x):
        y = nn.functional.adaptive_avg_pool2d(self.norm(self.conv(x)).relu(), 3)
        return self.head(self.drop(y.flatten(1) - y.flatten(1).mean(1, keepdim=True)))


@pytest.fixture
def network():
    return SmallNet()


@pytest.fixture
def split():
    """53 images of 10 classes, 32x32, whose row numbers are not their positions."""
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand(106, 3, 4, 4, generator=generator) * 200
    images = torch.nn.functional.interpolate(colours, (32, 32), mode="bilinear").to(torch.uint8)
    labels = torch.arange(106) // 2 * 7 % 10
    return ImageSplit.from_tensors(images, labels).subset(torch.arange(1, 106, 2))


class Corruptor:
    """Stands for `corrupt`: adds noise that depends on all of its key; can fail at a given call."""

    def __init__(self):
        self.calls, self.fail_at, self.qualities = [], None, set()

    def __call__(self, images, name, severity, *, scale, seed, index, jpeg_quality=None):
        assert images.dtype == torch.uint8
        self.qualities.add(jpeg_quality)
        self.calls.append((name, severity, scale, seed, index.tolist()))
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        draws = Draws(index, seed=seed, name=name + scale, severity=severity)
        noise = draws.integers(0, 40 * severity, *images.shape[1:])
        return (images.long() + noise).clamp(max=255).to(torch.uint8)


@pytest.fixture
def corruptor(monkeypatch):
    fake = Corruptor()
    monkeypatch.setattr(conditions, "corrupt", fake)
    return fake
