"""A run that takes a second: few images, a small network."""

from dataclasses import replace

import pytest

from pushpull.data import load_data
from pushpull.training import AugmentConfig, ModelConfig, OptimConfig, Recipe


@pytest.fixture(scope="module")
def splits():
    return load_data("digits")


@pytest.fixture(scope="module")
def few(splits):
    """A hundred training images: a step takes milliseconds."""
    return replace(
        splits,
        train=splits.train.subset(range(100)),
        validation=splits.validation.subset(range(40)),
        test=splits.test.subset(range(40)),
    )


@pytest.fixture
def recipe():
    return Recipe(
        model=ModelConfig("resnet8", "pp3"),
        augment=AugmentConfig(crop=32, padding=2, flip=False),
        optim=OptimConfig(initial_lr=0.01, max_lr=0.05),
        epochs=2,
        batch_size=20,
        accelerator="cpu",
    )
