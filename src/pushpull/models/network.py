"""One loaded network, whatever it was named by: what evaluation, export, distillation and tables take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from pushpull.data import DataConfig, Preprocessing
from pushpull.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from pushpull.data.subsets import imagenet_wnids, matched_classes
from pushpull.errors import InputError, MissingFileError, choice, one_line
from pushpull.files import RECIPE, WEIGHTS
from pushpull.files.registry import named_object
from pushpull.files.yaml import from_dict, read_yaml
from pushpull.models.factory import MODELS, ModelConfig, create_model, default_input_style, nameable
from pushpull.models.hub import HUB, fetched, hub_name
from pushpull.models.libraries import keep_rows, model_preprocessing, unwrapped
from pushpull.models.loading import WEIGHTS_ENDINGS, epochs_left, load_weights, read_notes, read_weights
from pushpull.models.stems import STEMS, replace_by_stem, set_strength
from pushpull.unit.gate import set_gate
from pushpull.unit.layers import Inhibited

_LIBRARIES = ("timm:", "torchvision:")
_DEFAULT_SIDE_PX = 224


@dataclass(frozen=True)
class Network:
    """A network and all that is known of it.

    Args:
        model: maps (N, 3, H, W) to logits; in evaluation mode, on the CPU, where it was loaded here.
        name: of the architecture, as it was named.
        stem: the first layer, one of `STEMS`; None: unknown.
        source: where it comes from: a run folder, a file of weights, a name.
        label: what tables call it; None: made of name, stem and seed.
        seed: of the run that trained it.
        classes: what its outputs mean; None: unknown.
        preprocessing: mean, std and size that it expects; None: unknown.
        input_style: "imagenet" or "cifar", for networks of ours.
        data: what it was trained on, where it is a run of ours.
        epochs: "1 of 40" where it is a run of ours that has not gone to its end.
    """

    model: nn.Module
    name: str
    stem: str | None = None
    source: str | None = None
    label: str | None = None
    seed: int | None = None
    classes: list[str] | None = None
    preprocessing: Preprocessing | None = None
    input_style: str | None = None
    data: DataConfig | None = None
    epochs: str | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """How a user names a network, checked before anything is loaded.

    Args:
        spec: a run folder, or one that `pushpull.save_pretrained` wrote; `hf:OWNER/NAME` or
            `hf:OWNER/NAME@REVISION` of the hub; `timm:NAME` or `torchvision:NAME` with their published
            weights; a name of ours, with `weights`; a file of weights; or `path/to/file.py:function` or
            `package.module:function`, a function without arguments that returns a module, or the module.
        weights: a file of weights for a network that is given by name or function.
        model_name: the name, where `spec` is a file of weights that does not say it.
        stem, input_style: as for `create_model`; None: what the weights say, else "plain" and by image size.

    Raises:
        InputError: the parts cannot go together, or name nothing that could be loaded.
    """

    spec: str
    weights: str | None = None
    model_name: str | None = None
    stem: str | None = None
    input_style: str | None = None

    def __post_init__(self) -> None:
        if self.is_run or self.is_hub:
            options = ("weights", "model_name", "stem", "input_style")
            given = [f"--{option}" for option in options if getattr(self, option) is not None]
            if given:
                what = "a run folder" if self.is_run else "a shared network"
                raise InputError(f"{self.spec} is {what} and knows its model: leave out {', '.join(given)}")
            if self.is_hub:
                hub_name(self.spec)
            return
        if self.is_file and self.weights is not None:
            raise InputError(
                f"{self.spec} is a file of weights: leave out --weights, or name a model instead"
            )
        if not self.is_file and self.model_name is not None:
            raise InputError(
                f"--model-name goes with a file of weights, not with {self.spec!r}; leave it out"
            )
        file = self.spec if self.is_file else self.weights
        if file is not None and not Path(file).is_file():
            raise MissingFileError(f"{file} does not exist; give a .safetensors or .pth file of weights")
        if self.stem is not None:
            STEMS.find(self.stem)
        if self.is_object and (self.stem or self.input_style):
            raise InputError(
                f"{self.spec} builds its own first layer: leave out --stem and --input-style, or call "
                "pushpull.replace_first_conv in the function"
            )
        if not (self.is_file or self.is_object or self.spec.startswith(_LIBRARIES)):
            self._check_own_name()

    def _check_own_name(self) -> None:
        if self.spec not in MODELS:
            if "/" in self.spec:
                raise MissingFileError(
                    f"{self.spec} does not exist; give a run folder, a file of weights, a model's name, or "
                    "FILE.py:FUNCTION"
                )
            choice("model", self.spec, ("a run folder", "a file of weights", "FILE.py:FUNCTION", *MODELS))
        if self.weights is None:
            raise InputError(f"{self.spec} has no published weights; give --weights FILE, or a run folder")

    @property
    def is_run(self) -> bool:
        """Whether it names a folder."""
        return Path(self.spec).is_dir()

    @property
    def is_hub(self) -> bool:
        """Whether it names a network of the hub."""
        return self.spec.startswith(HUB)

    @property
    def is_file(self) -> bool:
        """Whether it names a file of weights."""
        return Path(self.spec).suffix in WEIGHTS_ENDINGS and not self.is_hub

    @property
    def is_object(self) -> bool:
        """Whether it names a function of the user's own."""
        return ":" in self.spec and not self.spec.startswith((*_LIBRARIES, HUB)) and not self.is_file

    def load(self, classes: Sequence[str] | None = None, side_px: int = _DEFAULT_SIDE_PX) -> Network:
        """Return the network.

        Args:
            classes: of the data, which decide how many outputs a network of ours has; the network's own where
                its weights name them; None: ImageNet's thousand.
            side_px: longer side of the images, which decides the input style where nothing else does.

        Raises:
            InputError: it cannot be built or loaded.
        """
        if self.is_run or self.is_hub:
            return load_run(self.spec)
        if self.is_object:
            return self._built()
        file = self.spec if self.is_file else self.weights
        notes = _notes(file)
        name = self.model_name or (nameable(notes.get("model"), self.spec) if self.is_file else self.spec)
        if name is None:
            read_weights(Path(self.spec))  # a file that is no state dict needs another remedy
            raise InputError(f"{self.spec} does not say which network it is of; give --model-name")
        stem = self.stem or notes.get("stem", "plain")
        style: Any = self.input_style or notes.get("input_style") or default_input_style(name, side_px)
        known, own = notes.get("classes"), _noted_preprocessing(notes, file)
        if file is None:
            model = _published(name, stem)
            own = model_preprocessing(model, published=True)
        else:
            config = ModelConfig(name, stem, style, alpha=notes.get("alpha"))
            model = _with_weights(config, known or classes, file)
        return Network(
            model=model,
            name=name,
            stem=stem,
            source=file or name,
            classes=known,
            preprocessing=own,
            input_style=style,
            epochs=epochs_left(file) if file else None,
        )

    def _built(self) -> Network:
        """Return what a function of the user's own builds, or a module that is there already."""
        found = named_object(self.spec)
        if isinstance(found, type) or (callable(found) and not isinstance(found, nn.Module)):
            try:
                found = found()
            except Exception as error:  # the user's code may raise anything
                raise InputError(
                    f"{self.spec} fails without arguments ({one_line(error)}); give a function that "
                    "returns the network"
                ) from error
        if not isinstance(found, nn.Module):
            raise InputError(
                f"{self.spec} returns a {type(found).__name__}, not a torch.nn.Module; return one"
            )
        name, notes = self.spec.rpartition(":")[2], _notes(self.weights)
        if self.weights is not None:
            self._as_hardened(found, name, notes)
            load_weights(found, self.weights)
        return Network(
            found,
            name,
            stem=notes.get("stem"),
            source=self.weights or self.spec,
            label=name,
            classes=notes.get("classes"),
            preprocessing=_noted_preprocessing(notes, self.weights),
            epochs=epochs_left(self.weights) if self.weights else None,
        )

    def _as_hardened(self, found: nn.Module, name: str, notes: Mapping[str, Any]) -> None:
        """Give the network, in place, what weights of `pushpull harden` have: the stem, fewer outputs."""
        stem = notes.get("stem", "plain")
        if stem != "plain" and not any(isinstance(unit, Inhibited) for unit in found.modules()):
            replace_by_stem(found, stem, name)
            if notes.get("alpha") is not None:
                set_strength(found, notes["alpha"])
        try:
            keep_rows(found, notes.get("cut", ()), range(len(notes.get("classes", ()))))
        except (AttributeError, IndexError) as error:
            raise InputError(f"{self.weights} is not of the network that {self.spec} builds") from error


