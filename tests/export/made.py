"""A run folder as `pushpull train` leaves it, without training."""

import json
from pathlib import Path

import torch
import yaml

from pushpull.data import DataConfig, Preprocessing
from pushpull.models import create_model
from pushpull.models.loading import save_weights
from pushpull.training import ModelConfig, Recipe

CLASSES = [str(digit) for digit in range(10)]
PREPROCESSING = Preprocessing((0.5, 0.4, 0.3), (0.25, 0.3, 0.2))


def make_run(folder: Path, *, stem: str = "pp3", data: str = "digits") -> Path:
    """Write recipe and weights of a small network; its running statistics are those of its weights."""
    recipe = Recipe(
        model=ModelConfig("resnet8", stem, "cifar"), data=DataConfig(data), preprocessing=PREPROCESSING
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("resnet8", stem=stem, input_style="cifar", num_classes=10)
        for _ in range(4):
            model(torch.randn(16, 3, 32, 32))
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    notes = {"model": "resnet8", "stem": stem, "input_style": "cifar", "classes": json.dumps(CLASSES)}
    notes["preprocessing"] = json.dumps(PREPROCESSING.to_dict())
    save_weights(model, folder / "model.safetensors", notes)
    return folder
