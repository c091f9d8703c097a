"""PushPull-Net: image classifiers that withstand corruption, and the means to measure it.

The public API. Names are loaded when first used: `import pushpull` costs no more than `import torch`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pushpull._version import __version__

if TYPE_CHECKING:
    from pushpull import corruptions, data, evaluation, export, functional, models, reports, training
    from pushpull.corruptions import Corrupt, RandomCorruption, corrupt
    from pushpull.data import DataConfig, Preprocessing, load_data
    from pushpull.errors import InputError
    from pushpull.evaluation import Results, evaluate
    from pushpull.fusion import fuse_stem
    from pushpull.layers import PushPullConv2d
    from pushpull.models import create_model
    from pushpull.optim import parameter_groups
    from pushpull.reports import compare
    from pushpull.surgery import Replacement, replace_first_conv
    from pushpull.training import Recipe, load_run, train

_ATTRIBUTES = {
    "Corrupt": "pushpull.corruptions",
    "DataConfig": "pushpull.data",
    "InputError": "pushpull.errors",
    "Preprocessing": "pushpull.data",
    "PushPullConv2d": "pushpull.layers",
    "RandomCorruption": "pushpull.corruptions",
    "Recipe": "pushpull.training",
    "Replacement": "pushpull.surgery",
    "Results": "pushpull.evaluation",
    "compare": "pushpull.reports",
    "corrupt": "pushpull.corruptions",
    "create_model": "pushpull.models",
    "evaluate": "pushpull.evaluation",
    "fuse_stem": "pushpull.fusion",
    "load_data": "pushpull.data",
    "load_run": "pushpull.training",
    "parameter_groups": "pushpull.optim",
    "replace_first_conv": "pushpull.surgery",
    "train": "pushpull.training",
}
_MODULES = ("corruptions", "data", "evaluation", "export", "functional", "models", "reports", "training")

__all__ = [
    "Corrupt",
    "DataConfig",
    "InputError",
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
    "functional",
    "fuse_stem",
    "load_data",
    "load_run",
    "models",
    "parameter_groups",
    "replace_first_conv",
    "reports",
    "train",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"pushpull.{name}")
    if name in _ATTRIBUTES:
        return getattr(importlib.import_module(_ATTRIBUTES[name]), name)
    raise AttributeError(f"module 'pushpull' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
