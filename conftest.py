"""What a doctest registers is gone after it."""

import pytest

_REGISTRIES = {
    "pushpull.augment": "AUGMENTATIONS",
    "pushpull.corruptions": "REGISTRY",
    "pushpull.data.load": "SOURCES",
    "pushpull.models": "STEMS",
}


@pytest.fixture(autouse=True)
def registries(request, monkeypatch):
    """Keep the registries' content for the time of a doctest."""
    if isinstance(request.node, pytest.DoctestItem):
        import importlib

        for module, name in _REGISTRIES.items():
            registry = getattr(importlib.import_module(module), name)
            monkeypatch.setattr(registry, "_things", dict(registry._things))
