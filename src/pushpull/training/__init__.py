"""Training: a recipe in, a run folder out."""

from pushpull.training.folder import LoadedRun, load_run
from pushpull.training.recipe import AugmentConfig, ModelConfig, OptimConfig, Recipe, read_recipe
from pushpull.training.run import train

__all__ = [
    "AugmentConfig",
    "LoadedRun",
    "ModelConfig",
    "OptimConfig",
    "Recipe",
    "load_run",
    "read_recipe",
    "train",
]
