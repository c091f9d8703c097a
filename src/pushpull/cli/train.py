"""The commands that train: `train` and `harden`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from pushpull.data import DataConfig, DataSplits, Preprocessing, load_data
from pushpull.errors import InputError, say
from pushpull.export.exporting import ExportOptions, export_model
from pushpull.export.formats import SUFFIXES, Card, check_onnx_installed
from pushpull.files import AFTER, BEFORE, WEIGHTS, user_path
from pushpull.models.network import Network, NetworkSpec
from pushpull.reports import compare, write_report
from pushpull.reports.gather import gather
from pushpull.training.harden import HardenOptions, harden
from pushpull.training.recipe import Recipe
from pushpull.training.run import is_first_process, train


def train_command(
    recipe: Recipe,
    output: str | None = None,
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
) -> None:
    """Train a network by a recipe.

    Args:
        recipe: all settings.
        output: the run folder; runs/DATA-MODEL-STEM-seedN where none is given.
        resume: continue the run that is in the output folder, with other learning rates or optim.clip_norm if
            you give some; auto: continue it if there is one to continue, else begin, and do nothing if it is
            finished, so that the same command can be given again.
        overwrite: delete the run that is in the output folder first.

    Example:
        pushpull train --config digits --model resnet20 --model.stem pp3 --output runs/pp3
    """
    place = user_path(recipe.data.name)
    data = (place.resolve() if place.is_dir() else place).name
    model = recipe.model.name.replace(":", "-")
    folder = user_path(output or f"runs/{data}-{model}-{recipe.model.stem}-seed{recipe.seed}")
    train(recipe, folder, resume=resume, overwrite=overwrite)
    if is_first_process():
        say(f"{folder} holds the run. Measure its robustness: pushpull evaluate {folder}")


def harden_command(
    model: str,
    options: HardenOptions,
    data: str | None = None,
    output: str | None = None,
    classes: str | None = None,
    weights: str | None = None,
    model_name: str | None = None,
    stem_of_weights: str | None = None,
    label_column: str | None = None,
    export: Literal["onnx", "exported-program", "safetensors"] | None = None,
) -> None:
    """Make a model withstand corruptions and keep its accuracy: measure, convert, fine-tune, measure, report.

    The same command goes on where it was stopped.

    Args:
        model: A run folder; hf:OWNER/NAME[@REVISION] of the hub; timm:NAME or torchvision:NAME (with their
            published weights unless --weights is given); a name of ours with --weights; a file of weights
            (.safetensors, .pth), with --model-name unless `pushpull train` wrote it; or
            FILE.py:FUNCTION, which returns the network.
        data: digits, a folder of parquet files or tar shards, an image folder, or owner/name of the hub. By
            default what a run was trained on.
        output: The folder for everything. By default runs/harden-NAME.
        classes: A text file with one class name per line: only these classes, in that order.
        weights: A file of weights for a model that is given by name or function.
        model_name: The name, where the model is given as a file of weights.
        stem_of_weights: The first layer that the weights are of. By default what they say, else plain.
        label_column: The column of a table that has the labels.
        export: onnx, exported-program or safetensors: also write the model as such a file, checked.
        options: How the model is made more robust.

    Example:
        pushpull harden timm:resnet18.a1_in1k --data photos --budget 30m
    """
    given = {
        "data": data,
        "output": output,
        "classes": classes,
        "weights": weights,
        "model_name": model_name,
        "stem_of_weights": stem_of_weights,
        "label_column": label_column,
        "export": export,
    }
    changed = {field.name: getattr(options, field.name) for field in fields(options)}
    changed = {f.name: changed[f.name] for f in fields(options) if changed[f.name] != f.default}
    asked = {name: value for name, value in given.items() if value is not None} | changed
    spec = NetworkSpec(model, weights, model_name, stem_of_weights)
    if export == "onnx":
        check_onnx_installed()
    if export == "safetensors" and spec.is_object:
        raise InputError(
            f"export=safetensors needs a network that has a name, unlike {model}: leave --export out; the "
            f"output's {WEIGHTS} has the weights"
        )
    name = Path(model).stem if Path(model).exists() else re.sub(r"[^\w.]+", "-", model).strip("-")
    folder = user_path(output or f"runs/harden-{name}")
    run = spec.load() if spec.is_run or spec.is_hub else None
    config = DataConfig(data) if data is not None else run.data if run else None
    if config is None:
        raise InputError(f"--data is missing: {model} is not a run folder, which would bring its own")
    config = replace(
        config, classes=classes or config.classes, label_column=label_column or config.label_column
    )
    splits = load_data(config)
    network = run or spec.load(splits.classes, max(splits.image_size or (224,)))
    done = harden(network, splits, options, output=folder)
    comparison = compare(
        str(folder / BEFORE),
        [str(folder / AFTER)],
        title=f"{done.before.label}, before and after hardening",
        commands=[shlex.join(["pushpull", "harden", model, *_words(asked)])],
    )
    evidence = gather(comparison, splits=splits, networks=(network, done.network))
    page, *_ = write_report(replace(comparison, lead=tuple(done.sentences())), folder, evidence=evidence)
    print("\n".join(done.sentences()))
    if export is not None:
        print(f"Exported: {_exported(done.network, splits, folder, export)}")
    print(f"The network: {folder / WEIGHTS}. The report: {page.resolve()}")


def _words(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    words = list[str]()
    for name, value in options.items():
        several = value if isinstance(value, list | tuple) else [value]
        words += [f"--{name}", *("null" if one is None else str(one) for one in several)]
    return words


def _exported(network: Network, splits: DataSplits, folder: Path, format: str) -> Path:
    """Write the network as a file for other programs; return its path."""
    own = network.preprocessing or Preprocessing()
    size: Any = own.size or splits.image_size
    size = (size, size) if isinstance(size, int) else size
    card = Card.of(
        network,
        classes=splits.classes,
        preprocessing=replace(own, size=size),
        framing=splits.framing,
        size=size,
    )
    path = folder / f"model{SUFFIXES[format]}" if format != "safetensors" else folder / "export.safetensors"
    export_model(network.model, path, card, ExportOptions(format))
    return path