def _notes(file: str | None) -> dict[str, Any]:
    """Return what a file of weights says of its network."""
    return read_notes(Path(file)) if file is not None and file.endswith(".safetensors") else {}


def _noted_preprocessing(notes: Mapping[str, Any], file: str | None) -> Preprocessing | None:
    noted = notes.get("preprocessing")
    try:
        return Preprocessing.from_dict(noted) if noted else None
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def load_network(
    spec: str | Path | nn.Module | Network,
    *,
    weights: str | None = None,
    model_name: str | None = None,
    stem: str | None = None,
    input_style: Literal["imagenet", "cifar"] | None = None,
    classes: Sequence[str] | None = None,
    side_px: int = _DEFAULT_SIDE_PX,
) -> Network:
    """Return a network, whatever it is named by, as one object.

    Args:
        spec: as for `NetworkSpec`, or a module, or what this function returned before.
        weights, model_name, stem, input_style: as for `NetworkSpec`.
        classes: names of the data's classes; None: the network's own, else ImageNet's thousand.
        side_px: longer side of the images.

    Raises:
        InputError: nothing of that name, parts that do not go together, weights that do not fit.

    >>> load_network(torch.nn.Identity()).name
    'Identity'
    """
    if isinstance(spec, Network):
        return spec
    if isinstance(spec, nn.Module):
        return Network(spec, type(unwrapped(spec)).__name__)
    return NetworkSpec(str(spec), weights, model_name, stem, input_style).load(classes, side_px)


