"""The forms of file: what each says of itself, how it is written, and how it is run again to be checked."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from pushpull._version import __version__
from pushpull.data import Framing, Preprocessing
from pushpull.errors import InputError, MissingFileError, extra_command, integer, one_line
from pushpull.models.factory import default_input_style
from pushpull.models.loading import read_metadata
from pushpull.models.network import Network, NetworkSpec

FORMAT_VERSION = "pushpull-export/1"
INPUT, OUTPUT = "images", "logits"
_GRAPH_INPUT = "float32 (N, 3, H, W), RGB in [0, 1], framed; the file normalises them itself"
_WEIGHTS_INPUT = "float32 (N, 3, H, W), RGB in [0, 1], framed, then (images - mean) / std"


@dataclass(frozen=True)
class Card:
    """What a file carries beside the network.

    Args:
        name, stem, label: of the network, as in results.
        classes: their names, in the order of the logits.
        preprocessing: mean and std that the network expects, and its input size.
        framing: resize and crop that come before.
        size: (height, width) in px of the images that the network takes.
        input_style: "imagenet" or "cifar", where the network is one of ours.
        seed: of the training run, if it was one.
    """

    name: str
    stem: str
    label: str
    classes: list[str]
    preprocessing: Preprocessing
    framing: Framing
    size: tuple[int, int]
    input_style: str | None = None
    seed: int | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        *,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        framing: Framing,
        size: tuple[int, int],
        side_px: int | None = None,
    ) -> Card:
        """Return the card of a loaded network: its names, and what of its images is not known by itself.

        Args:
            network: which.
            classes, preprocessing, framing, size: as above.
            side_px: longer side of the data's images, which decides an input style that is not known.
        """
        stem = network.stem or "unknown"
        return cls(
            name=network.name,
            stem=stem,
            label=network.label or f"{network.name} {stem}",
            classes=list(classes),
            preprocessing=preprocessing,
            framing=framing,
            size=size,
            input_style=network.input_style or default_input_style(network.name, side_px or max(size)),
            seed=network.seed,
        )

    def metadata(self, *, graph: bool) -> dict[str, str]:
        """Return strings for the file's own metadata; those that are no text are JSON.

        Args:
            graph: the file holds the computation, normalisation included, not only weights.
        """
        framing = {"resize": self.framing.resize, "crop": self.framing.crop}
        texts = {
            "format": FORMAT_VERSION,
            "model": self.name,
            "stem": self.stem,
            "label": self.label,
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "preprocessing": json.dumps(self.preprocessing.to_dict()),
            "framing": json.dumps(framing),
            "size": json.dumps(list(self.size)),
            "input": _GRAPH_INPUT if graph else _WEIGHTS_INPUT,
            "versions": json.dumps(
                {"pushpull": __version__, "torch": torch.__version__, "python": platform.python_version()}
            ),
        }
        if self.input_style is not None:
            texts["input_style"] = self.input_style
        if self.seed is not None:
            texts["seed"] = str(self.seed)
        return texts


@dataclass(frozen=True)
class FileCard:
    """What an exported file's metadata says: `classes` to `size` as in `Card`, and all its `texts`."""

    classes: list[str]
    preprocessing: Preprocessing
    framing: Framing
    size: tuple[int, int]
    texts: Mapping[str, str]


def read_card(texts: Mapping[str, str], path: object) -> FileCard:
    """Return what a file's metadata says.

    Args:
        texts: the strings of the file, such as `LoadedFile.metadata`.
        path: what errors call it.

    Raises:
        InputError: it was not written by `pushpull export`.
    """
    if texts.get("format") != FORMAT_VERSION:
        raise InputError(f"{path} is not from this version's `pushpull export`; export it again")
    try:
        values: dict[str, Any] = {
            key: json.loads(texts[key]) for key in ("classes", "preprocessing", "framing", "size")
        }
        height, width = values["size"]
        return FileCard(
            classes=[str(name) for name in values["classes"]],
            preprocessing=Preprocessing.from_dict(values["preprocessing"]),
            framing=Framing(**values["framing"]),
            size=(int(height), int(width)),
            texts=dict(texts),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({one_line(error)}); export it again") from error


Runner = Callable[[Tensor], Tensor]

SUFFIXES = {"onnx": ".onnx", "exported-program": ".pt2", "safetensors": ".safetensors"}
FORMATS = tuple(SUFFIXES)
_CARD = "pushpull.json"
_SAFE_LOADING = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Below 18 the exporter has no operators; above 25 it cannot write a file.
_OPSETS = range(18, 26)


@dataclass(frozen=True)
class LoadedFile:
    """An exported file, ready to run.

    Args:
        run: maps (N, 3, H, W) float32 in [0, 1] to logits (N, classes).
        metadata: the strings that the file carries.
    """

    run: Runner
    metadata: Mapping[str, str]


def check_onnx_installed() -> None:
    """Raise `InputError` where a package that ONNX files need is not installed."""
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format onnx needs {', '.join(missing)}; {extra_command('onnx')}, or choose exported-program"
        )


