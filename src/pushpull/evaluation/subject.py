"""From what the command line calls a model to a network that can be evaluated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pushpull.data import Preprocessing
from pushpull.data.subsets import imagenet_wnids, matched_classes
from pushpull.errors import InputError, MissingFileError, choice
from pushpull.models import MODELS, STEMS, create_model, default_input_style, load_weights
from pushpull.models.run_folder import load_run
from pushpull.models.weights import read_metadata

_LIBRARIES = ("timm:", "torchvision:")
_WEIGHTS = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Subject:
    """A network, and what its results say of it.

    Args:
        model: the network.
        name, stem, source, label, seed: as in the results; label None: made of the others.
        preprocessing: what it was trained with, where that is known.
        classes: what its outputs mean, where that is known.
    """

    model: nn.Module
    name: str
    stem: str
    source: str
    label: str | None = None
    seed: int | None = None
    preprocessing: Preprocessing | None = None
    classes: list[str] | None = None


@dataclass(frozen=True)
class Naming:
    """How the command line names a network that is not a run folder.

    Args:
        spec: `timm:NAME`, `torchvision:NAME`, a name of ours, or a file of weights.
        weights: a file of weights, where `spec` is a name.
        model_name: the name, where `spec` is a file of weights.
        stem, input_style: as for `create_model`; None: what the weights say, else "plain" and by image size.
    """

    spec: str
    weights: str | None = None
    model_name: str | None = None
    stem: str | None = None
    input_style: str | None = None

    def checked(self) -> None:
        """Raise `InputError` if it cannot mean a network that is not a run folder."""
        is_file = Path(self.spec).suffix in _WEIGHTS
        if is_file and self.weights is not None:
            raise InputError(
                f"{self.spec} is a file of weights: leave out --weights, or name a model instead"
            )
        if not is_file and self.model_name is not None:
            raise InputError(
                f"--model_name goes with a file of weights, not with {self.spec!r}; leave it out"
            )
        file = self.spec if is_file else self.weights
        if file is not None and not Path(file).is_file():
            raise MissingFileError(f"{file} does not exist; give a .safetensors or .pth file of weights")
        if self.stem is not None:
            choice("stem", self.stem, STEMS)
        if not is_file and not self.spec.startswith(_LIBRARIES):
            if self.spec not in MODELS:
                _raise_unknown(self.spec)
            if self.weights is None:
                raise InputError(
                    f"{self.spec} has no published weights; give --weights FILE, or a run folder"
                )

    def checked_run_folder(self) -> None:
        """Raise `InputError` if anything is named that a run folder knows itself."""
        options = ("weights", "model_name", "stem", "input_style")
        given = [f"--{option}" for option in options if getattr(self, option) is not None]
        if given:
            raise InputError(f"{self.spec} is a run folder and knows its model: leave out {', '.join(given)}")

    def load(self, classes: Sequence[str], side_px: int) -> Subject:
        """Return the network.

        Args:
            classes: of the data; the network's own where the weights name them.
            side_px: longer side of the images.
        """
        file = self.weights if Path(self.spec).suffix not in _WEIGHTS else self.spec
        notes = _notes(file)
        name = self.model_name or (self.spec if file != self.spec else notes.get("model"))
        if name is None:
            raise InputError(f"{self.spec} does not say which network it is of; give --model_name")
        stem = self.stem or notes.get("stem", "plain")
        if file is None:
            model = _published(name, stem)
        else:
            style = self.input_style or notes.get("input_style") or default_input_style(name, side_px)
            known = json.loads(notes.get("classes", "null")) or classes
            alpha = json.loads(notes.get("alpha", "null"))
            model = _with_weights(name, stem, style, known, file, alpha)
        preprocessing = json.loads(notes.get("preprocessing", "null"))
        return Subject(
            model=model,
            name=name,
            stem=stem,
            source=file or name,
            preprocessing=Preprocessing.from_dict(preprocessing) if preprocessing else None,
            classes=json.loads(notes.get("classes", "null")),
        )


def load_run_subject(folder: str) -> tuple[Subject, Any]:
    """Return the network of a training run's folder, and the `DataConfig` that it was trained on."""
    run = load_run(folder)
    subject = Subject(
        model=run.model,
        name=run.name,
        stem=run.stem,
        source=folder,
        label=run.label,
        seed=run.seed,
        preprocessing=run.preprocessing,
        classes=run.classes,
    )
    return subject, run.data


def _raise_unknown(spec: str) -> None:
    if "/" in spec:
        raise MissingFileError(
            f"{spec} does not exist; give a run folder, a file of weights or a model's name"
        )
    choice("model", spec, ("a run folder", "a file of weights", *MODELS))


def _published(name: str, stem: str) -> nn.Module:
    """Return a library's network with the weights and the head that it was published with."""
    model = create_model(name, stem=stem, pretrained=True)
    config = getattr(model, "pretrained_cfg", None) or {}
    outputs = config.get("num_classes", 1000)
    if outputs != 1000:
        # create_model has given it an untrained head of 1000.
        raise InputError(f"{name} was published with {outputs} classes, not with 1000; choose other weights")
    return model


def _with_weights(
    name: str, stem: str, style: str, classes: Sequence[str], file: str, alpha: float | None
) -> nn.Module:
    """Return the network with an output a class; with 1000 where that fits and the classes are wnids."""

    def built(outputs: int) -> nn.Module:
        network = create_model(name, stem=stem, input_style=style, num_classes=outputs, alpha=alpha)
        return load_weights(network, file)

    try:
        return built(len(classes))
    except InputError as error:
        order = imagenet_wnids(1000) or []
        if len(classes) == len(order) or None in matched_classes(classes, order):
            shown = ", ".join(classes[:3]) + (", ..." if classes[3:] else "")
            raise InputError(f"{error} (for {len(classes)} classes: {shown})") from error
    return built(len(order))


def _notes(file: str | None) -> Mapping[str, str]:
    """Return what `pushpull train` writes into a file of weights; empty for other files."""
    if file is None or Path(file).suffix != ".safetensors":
        return {}
    return read_metadata(Path(file))
