"""From what the command line says of a network and its images to what the exported file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pushpull.data import DataConfig, DataSplits, Framing, Preprocessing, load_data
from pushpull.data.decode import UnreadableImageError
from pushpull.data.remote import is_remote
from pushpull.data.subsets import imagenet_wnids, read_class_list
from pushpull.data.tables import is_hub_name
from pushpull.errors import InputError
from pushpull.evaluation.results import Results
from pushpull.export.formats import Card
from pushpull.files import RESULTS
from pushpull.models import model_preprocessing
from pushpull.models.libraries import assumed_preprocessing
from pushpull.models.network import Network, NetworkSpec

_CHECKED_IMAGES = 3
_DEFAULT_SIDE_PX = 224
_DEFAULT_CROP_SHARE = 0.875  # 224 of 256: what most published networks are evaluated with

Size = tuple[int, int]


def open_source(
    spec: NetworkSpec,
    *,
    data: str | None = None,
    classes: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> tuple[Network, Card, Float[Tensor, "n 3 h w"] | None, str]:
    """Return a network, what its file will say, real images to check with or None, and what they are of.

    Args:
        spec, data: the network; name of a data set, None: the run's own.
        classes: a text file of class names.
        mean, std: three numbers each, or both None.
        size: one side, or height and width, px.
        resize, crop: as in `Framing`.

    Raises:
        InputError: it does not exist, or its classes or the size of its images are not known.
    """
    if (mean is None) != (std is None):
        raise InputError("--mean and --std go together: three numbers each, or neither")
    splits = None if data is None else load_data(DataConfig(data))
    listed = None if classes is None else read_class_list(classes)
    side = max(size or (splits and splits.image_size) or (_DEFAULT_SIDE_PX,))
    network = _loaded(spec, splits.classes if listed is None and splits else listed, side)
    splits, framing, image_size = _data(network, splits)
    framing = framing if resize is None and crop is None else Framing(resize, crop)
    own = network.preprocessing or assumed_preprocessing(network.model, warn=mean is None)[0]
    if mean is not None and std is not None:
        own = Preprocessing(tuple(mean), tuple(std), own.size)  # type: ignore[arg-type]
    framing, taken = _framing_and_size(network.model, own, framing, image_size, size)
    names = listed or network.classes or (splits.classes if splits else None) or imagenet_wnids(1000) or []
    card = _card(replace(network, classes=names), own, framing, taken, image_size)
    return network, card, _images(splits, framing, taken), splits.label if splits else ""


def card_of(network: Network, images: Tensor | None = None) -> Card:
    """Return what an exported file says of a network by default: all that is known of it.

    Args:
        network: without `classes` the card has none: their number is that of the outputs.
        images: (N, 3, H, W) of the size that the network takes; None: the size is that of its preprocessing,
            or of the data that it was trained on.

    Raises:
        InputError: nothing tells the size.
    """
    _, framing, image_size = _data(network, None)
    own = network.preprocessing or assumed_preprocessing(network.model)[0]
    asked = None if images is None else tuple(images.shape[-2:])
    try:
        framing, size = _framing_and_size(network.model, own, framing, image_size, asked)
    except InputError as error:
        raise error.with_remedy("give images of the size that the network takes, or a Card") from error
    return _card(network, own, framing, size, image_size)


def _card(
    network: Network, own: Preprocessing, framing: Framing, size: Size, image_size: Size | None
) -> Card:
    return Card.of(
        network,
        classes=network.classes or [],
        preprocessing=replace(own, size=size),
        framing=framing,
        size=size,
        side_px=max(image_size or size),
    )


def _loaded(spec: NetworkSpec, classes: list[str] | None, side_px: int) -> Network:
    try:
        return spec.load(classes, side_px)
    except InputError as error:
        if classes is None and "does not fit" in str(error):
            raise InputError(
                f"{error}; where it has other classes than ImageNet-1k's 1000, give --classes FILE or --data"
            ) from error
        raise


def _data(
    network: Network, splits: DataSplits | None
) -> tuple[DataSplits | None, Framing | None, Size | None]:
    """Return the given data, or a run's own if it is here, else framing and size that its results tell."""
    if splits is not None:
        return splits, splits.framing, splits.image_size
    if network.data is None:
        return None, None, None
    assert network.source is not None
    results = Path(network.source) / RESULTS
    # An export fetches nothing: a data set of the hub can be gigabytes.
    name = network.data.name
    fetched = is_remote(name) or (is_hub_name(name) and not Path(name).exists())
    try:
        if not fetched:
            splits = load_data(network.data)
            return splits, splits.framing, splits.image_size
    except InputError:
        if not results.is_file():
            raise
    if not results.is_file():
        return None, None, None
    data = Results.load(results).data
    height, width = data["image_size"]
    return None, Framing(**data["framing"]), (height, width)


def _framing_and_size(
    model: nn.Module,
    preprocessing: Preprocessing,
    framing: Framing | None,
    image_size: Size | None,
    asked: Sequence[int] | None,
) -> tuple[Framing, Size]:
    """Return what is cut out of an image, and the (height, width) in px that the network gets."""
    side = preprocessing.size
    own = (side, side) if isinstance(side, int) else side
    if asked is not None:
        given = asked[0] if len(asked) == 1 else tuple(asked)
        own = Preprocessing(size=given).size  # type: ignore[arg-type, assignment]
    if framing is None:
        framing = _published_framing(model, own)
    size = own or (image_size if framing.crop is None else (framing.crop, framing.crop))
    if size is None:
        raise InputError(
            "the size of the images is not known", remedy="give --size HEIGHT WIDTH in pixels, or --data"
        )
    return framing, size


def _published_framing(model: nn.Module, size: Size | None) -> Framing:
    """Return the centre crop that the weights were published with; without such weights, none."""
    config = getattr(model, "pretrained_cfg", None)
    if size is None or model_preprocessing(model) is None or size[0] != size[1]:
        return Framing()
    share = (config or {}).get("crop_pct") or _DEFAULT_CROP_SHARE
    return Framing(int(size[0] / share), size[0])


def _images(splits: DataSplits | None, framing: Framing, size: Size) -> Tensor | None:
    """Return some images that can be decoded, evenly spread over a split, in [0, 1]."""
    split = None if splits is None else splits.test or splits.validation or splits.train
    if split is None:
        return None
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