def check_opset(opset: int | None) -> None:
    """Raise unless ONNX's operators can be written in that version; None is the exporter's own choice."""
    remedy = f"give one of {_OPSETS.start}..{_OPSETS.stop - 1}, or leave it out"
    if opset is not None and integer("opset", opset, remedy) not in _OPSETS:
        raise InputError(f"opset={opset} cannot be written; {remedy}")


def _other_version() -> str:
    """Return what else may help where ONNX cannot be written: torch 2.6 and today's onnxscript disagree."""
    return "torch 2.7 or later" if torch.__version__ < "2.7" else "another --opset"


def write_onnx(program: ExportedProgram, path: Path, metadata: Mapping[str, str], opset: int | None) -> None:
    """Write an ONNX file with the weights inside; the metadata are its `metadata_props`."""
    with _quiet():
        try:
            exported: Any = torch.onnx.export(
                program,
                dynamo=True,
                dynamic_shapes={INPUT: open_axes(program)},
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        except Exception as error:
            raise InputError(
                f"the network cannot be written as ONNX ({one_line(error)}); "
                f"choose --format exported-program, or {_other_version()}"
            ) from error
        written = exported.model.opset_imports[""]
        if opset is not None and written != opset:
            raise InputError(
                f"the network cannot be written with opset={opset}, only {written}; leave --opset out"
            )
        for node in exported.model.graph:
            node.metadata_props.clear()  # the exporter's notes, with paths of this machine
        exported.model.metadata_props.update(metadata)
        exported.save(path, external_data=False)


def open_axes(program: ExportedProgram) -> dict[int, str]:
    """Return the names of the sizes that the graph leaves open, as the file will call them."""
    (images,) = [node for node in program.graph.nodes if node.name == INPUT]
    names = {0: "batch", 2: "height", 3: "width"}
    return {axis: name for axis, name in names.items() if not isinstance(images.meta["val"].shape[axis], int)}


def load_onnx(path: Path) -> LoadedFile:
    """Return an ONNX file, opened by onnxruntime on the CPU, and its metadata."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return LoadedFile(
        lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0]),
        session.get_modelmeta().custom_metadata_map,
    )


def write_program(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Write torch.export's archive; the metadata are its extra file `pushpull.json`."""
    with _quiet():
        torch.export.save(program, path, extra_files={_CARD: json.dumps(dict(metadata), ensure_ascii=False)})


def load_program(path: Path | str) -> LoadedFile:
    """Return what `pushpull export --format exported-program` wrote, without unpickling anything of it.

    Args:
        path: of the .pt2 file.

    Returns:
        `run`, from images (N, 3, H, W) float32 in [0, 1] to logits (N, classes), and the `metadata`.

    Raises:
        InputError: a missing or broken file, or an archive without our metadata.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path} does not exist; give a file of pushpull export")
    extra = {_CARD: ""}
    try:
        with _quiet(), _tensors_only():
            program = torch.export.load(path, extra_files=extra)
    except Exception as error:
        raise InputError(
            f"{path} could not be read as an exported program ({one_line(error)}); export it again"
        ) from error
    if not extra[_CARD]:
        raise InputError(f"{path} is not from `pushpull export`; load it with torch.export.load")
    try:
        metadata = dict(json.loads(extra[_CARD]))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({one_line(error)}); export it again") from error
    return LoadedFile(without_gradients(program.module()), metadata)


class Normalised(nn.Module):
    """A network after its normalisation: y = model((images - mean) / std), images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, 3, H, W) in [0, 1]."""
        return self.model((images - self.mean) / self.std)


def load_weights_file(path: Path) -> LoadedFile:
    """Return the network of a safetensors file of ours, built by its name and normalised by its header."""
    metadata = read_metadata(path)
    card = read_card(metadata, path)
    network = NetworkSpec(str(path)).load(card.classes, max(card.size))
    assert network.preprocessing is not None
    return LoadedFile(without_gradients(Normalised(network.model.eval(), network.preprocessing)), metadata)


def without_gradients(network: nn.Module) -> Runner:
    """Return the network as a function of images."""
    return torch.no_grad()(network.__call__)


LOADERS: dict[str, Callable[[Path], LoadedFile]] = {
    "onnx": load_onnx,
    "exported-program": load_program,
    "safetensors": load_weights_file,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own internals from the user's screen; errors are raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Have torch.load refuse what would run code; torch.export.load has no argument for it."""
    before = os.environ.get(_SAFE_LOADING)
    os.environ[_SAFE_LOADING] = "1"
    try:
        yield
    finally:
        del os.environ[_SAFE_LOADING]
        if before is not None:
            os.environ[_SAFE_LOADING] = before
