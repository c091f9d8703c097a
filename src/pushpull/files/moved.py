"""Modules of the package by the names that they had before."""

from __future__ import annotations

import importlib
import importlib.abc
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Modules that users imported by these names before they moved; they go with 1.0.
_MOVED = {
    f"pushpull.{name}": f"pushpull.unit.{name}"
    for name in ("functional", "layers", "surgery", "fusion", "optim")
}


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module by its former name: `import pushpull.functional` gives `pushpull.unit.functional`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(_MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back its own specification; it was executed when it was imported."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
