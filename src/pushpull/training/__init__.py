"""Training: a recipe in, a run folder out."""

from pushpull.models.config import ModelConfig
from pushpull.models.network import Network, load_run
from pushpull.training.recipe import AugmentConfig, LossConfig, OptimConfig, Recipe, read_recipe
from pushpull.training.run import train

__all__ = [
    "AugmentConfig",
    "LossConfig",
    "ModelConfig",
    "Network",
    "OptimConfig",
    "Recipe",
    "load_run",
    "read_recipe",
    "train",
]
