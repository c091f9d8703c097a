"""What an exported file says of itself: the model, its classes, and what images it takes."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pushpull._version import __version__
from pushpull.data import Framing, Preprocessing
from pushpull.errors import InputError, one_line
from pushpull.models.factory import default_input_style
from pushpull.models.network import Network

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
            side_px: longer side of the data's images, which decides an input style that nobody has said.
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
    """What was read from an exported file: `Card.metadata` the other way."""

    classes: list[str]
    preprocessing: Preprocessing
    framing: Framing
    size: tuple[int, int]
    texts: Mapping[str, str]


def read_card(texts: Mapping[str, str], path: object) -> FileCard:
    """Return what a file's metadata says.

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
