"""PushPull-Net: image classifiers that withstand corruption, and the means to measure it.

The public API. Names are loaded when first used: `import pushpull` costs no more than `import torch`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pushpull._version import __version__

if TYPE_CHECKING:
    from pushpull import corruptions, data, evaluation, export, models, reports, training
    from pushpull.augment import register_augmentation
    from pushpull.corruptions import Corrupt, RandomCorruption, corrupt, register_corruption
    from pushpull.data import DataConfig, Preprocessing, load_data, register_data
    from pushpull.errors import InputError
    from pushpull.evaluation import EvaluationOptions, Results, evaluate
    from pushpull.models import Network, create_model, load_network, register_stem
    from pushpull.models.network import from_pretrained, load_run
    from pushpull.reports import compare, plot, report
    from pushpull.reports.sharing import push_to_hub, save_pretrained
    from pushpull.training import Recipe, train
    from pushpull.training.harden import harden
    from pushpull.unit import functional
    from pushpull.unit.fusion import fuse_stem
    from pushpull.unit.gate import finish_gate, gate_at, set_gate
    from pushpull.unit.layers import PushPullConv2d
    from pushpull.unit.optim import parameter_groups
    from pushpull.unit.surgery import Replacement, replace_first_conv

# Modules that users imported by these names before they moved; they go with 1.0.
_MOVED = {
    f"pushpull.{name}": f"pushpull.unit.{name}"
    for name in ("functional", "layers", "surgery", "fusion", "optim")
} | {
    "pushpull.augment.jsd": "pushpull.augment.augmix",
    "pushpull.augment.transforms": "pushpull.augment.batch",
    "pushpull.evaluation.uncertainty": "pushpull.evaluation.predictions",
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


_ATTRIBUTES = {
    "Corrupt": "pushpull.corruptions",
    "DataConfig": "pushpull.data",
    "EvaluationOptions": "pushpull.evaluation",
    "InputError": "pushpull.errors",
    "Network": "pushpull.models",
    "Preprocessing": "pushpull.data",
    "PushPullConv2d": "pushpull.unit.layers",
    "RandomCorruption": "pushpull.corruptions",
    "Recipe": "pushpull.training",
    "Replacement": "pushpull.unit.surgery",
    "Results": "pushpull.evaluation",
    "compare": "pushpull.reports",
    "corrupt": "pushpull.corruptions",
    "create_model": "pushpull.models",
    "evaluate": "pushpull.evaluation",
    "finish_gate": "pushpull.unit.gate",
    "from_pretrained": "pushpull.models.network",
    "fuse_stem": "pushpull.unit.fusion",
    "gate_at": "pushpull.unit.gate",
    "harden": "pushpull.training.harden",
    "load_data": "pushpull.data",
    "load_network": "pushpull.models",
    "load_run": "pushpull.models.network",
    "parameter_groups": "pushpull.unit.optim",
    "push_to_hub": "pushpull.reports.sharing",
    "register_augmentation": "pushpull.augment",
    "register_corruption": "pushpull.corruptions",
    "register_data": "pushpull.data",
    "register_stem": "pushpull.models",
    "replace_first_conv": "pushpull.unit.surgery",
    "report": "pushpull.reports",
    "save_pretrained": "pushpull.reports.sharing",
    "set_gate": "pushpull.unit.gate",
    "train": "pushpull.training",
}
_MODULES = {
    "functional": "pushpull.unit.functional",
    **{
        name: f"pushpull.{name}"
        for name in ("corruptions", "data", "evaluation", "export", "models", "reports", "training")
    },
    "plot": "pushpull.reports.plot",
}

__all__ = [
    "Corrupt",
    "DataConfig",
    "EvaluationOptions",
    "InputError",
    "Network",
    "Preprocessing",
    "PushPullConv2d",
    "RandomCorruption",
    "Recipe",
    "Replacement",
    "Results",
    "__version__",
    "compare",
    "corrupt",
    "corruptions",
    "create_model",
    "data",
    "evaluate",
    "evaluation",
    "export",
    "finish_gate",
    "from_pretrained",
    "functional",
    "fuse_stem",
    "gate_at",
    "harden",
    "load_data",
    "load_network",
    "load_run",
    "models",
    "parameter_groups",
    "plot",
    "push_to_hub",
    "register_augmentation",
    "register_corruption",
    "register_data",
    "register_stem",
    "replace_first_conv",
    "report",
    "reports",
    "save_pretrained",
    "set_gate",
    "train",
    "training",
]


sys.meta_path.append(Moved())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _ATTRIBUTES:
        return getattr(importlib.import_module(_ATTRIBUTES[name]), name)
    raise AttributeError(f"module 'pushpull' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
