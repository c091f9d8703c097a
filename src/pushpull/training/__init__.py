"""Training: a recipe in, a run folder out."""

from pushpull.models.factory import ModelConfig
from pushpull.models.network import Network, load_run
from pushpull.training.callbacks import GateSchedule, OutOfTime
from pushpull.training.module import distillation
from pushpull.training.recipe import AugmentConfig, LossConfig, OptimConfig, Recipe, read_recipe
from pushpull.training.run import train

__all__ = [
    "AugmentConfig",
    "GateSchedule",
    "LossConfig",
    "ModelConfig",
    "Network",
    "OptimConfig",
    "OutOfTime",
    "Recipe",
    "distillation",
    "load_run",
    "read_recipe",
    "train",
]