def load_run(folder: Path | str) -> Network:
    """Return the network of a run folder, which `pushpull train` wrote, or of a shared one.

    Args:
        folder: of a run; what `pushpull.save_pretrained` wrote; or `hf:OWNER/NAME[@REVISION]` of the hub.

    Raises:
        MissingFileError: the folder or a file of it is not there.
        InputError: a file is damaged (the error names it), or nothing can be fetched.
    """
    if str(folder).startswith(HUB):
        return replace(load_run(fetched(str(folder))), source=str(folder))
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f"run folder {folder} does not exist; give a folder that `pushpull train` wrote"
        )
    if not (folder / RECIPE).exists() and (folder / WEIGHTS).is_file():
        return _shared(folder)
    return _of_recipe(folder, folder / RECIPE)


def _of_recipe(folder: Path, path: Path) -> Network:
    """Return the network of a run folder, as its recipe describes it."""
    recipe = read_yaml("recipe", path)
    if not isinstance(recipe, dict):
        raise InputError(f"{path} must hold keys and values, not {recipe!r}")
    config = from_dict(ModelConfig, recipe.get("model", {}), f"{path}: model")
    nameable(config.name, folder / WEIGHTS)
    preprocessing, seed = recipe.get("preprocessing"), recipe.get("seed", 0)
    if type(seed) is not int:
        raise InputError(f"{path}: seed={seed!r} must be int")
    classes: list[str] | None = read_notes(folder / WEIGHTS).get("classes")
    if classes is None:
        raise InputError(f"{folder / WEIGHTS} does not name its classes; it is not from `pushpull train`")
    with torch.random.fork_rng():  # the values that are drawn here are replaced at once
        model = build_model(replace(config, pretrained=False, weights=None, start="unit"), len(classes))
    load_weights(model, folder / WEIGHTS)
    strength = "" if config.alpha is None else f" alpha {config.alpha:g}"
    return Network(
        model=model.eval(),
        name=config.name,
        stem=config.stem,
        source=str(folder),
        label=f"{config.name} {config.stem}{strength} seed {seed}",
        seed=seed,
        classes=classes,
        preprocessing=from_dict(Preprocessing, preprocessing, f"{path}: preprocessing")
        if preprocessing
        else Preprocessing(IMAGENET_MEAN, IMAGENET_STD),
        input_style=config.input_style,
        data=from_dict(DataConfig, recipe.get("data", {}), f"{path}: data"),
        epochs=epochs_left(folder),
    )


