"""From what the command line calls a model to the network, its card, and images to check it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushpull.data import DataConfig, Framing, ImageSplit, Preprocessing, load_data
from pushpull.data.decode import UnreadableImageError
from pushpull.data.subsets import imagenet_wnids, read_class_list
from pushpull.data.tables import is_hub_name
from pushpull.errors import InputError
from pushpull.evaluation.results import Results
from pushpull.evaluation.subject import Naming, Subject, load_run_subject
from pushpull.export.card import Card
from pushpull.files.names import RESULTS, WEIGHTS
from pushpull.models import default_input_style, model_preprocessing
from pushpull.models.weights import read_metadata

_CHECKED_IMAGES = 3
_DEFAULT_SIDE_PX = 224
_DEFAULT_CROP_SHARE = 0.875  # 224 of 256: what most published networks are evaluated with


@dataclass(frozen=True)
class Wishes:
    """What the command line says of the images, where the model does not know it or it should differ.

    Args:
        data: name of a data set; None: the run's own.
        classes: a text file of class names.
        mean, std: three numbers each, or both None.
        size: one side, or height and width, px.
        resize, crop: as in `Framing`.
    """

    data: str | None = None
    classes: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: Sequence[int] | None = None
    resize: int | None = None
    crop: int | None = None


@dataclass(frozen=True)
class Source:
    """A network to export.

    Args:
        model: the network.
        card: what its file will say.
        images: (n, 3, H, W) in [0, 1], of the card's size, from real data; None where none are at hand.
        images_of: what these images are called.
    """

    model: nn.Module
    card: Card
    images: Float[Tensor, "n 3 h w"] | None
    images_of: str


@dataclass(frozen=True)
class _Data:
    """What is known of the images that the network is for."""

    framing: Framing | None = None
    size: tuple[int, int] | None = None
    classes: list[str] | None = None
    split: ImageSplit | None = None
    label: str = ""


def open_source(naming: Naming, wishes: Wishes) -> Source:
    """Return the network that the command line names.

    Raises:
        InputError: it does not exist, or its classes or the size of its images are not known.
    """
    if (wishes.mean is None) != (wishes.std is None):
        raise InputError("--mean and --std go together: three numbers each, or neither")
    if Path(naming.spec).is_dir():
        naming.checked_run_folder()
        subject, own = load_run_subject(naming.spec)
        data = _run_data(naming.spec, own) if wishes.data is None else _opened(DataConfig(wishes.data))
    else:
        naming.checked()
        data = _Data() if wishes.data is None else _opened(DataConfig(wishes.data))
        subject = _loaded(naming, data, wishes)
    preprocessing = _preprocessing(subject, wishes)
    framing, size = _framing_and_size(subject.model, preprocessing, data, wishes)
    card = Card(
        name=subject.name,
        stem=subject.stem,
        label=subject.label or f"{subject.name} {subject.stem}",
        classes=_classes(subject.classes, data, wishes),
        preprocessing=replace(preprocessing, size=size),
        framing=framing,
        size=size,
        input_style=_input_style(naming, subject.name, max(data.size or size)),
        seed=subject.seed,
    )
    images = None if data.split is None else _images(data.split, framing, size)
    return Source(subject.model, card, images, data.label)


def _opened(config: DataConfig) -> _Data:
    splits = load_data(config)
    split = splits.test or splits.validation or splits.train
    return _Data(splits.framing, splits.image_size, splits.classes, split, splits.label)


def _run_data(folder: str, config: DataConfig) -> _Data:
    """Return the run's own data if it is on this machine, else what its results say of it."""
    results = Path(folder) / RESULTS
    # An export fetches nothing: a data set of the hub can be gigabytes.
    fetched = is_hub_name(config.name) and not Path(config.name).exists()
    try:
        if not fetched:
            return _opened(config)
    except InputError:
        if not results.is_file():
            raise
    if not results.is_file():
        return _Data()
    data = Results.load(results).data
    height, width = data["image_size"]
    return _Data(Framing(**data["framing"]), (height, width))


def _loaded(naming: Naming, data: _Data, wishes: Wishes) -> Subject:
    side = max(wishes.size or data.size or (_DEFAULT_SIDE_PX,))
    try:
        return naming.load(_classes(None, data, wishes), side)
    except InputError as error:
        if data.classes is None and wishes.classes is None and "does not fit" in str(error):
            raise InputError(
                f"{error}; where it has other classes than ImageNet-1k's 1000, give --classes FILE or --data"
            ) from error
        raise


def _classes(own: list[str] | None, data: _Data, wishes: Wishes) -> list[str]:
    """Return the class names: as asked, else as the weights, else as the data say, else ImageNet's."""
    if wishes.classes is not None:
        return read_class_list(wishes.classes)
    return own or data.classes or imagenet_wnids(1000) or []


def _input_style(naming: Naming, name: str, side_px: int) -> str:
    """Return the style that the network was built with, by the rule of `Naming.load`."""
    file = Path(naming.weights or naming.spec)
    file = file / WEIGHTS if file.is_dir() else file
    notes = read_metadata(file) if file.suffix == ".safetensors" else {}
    return naming.input_style or notes.get("input_style") or default_input_style(name, side_px)


def _preprocessing(subject: Subject, wishes: Wishes) -> Preprocessing:
    own = subject.preprocessing or model_preprocessing(subject.model) or Preprocessing()
    if wishes.mean is None or wishes.std is None:
        return own
    return Preprocessing(tuple(wishes.mean), tuple(wishes.std), own.size)  # type: ignore[arg-type]


def _framing_and_size(
    model: nn.Module, preprocessing: Preprocessing, data: _Data, wishes: Wishes
) -> tuple[Framing, tuple[int, int]]:
    """Return what is cut out of an image, and the (height, width) in px that the network gets."""
    side = preprocessing.size
    own = (side, side) if isinstance(side, int) else side
    if wishes.size is not None:
        asked = tuple(wishes.size)
        own = Preprocessing(size=asked[0] if len(asked) == 1 else asked).size  # type: ignore[arg-type, assignment]
    framing = data.framing
    if wishes.resize is not None or wishes.crop is not None:
        framing = Framing(wishes.resize, wishes.crop)
    if framing is None:
        framing = _published_framing(model, own)
    size = own or (data.size if framing.crop is None else (framing.crop, framing.crop))
    if size is None:
        raise InputError("the size of the images is not known; give --size HEIGHT WIDTH in pixels, or --data")
    return framing, size


def _published_framing(model: nn.Module, size: tuple[int, int] | None) -> Framing:
    """Return the centre crop that the weights were published with; without such weights, none."""
    config = getattr(model, "pretrained_cfg", None)
    if size is None or model_preprocessing(model) is None or size[0] != size[1]:
        return Framing()
    share = (config or {}).get("crop_pct") or _DEFAULT_CROP_SHARE
    return Framing(int(size[0] / share), size[0])


def _images(split: ImageSplit, framing: Framing, size: tuple[int, int]) -> Tensor | None:
    """Return some images that can be decoded, evenly spread over the split, in [0, 1]."""
    chosen = []
    for position in range(0, len(split), max(1, len(split) // _CHECKED_IMAGES)):
        try:
            image = split.image(position)
        except UnreadableImageError:
            continue
        framed = framing.output_size((image.height, image.width))
        chosen.append(split.framed(position, framing, framed)[None])
    same = [Preprocessing(size=size)(image) for image in chosen[:_CHECKED_IMAGES]]
    return torch.cat(same) if same else None
