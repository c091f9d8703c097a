"""The network of a run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pushpull.data import DataConfig, Preprocessing
from pushpull.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from pushpull.errors import InputError, MissingFileError
from pushpull.files.names import RECIPE, WEIGHTS
from pushpull.files.yaml import from_dict, read_yaml
from pushpull.models.config import ModelConfig
from pushpull.models.factory import create_model, default_input_style
from pushpull.models.loading import load_weights
from pushpull.models.weights import read_metadata


@dataclass(frozen=True)
class LoadedRun:
    """A trained network and what it needs to be used.

    Args:
        model: in evaluation mode, on the CPU.
        data: what it was trained on.
        preprocessing: mean, std and size that it expects.
        name, stem: of the network.
        seed: of the run.
        classes: their names, in the order of the logits.
        label: what tables call the run.
    """

    model: nn.Module
    data: DataConfig
    preprocessing: Preprocessing
    name: str
    stem: str
    seed: int
    classes: list[str]
    label: str


def load_run(folder: Path | str) -> LoadedRun:
    """Load the network of a run folder; a missing or damaged file is an `InputError` that names it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f"run folder {folder} does not exist; give a folder that `pushpull train` wrote"
        )
    config, data, preprocessing, seed = _read_recipe(folder / RECIPE)
    metadata = read_metadata(folder / WEIGHTS)
    try:
        classes = json.loads(metadata["classes"])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{folder / WEIGHTS} does not name its classes; it is not from `pushpull train`"
        ) from error
    with torch.random.fork_rng():  # the values that are drawn here are replaced at once
        model = build_model(replace(config, pretrained=False, weights=None), len(classes))
    load_weights(model, folder / WEIGHTS)
    return LoadedRun(
        model=model.eval(),
        data=data,
        preprocessing=preprocessing or Preprocessing(IMAGENET_MEAN, IMAGENET_STD),
        name=config.name,
        stem=config.stem,
        seed=seed,
        classes=classes,
        label=f"{config.name} {config.stem}{_strength_text(config)} seed {seed}",
    )


def _read_recipe(path: Path) -> tuple[ModelConfig, DataConfig, Preprocessing | None, int]:
    """Return what a run's recipe says of its network and data; how it was trained is read by `training`."""
    values = read_yaml("recipe", path)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold keys and values, not {values!r}")
    preprocessing, seed = values.get("preprocessing"), values.get("seed", 0)
    if type(seed) is not int:
        raise InputError(f"{path}: seed={seed!r} must be int")
    return (
        from_dict(ModelConfig, values.get("model", {}), f"{path}: model"),
        from_dict(DataConfig, values.get("data", {}), f"{path}: data"),
        from_dict(Preprocessing, preprocessing, f"{path}: preprocessing") if preprocessing else None,
        seed,
    )


def _strength_text(model: ModelConfig) -> str:
    return "" if model.alpha is None else f" alpha {model.alpha:g}"


def build_model(config: ModelConfig, classes: int) -> nn.Module:
    """Build the network of a recipe, with the weights that it asks for."""
    model = create_model(
        config.name,
        stem=config.stem,
        input_style=config.input_style or default_input_style(config.name, 224),
        num_classes=classes,
        pretrained=config.pretrained,
        alpha=config.alpha,
    )
    if config.weights is not None:
        load_weights(model, Path(config.weights))
    return model