def from_pretrained(name: str | Path, *, revision: str | None = None) -> Network:
    """Return a network that `pushpull.save_pretrained` wrote, from a folder or the hub.

    Args:
        name: the folder, or OWNER/NAME on the hub; a folder of that name comes first.
        revision: branch, tag or commit on the hub; None: the newest.

    Returns:
        The network in evaluation mode, with its classes, its preprocessing and, of a run, its seed and data.

    Raises:
        InputError: there is no such folder and nothing can be fetched, or it is not of `save_pretrained`.

    >>> network = from_pretrained("someone/resnet50-pp3", revision="v1")  # doctest: +SKIP
    """
    if Path(name).is_dir() and revision is None:
        return load_run(name)
    return load_run(f"{HUB}{str(name).removeprefix(HUB)}" + (f"@{revision}" if revision else ""))


def _shared(folder: Path) -> Network:
    """Return the network of a folder whose file of weights says all of it."""
    file = str(folder / WEIGHTS)
    network, notes = NetworkSpec(file).load(), _notes(file)
    seed = notes.get("seed", "")
    seed = int(seed) if seed.isdecimal() and len(seed) <= 10 else None
    network.model.eval()
    return replace(network, source=str(folder), label=notes.get("label"), seed=seed)


def build_model(config: ModelConfig, classes: int) -> nn.Module:
    """Return the network of a recipe, with the weights that it asks for and an output per class."""
    model = create_model(
        config.name,
        stem=config.stem,
        input_style=config.input_style or default_input_style(config.name, _DEFAULT_SIDE_PX),
        num_classes=classes,
        pretrained=config.pretrained,
        alpha=config.alpha,
    )
    if config.weights is not None:
        load_weights(model, Path(config.weights))
    if config.start == "preserve":
        set_gate(model, 0)
    return model


def _published(name: str, stem: str) -> nn.Module:
    """Return a library's network with the weights and the head that it was published with."""
    model = create_model(name, stem=stem, pretrained=True)
    config = getattr(model, "pretrained_cfg", None) or {}
    outputs = config.get("num_classes", 1000)
    if outputs != 1000:
        # create_model has given it an untrained head of 1000.
        raise InputError(f"{name} was published with {outputs} classes, not with 1000; choose other weights")
    return model


def _with_weights(config: ModelConfig, classes: Sequence[str] | None, file: str) -> nn.Module:
    """Return the network with an output per class; with 1000 where that fits and the classes are wnids."""
    order = imagenet_wnids(1000) or []
    names = list(order if classes is None else classes)
    try:
        return build_model(replace(config, weights=file), len(names))
    except InputError as error:
        if len(names) == len(order) or None in matched_classes(names, order):
            shown = ", ".join(names[:3]) + (", ..." if names[3:] else "")
            raise InputError(f"{error} (for {len(names)} classes: {shown})") from error
    return build_model(replace(config, weights=file), len(order))
