"""From the name of a data set to its splits: what is trained on, selected on, evaluated on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from pushpull.data.decode import UnreadableImageError
from pushpull.data.folder import LAYOUT, SPLITS, load_folder
from pushpull.data.images import AS_IS, UNLABELLED, ImageSplit, RawData
from pushpull.data.labels import numbered, whole_labels
from pushpull.data.preprocessing import Framing
from pushpull.data.remote import is_remote, load_remote
from pushpull.data.shards import find_shards, load_shards
from pushpull.data.subsets import class_numbers, only_classes, read_class_list, stratified
from pushpull.data.tables import find_files, is_hub_name, load_hub, load_parquet
from pushpull.errors import InputError, MissingFileError, choice
from pushpull.files import user_path
from pushpull.files.registry import Registry, load_installed_plugins

IMAGENET_FRAMING = Framing(256, 224)
_PROBED_IMAGES = 2048  # headers read a split to see whether sizes agree: a second, not a pass over ImageNet
_PROBED_REMOTE = 64  # the first ones: each that lies elsewhere would fetch a row group

NOTE = "demonstration, not evidence"
SIDE_PX = 32
TEST_FRACTION = 0.2
TEST_SEED = 0  # fixed: the test images are the same whatever the configuration

SOURCES: Registry[Callable[[], Any]] = Registry("data set")
Source = TypeVar("Source", bound=Callable[[], Any])


def register_data(name: str) -> Callable[[Source], Source]:
    """Register a function as the data set `name`: for `load_data`, recipes, tables and the command line.

    The function takes no arguments and returns a mapping of "train", "validation" and "test", those that it
    has, to (images, labels): (n, 3, H, W) uint8 and (n,) integers, or to an `ImageSplit`. "classes" may hold
    the names of the labels, "note" a warning that is shown beside every figure on the data. Without a
    validation split one is held out of the training images, as for other data.

    Args:
        name: a word that no other data set has.

    Returns:
        The decorator, which returns the function as it is.

    Raises:
        InputError: the name is not a word, or is taken by another function.

    >>> @register_data("noise_images")
    ... def noise_images():
    ...     return {"test": (torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8) % 2)}
    """

    def decorate(source: Source) -> Source:
        SOURCES.register(name, source)
        return source

    return decorate


@register_data("digits")
def load_digits() -> RawData:
    """Return 1797 digits of the UCI optical recognition set (8x8, 17 grey levels), enlarged (bicubic).

    `index` is scikit-learn's row. The test split is a fixed fifth, stratified.
    """
    from sklearn.datasets import load_digits as sklearn_digits

    grey, numbers = sklearn_digits(return_X_y=True)
    levels = (grey.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    large = [Image.fromarray(one).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC) for one in levels]
    images = torch.from_numpy(np.stack([np.asarray(one) for one in large]))[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(numbers).to(torch.int64)
    everything = ImageSplit.from_tensors(
        images.contiguous(), labels, [str(digit) for digit in range(10)], name="digits"
    )
    rest, test = stratified(everything, TEST_FRACTION, seed=TEST_SEED, purpose="digits test")
    test.name, rest.name = "test", "train"
    return RawData(everything.classes, {"train": rest, "test": test}, [], NOTE)


@dataclass(frozen=True)
class DataConfig:
    """Which images to train and evaluate on.

    Args:
        name: "digits" (built in), a name of `register_data`, a folder of parquet files in the public hub's
            layout or of WebDataset shards (tar), an image folder (train/, val/, test/ with a folder per
            class), or a data set of the hub as owner/name (owner/name:config where it has several
            configurations), or hf://datasets/owner/name (@revision and /folder may follow), whose parquet
            files are read in place instead of downloaded.
        classes: path of a text file, one class name (or ImageNet's wnid) per line: only these, in that order.
        fraction: share of the training split that is used, in (0, 1]; stratified, at least one image per
            class.
        validation_fraction: share of the training split held out for model selection, in [0, 1), where the
            data has no validation split apart from the one that is evaluated on.
        split_seed: of the held-out part and of the fraction.
        unreadable_limit: share of a split's images, in [0, 1), that may be skipped where they cannot be
            decoded; rounded down to whole images.
        memory_limit_gib: a split that takes at most this much decoded stays in memory; a larger one streams.
        label: what tables call the data; by default the last part of its name.
        label_column: the column of a table that has the labels; by default the one called "label", else the
            one with the most classes. Of shards the field of NAME.json; by default NAME.cls.
        resize: shorter side in px that images are brought to for evaluation. With neither resize nor crop
            images stay as they are, or get 256 and 224 if their sizes differ.
        crop: side in px of the square that is kept of the middle after that.

    Raises:
        InputError: a value out of range, or a crop larger than the resized image.
    """

    name: str = "digits"
    classes: str | None = None
    fraction: float = 1.0
    validation_fraction: float = 0.1
    split_seed: int = 0
    unreadable_limit: float = 0.001
    memory_limit_gib: float = 4.0
    label: str | None = None
    label_column: str | None = None
    resize: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError(
                "the data set's name is empty; give 'digits', a folder, or owner/name of the hub"
            )
        if not 0 < self.fraction <= 1:
            raise InputError(
                f"fraction={self.fraction!r} is outside (0, 1]; give 1 for all of the training split"
            )
        for what in ("validation_fraction", "unreadable_limit"):
            if not 0 <= (share := getattr(self, what)) < 1:
                raise InputError(f"{what}={share!r} is outside [0, 1); give 0 for none")
        if not self.memory_limit_gib >= 0:
            raise InputError(
                f"memory_limit_gib={self.memory_limit_gib!r} is negative; give 0 to stream always"
            )
        self.framing  # noqa: B018 - checks resize and crop

    @property
    def framing(self) -> Framing | None:
        """Resize and crop as asked for; None where neither is."""
        return None if self.resize is None and self.crop is None else Framing(self.resize, self.crop)


@dataclass
class DataSplits:
    """A data set, split.

    Args:
        train: what is trained on, or None.
        validation: what models are selected on: never the test split. None where there is nothing.
        test: what is evaluated: the labelled test split, else the validation split, or None.
        classes: names of the labels.
        note: a warning that belongs to every figure on this data, or None.
        label: what tables call the data.
        framing: default for evaluation: images as they are where all have one size, else 256, 224.
        image_size: (height, width) in px after framing.
        remarks: what was decided on the way, one sentence each.
        config: what it was made from.
        validation_framing: of the validation images, where they are framed already; None: `framing`.
    """

    train: ImageSplit | None
    validation: ImageSplit | None
    test: ImageSplit | None
    classes: list[str]
    note: str | None
    label: str
    framing: Framing
    image_size: tuple[int, int] | None
    remarks: list[str]
    config: DataConfig
    validation_framing: Framing | None = None

    def required(self, purpose: str) -> ImageSplit:
        """Return the "train", "validation" or "test" split; an `InputError` if the data has none."""
        split: ImageSplit | None = getattr(self, purpose)
        if split is None:
            parts = ((name, getattr(self, name)) for name in SPLITS)
            there = [f"{name} ({len(part)} images)" for name, part in parts if part is not None]
            remedy = {
                "validation": "give validation_fraction > 0, and classes of two training images or more",
                "train": "give data with a train/ folder or split",
            }
            raise InputError(
                f"{self.config.name!r} has no {purpose} split, only {', '.join(there)}; "
                f"{remedy.get(purpose, 'give data with a labelled test or validation split')}"
            )
        return split


def class_file_digest(path: str | None) -> str | None:
    """Return the SHA-256 of a class list's names, so that comments and blank lines do not count."""
    return None if path is None else hashlib.sha256("\n".join(read_class_list(path)).encode()).hexdigest()


def load_data(config: DataConfig | str = "digits") -> DataSplits:
    """Return the splits of a data set, given its configuration or only its name.

    The test split is the source's if it is labelled, else its validation split. Models are selected on
    the source's validation split if that is not the test split, else on a part of the training split, held
    out by `split_seed`. `fraction` is then taken of the images left for training.

    Args:
        config: a `DataConfig`, or its name alone.

    Returns:
        The splits, their classes, and how images are framed for evaluation.

    Raises:
        InputError: a name that is neither a folder nor a hub data set, a folder without images or in another
            layout, unknown classes, or labels missing where they are needed.
    """
    config = DataConfig(name=config) if isinstance(config, str) else config
    raw = _found(config.name, config.label_column)
    splits = _labelled(raw, config)
    train, validation, test = _roles(splits, config)
    parts = [split for split in (train, validation, test) if split is not None]
    framing = config.framing or _default_framing(parts, everywhere=not is_remote(config.name))
    some = test or validation or train
    assert some is not None
    label = config.label or user_path(config.name).resolve().name
    if len(some.classes) < len(raw.classes) and not config.label:
        label = f"{label}, {len(some.classes)} of {len(raw.classes)} classes"
    return DataSplits(
        train=train,
        validation=validation,
        test=test,
        classes=some.classes,
        note=raw.note,
        label=f"{label} ({raw.note})" if raw.note else label,
        framing=framing,
        image_size=some.framed_size(framing),
        remarks=raw.remarks,
        config=config,
    )


def _found(name: str, label_column: str | None) -> RawData:
    path = user_path(name)
    if name not in SOURCES and not path.exists() and not is_hub_name(name):
        load_installed_plugins()
    if name in SOURCES:
        found = SOURCES[name]()
        return found if isinstance(found, RawData) else _of_mapping(found, name)
    if is_remote(name):
        return load_remote(name, label_column)
    if path.is_dir():
        if files := find_files(path, "parquet"):
            return load_parquet(files, path, label_column)
        if files := find_shards(path):
            return load_shards(files, path, label_column)
        return load_folder(path)
    if path.is_file():
        raise InputError(f"{name!r} is a file; give the folder that holds it")
    if is_hub_name(name):
        return load_hub(name, label_column)
    names = ", ".join(map(repr, SOURCES))
    folders = f"a folder of parquet files or of tar shards, an image folder ({LAYOUT})"
    allowed = f"{names}, {folders}, owner/name of the hub, or hf://datasets/owner/name to read it in place"
    error = MissingFileError if "/" in name else InputError
    raise error(f"data set {name!r} does not exist; give {allowed}")


def _of_mapping(found: Any, name: str) -> RawData:
    """Return what a registered source gave, checked against what `register_data` says."""
    if not isinstance(found, Mapping):
        raise InputError(f"data set {name!r} returns a {type(found).__name__}; return a mapping of splits")
    for key in found:
        choice(f"split of data set {name!r}", key, (*SPLITS, "classes", "note"))
    parts = {split: found[split] for split in SPLITS if found.get(split) is not None}
    pairs = [part for part in parts.values() if isinstance(part, tuple | list) and len(part) == 2]
    origin = f"data set {name!r}"
    classes = found.get("classes") or numbered([whole_labels(labels, origin) for _, labels in pairs], origin)
    splits = {split: _as_split(part, split, classes, name) for split, part in parts.items()}
    if not splits:
        raise InputError(f"data set {name!r} has no split; return one of {', '.join(SPLITS)}")
    classes = next(iter(splits.values())).classes
    if any(split.classes != classes for split in splits.values()):
        raise InputError(f"the splits of data set {name!r} have different classes; give one list for all")
    return RawData(list(classes), splits, [], found.get("note"))


def _as_split(part: Any, split: str, classes: Sequence[str], name: str) -> ImageSplit:
    if isinstance(part, ImageSplit):
        return part
    if hasattr(part, "__iter__") and not hasattr(part, "__len__"):
        raise InputError(
            f"the {split} split of data set {name!r} is streamed: its images have no row numbers, which "
            "corruptions need; download it, give a folder of tar shards, or hf://datasets/OWNER/NAME"
        )
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise InputError(f"the {split} split of data set {name!r} is not a pair (images, labels); return one")
    try:
        return ImageSplit.from_tensors(torch.as_tensor(part[0]), part[1], classes, name=split)
    except InputError as error:
        raise InputError(f"the {split} split of data set {name!r}: {error}") from error


def _labelled(raw: RawData, config: DataConfig) -> dict[str, ImageSplit]:
    """Return the splits that have labels, of the classes that are asked for.

    None in a test split is normal (ImageNet's).
    """
    splits = {}
    for role, split in raw.splits.items():
        missing = int((split.labels == UNLABELLED).sum())
        if missing == len(split) and role == "test":
            raw.remarks.append("the test split is unlabelled: not used")
        elif missing:
            raise InputError(
                f"{missing} of {len(split)} images of the {role} split of {config.name!r} have no label; "
                "label or remove them"
            )
        else:
            splits[role] = split
    if not splits:
        raise InputError(f"{config.name!r} has no labelled image; give data with labels")
    if config.classes is not None:
        numbers = class_numbers(read_class_list(config.classes), raw.classes)
        splits = {role: only_classes(split, numbers) for role, split in splits.items()}
    for role, split in splits.items():
        if config.classes is not None and not len(split):
            raise InputError(
                f"the {role} split of {config.name!r} has no image of the classes in {config.classes!r}; "
                "name others"
            )
        split.unreadable_limit, split.memory_limit_gib = config.unreadable_limit, config.memory_limit_gib
    return splits


def _roles(
    splits: dict[str, ImageSplit], config: DataConfig
) -> tuple[ImageSplit | None, ImageSplit | None, ImageSplit | None]:
    """Return what to train, select and evaluate on."""
    train, validation, test = (splits.get(name) for name in ("train", "validation", "test"))
    if test is None:
        validation, test = None, validation
    if train is not None and validation is None and config.validation_fraction > 0:
        train, validation = stratified(
            train, config.validation_fraction, seed=config.split_seed, purpose="validation"
        )
        validation.name = "train (held out)"
        # A single image a class leaves nothing to hold out.
        validation = validation if len(validation) else None
    if train is not None and config.fraction < 1:
        seed = config.split_seed
        _, train = stratified(train, config.fraction, seed=seed, purpose="fraction", leave_one=False)
    return train, validation, test


def _default_framing(splits: list[ImageSplit], everywhere: bool) -> Framing:
    sizes = set()
    for split in splits:
        step = max(1, len(split) // _PROBED_IMAGES)
        rows = split.index[::step] if everywhere else split.index[:_PROBED_REMOTE]
        for row in rows.tolist():
            try:
                sizes.add(split.source.size(row))
            except UnreadableImageError:
                continue  # counted when it is decoded
            if len(sizes) > 1:
                return IMAGENET_FRAMING
    return AS_IS
