"""What a doctest registers is gone after it."""

import importlib
from contextlib import ExitStack
from unittest.mock import patch

import pytest

_REGISTRIES = {
    "pushpull.augment": "AUGMENTATIONS",
    "pushpull.corruptions": "REGISTRY",
    "pushpull.data.load": "SOURCES",
    "pushpull.models": "STEMS",
}


@pytest.fixture(autouse=True)
def registries(request):
    """Keep the registries' content for the time of a doctest."""
    with ExitStack() as kept:
        if isinstance(request.node, pytest.DoctestItem):
            for module, name in _REGISTRIES.items():
                kept.enter_context(patch.dict(getattr(importlib.import_module(module), name)))
        yield
