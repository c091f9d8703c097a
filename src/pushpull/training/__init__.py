"""Training: a recipe in, a run folder out."""

from pushpull.training.folder import LoadedRun, load_run
from pushpull.training.recipe import AugmentConfig, LossConfig, ModelConfig, OptimConfig, Recipe, read_recipe
from pushpull.training.run import train

__all__ = [
    "AugmentConfig",
    "LoadedRun",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "Recipe",
    "load_run",
    "read_recipe",
    "train",
]
