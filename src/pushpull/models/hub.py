"""Networks of the hub: `hf:OWNER/NAME`, and the configuration by which timm builds what was shared there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from pushpull.data import Framing, Preprocessing
from pushpull.errors import InputError, choice, one_line
from pushpull.files import CONFIG, RECIPE, RESULTS, WEIGHTS
from pushpull.models.factory import create_model
from pushpull.models.libraries import hub_answers

HUB = "hf:"
# The name under which timm builds any network of this package; `model_args` in its config.json say which.
ENTRY = "pushpull_network"
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?")
default_cfgs = generate_default_cfgs({ENTRY: {"interpolation": "bilinear"}})


def hub_name(spec: str) -> tuple[str, str | None]:
    """Return repository and revision (None: the newest) of `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.

    Raises:
        InputError: it is no such name.

    >>> hub_name("hf:someone/resnet50-pp3@v1")
    ('someone/resnet50-pp3', 'v1')
    """
    match = _NAME.fullmatch(spec.removeprefix(HUB))
    if match is None:
        raise InputError(f"{spec!r} is not a name on the hub: give hf:OWNER/NAME, or hf:OWNER/NAME@REVISION")
    return match["repo"], match["revision"]


def fetched(spec: str) -> Path:
    """Return the folder of a network of the hub on this machine, after fetching what is not there yet.

    Only weights, configuration, recipe and results are fetched, of which nothing is run.

    Args:
        spec: `hf:OWNER/NAME`, or with a branch, tag or commit `hf:OWNER/NAME@REVISION`.

    Raises:
        InputError: no such name, or it can neither be fetched nor is it on this machine.
    """
    repo, revision = hub_name(spec)
    answers = hub_answers()
    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=[CONFIG, WEIGHTS, RECIPE, RESULTS],
            local_files_only=not answers,
        )
    except Exception as error:  # of the client: missing, private, no token, no room, broken off
        why = one_line(error) if answers else f"no answer from {constants.ENDPOINT}, and it is not here"
        raise InputError(
            f"{spec} could not be fetched ({why}); check name and revision, or give a folder that "
            "pushpull.save_pretrained wrote"
        ) from error
    if not (Path(folder) / WEIGHTS).is_file():
        raise InputError(
            f"{spec} has no {WEIGHTS}, so it is not from pushpull.save_pretrained; of timm's own networks "
            "give timm:NAME"
        )
    return Path(folder)


def timm_config(
    name: str,
    model: nn.Module,
    *,
    stem: str,
    input_style: str | None,
    alpha: float | None,
    classes: list[str],
    preprocessing: Preprocessing,
    framing: Framing,
    size: tuple[int, int],
) -> dict[str, Any]:
    """Return the config.json by which `timm.create_model("hf-hub:OWNER/NAME")` builds a network.

    A network of timm's with its own first layer is built by timm alone; for any other, `import
    pushpull.models` must come first, which registers `pushpull_network`.

    Args:
        name, stem, input_style, alpha: as for `create_model`.
        model: the network.
        classes: names of the outputs, in their order.
        preprocessing: mean and std.
        framing: of which resize and crop give timm's `crop_pct`.
        size: (height, width) in px that the network takes.
    """
    library, _, rest = name.rpartition(":")
    of_timm = library == "timm" and stem == "plain"
    args: dict[str, Any] = {"network": name, "stem": stem, "input_style": input_style, "alpha": alpha}
    return {
        "architecture": rest.partition(".")[0] if of_timm else ENTRY,
        "num_classes": len(classes),
        "num_features": getattr(model, "num_features", None),
        "label_names": classes,
        "model_args": {} if of_timm else {key: value for key, value in args.items() if value is not None},
        "pretrained_cfg": _pretrained_cfg(model, len(classes), preprocessing, framing, size),
    }


def _pretrained_cfg(
    model: nn.Module, classes: int, preprocessing: Preprocessing, framing: Framing, size: tuple[int, int]
) -> dict[str, Any]:
    """Return what timm calls so: the images and layers of published weights."""
    own = getattr(model, "pretrained_cfg", None) or {}
    share = framing.crop / framing.resize if framing.crop and framing.resize else 1.0
    return {
        "input_size": [3, *size],
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "crop_pct": round(share, 4),
        "interpolation": "bilinear",
        "num_classes": classes,
        "first_conv": own.get("first_conv"),
        "classifier": own.get("classifier", "fc" if hasattr(model, "fc") else None),
    }


@register_model
def pushpull_network(
    pretrained: bool = False,
    *,
    network: str = "resnet50",
    stem: str = "pp3",
    input_style: str = "imagenet",
    alpha: float | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Return any network of `create_model` for timm, which gives it the weights beside its config.json.

    Args:
        pretrained: load the weights that timm's configuration names.
        network, stem, input_style, alpha: as `name` and the others of `create_model`.
        kwargs: timm's: num_classes, features_only and the like; networks take RGB images only.

    Raises:
        InputError: a network that cannot be built, or other channels than three.
    """

    def build(num_classes: int = 1000, in_chans: int = 3, **others: Any) -> nn.Module:
        choice("in_chans", in_chans, (3,))
        for name in others:
            choice("argument", name, ("num_classes",))
        return create_model(network, stem=stem, input_style=input_style, num_classes=num_classes, alpha=alpha)

    return build_model_with_cfg(build, ENTRY, pretrained, **kwargs)
