"""Networks of timm and torchvision, what they expect of images, and the last layers of any network."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_session, scan_cache_dir
from torch import hub, nn
from torchvision import models

from pushpull.data import Preprocessing
from pushpull.errors import InputError, listed, one_line
from pushpull.models.resnet import PREFIX


def is_head(layer: nn.Module, classes: int) -> bool:
    """Whether it is a linear layer or 1x1 convolution with so many outputs."""
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels == classes and layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear) and layer.out_features == classes


def heads(model: nn.Module, classes: int) -> list[str]:
    """Return the names of the layers with one output per class, in the order of registration."""
    return [name for name, layer in model.named_modules() if is_head(layer, classes)]


def keep_rows(model: nn.Module, names: Iterable[str], rows: Sequence[int]) -> None:
    """Keep these outputs of the named layers, in this order, in place."""
    at = torch.as_tensor(rows)
    for name in names:
        layer = model.get_submodule(name)
        for kind, old in list(layer.named_parameters(recurse=False)):
            kept = old.detach()[at.to(old.device)].clone()
            setattr(layer, kind, nn.Parameter(kept, requires_grad=old.requires_grad))
        setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(rows))


_PATIENCE_S = 5.0  # for the hub's first answer


def build_timm(name: str, num_classes: int, pretrained: bool) -> nn.Module:
    """Return timm's network `name` ("resnet50" or, with the tag of its weights, "resnet50.a1_in1k").

    Args:
        name: as `timm.list_models()` or `timm.list_pretrained()` give it.
        num_classes: width of the output; the head is new where the weights have another.
        pretrained: load the published weights (downloaded once).

    Raises:
        InputError: an unknown name or tag, no published weights, or a failed download.
    """
    if name.startswith(PREFIX):
        raise InputError(f"timm:{name} is one of ours: ask for {name.removeprefix(PREFIX)!r} and a stem")
    if not timm.is_model(name):
        raise InputError(_unknown("timm", name, timm.list_models(exclude_filters=PREFIX + "*")))
    arch, _, tag = name.partition(".")
    tagged = [known for known in timm.list_models(include_tags=True) if known.startswith(f"{arch}.")]
    if tag and name not in tagged:
        raise InputError(_unknown("timm", name, tagged))
    if pretrained and not timm.models.is_model_pretrained(name):
        raise InputError(f"timm:{name} has no published weights; use pretrained=False")
    return _built(
        f"timm:{name}",
        lambda: timm.create_model(name, pretrained=pretrained, num_classes=num_classes),
        pretrained=pretrained,
    )


def build_torchvision(name: str, num_classes: int, pretrained: bool) -> nn.Module:
    """Return torchvision's classification network `name`.

    With `pretrained`, its best weights; what they expect of images is kept as timm keeps it, in
    `model.pretrained_cfg`. Arguments and errors: as `build_timm`.
    """
    known = models.list_models(module=models)
    if name not in known:
        raise InputError(_unknown("torchvision", name, known))
    if not pretrained:
        # These two warn where they are not told whether to draw initial weights of their own.
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return _built(
            f"torchvision:{name}",
            lambda: models.get_model(name, weights=None, num_classes=num_classes, **extra),
            pretrained=False,
        )
    weights = models.get_model_weights(name).DEFAULT
    model = _built(
        f"torchvision:{name}",
        lambda: models.get_model(name, weights=weights, progress=False),
        pretrained=True,
    )
    classes = len(weights.meta["categories"])
    if num_classes != classes:
        replace_heads(model, classes, num_classes)
    preset = weights.transforms()
    side_px = preset.crop_size[0]
    model.pretrained_cfg = {  # type: ignore[assignment]
        "weights": str(weights),
        "input_size": (3, side_px, side_px),
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
    }
    return model


def replace_heads(model: nn.Module, classes: int, num_classes: int) -> None:
    """Put a new layer with `num_classes` outputs for each that has one per class (`classes`), in place.

    Raises:
        InputError: no such layer.
    """
    found = False
    for parent in model.modules():
        for key, layer in parent.named_children():
            if not is_head(layer, classes):
                continue
            bias, found = layer.bias is not None, True
            if isinstance(layer, nn.Conv2d):
                setattr(parent, key, nn.Conv2d(layer.in_channels, num_classes, 1, bias=bias))
            elif isinstance(layer, nn.Linear):
                setattr(parent, key, nn.Linear(layer.in_features, num_classes, bias))
    if not found:
        raise InputError(f"no layer with {classes} outputs found to be replaced; give num_classes={classes}")


def _built(name: str, build: Callable[[], Any], *, pretrained: bool) -> nn.Module:
    """Call the library; whatever it raises (no network, no disk, a broken file) becomes one line."""
    reached = not pretrained or not name.startswith("timm:") or hub_answers()
    try:
        with nullcontext() if reached else _without_network():
            return build()
    except Exception as error:
        why = (
            one_line(error)
            if reached
            else f"no answer from {constants.ENDPOINT}, and they are not on this machine"
        )
        if not pretrained:
            raise InputError(f"{name} could not be built ({why}); name another network") from error
        there = _on_this_machine()
        others = f"; the weights of {listed(there, 6)} are on this machine" if there else ""
        raise InputError(
            f"{name}: its published weights could not be loaded ({why}); give --weights FILE, or in Python "
            f"pretrained=False and load_weights(model, path){others}"
        ) from error


def hub_answers() -> bool:
    """Whether the hub answers at all, asked once; its own client would ask each file six times."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except Exception:  # of requests or httpx, by the hub's version
        return False
    return True


@contextmanager
def _without_network() -> Iterator[None]:
    """Have the hub's client look only at what is on this machine; of this process alone, and put back."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _on_this_machine() -> list[str]:
    """Return the networks of timm and torchvision whose published weights have been downloaded."""
    try:
        repositories = [repository.repo_id for repository in scan_cache_dir().repos if repository.nb_files]
    except Exception:  # no cache, or one that is not as it should be
        repositories = []
    names = [name.removeprefix("timm/") for name in repositories if name.startswith("timm/")]
    found = [f"timm:{name}" for name in sorted(names) if timm.is_model(name)]
    folder = Path(hub.get_dir()) / "checkpoints"
    files = {path.name for path in folder.glob("*.pth")} if folder.is_dir() else set()
    for name in models.list_models(module=models) if files else ():
        if models.get_model_weights(name).DEFAULT.url.rpartition("/")[2] in files:
            found.append(f"torchvision:{name}")
    return found


def _unknown(library: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {', '.join(f'{library}:{n}' for n in near)}?" if near else ""
    return f"{library} has no classification model {name!r} among its {len(known)}{hint}"


# Any of these in timm's configuration says that it belongs to weights, not to the architecture alone.
_SOURCES = ("url", "file", "hf_hub_id", "state_dict", "weights")
# Where DataParallel, AveragedModel, ModelEma and torch.compile keep the network.
_INNER = ("module", "_orig_mod", "_fsdp_wrapped_module")
_LIBRARY_MODULES = ("timm.", "torchvision.", "pushpull.")


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside what parallel, averaged and compiled training wraps around it."""
    while len(model._modules) == 1 and "pretrained_cfg" not in vars(model):
        name, inner = next(iter(model._modules.items()))
        if name not in _INNER or inner is None:
            break
        model = inner
    return model


def model_preprocessing(model: nn.Module, *, published: bool = False) -> Preprocessing | None:
    """Return the mean, std and image size of the network's published weights, or None where there are none.

    Read from `model.pretrained_cfg`, where timm notes them, and `create_model` what torchvision says, also
    within wrappers. A network of ours is trained on the user's data, so it has none of its own.

    Args:
        model: the network.
        published: it is known to have started from these weights; else they are taken for its own only where
            it has as many outputs as they were published with.
    """
    model = unwrapped(model)
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or not any(config.get(source) for source in _SOURCES):
        return None
    outputs = config.get("num_classes")
    if not published and outputs is not None and getattr(model, "num_classes", outputs) != outputs:
        return None
    size = config.get("input_size") or (3, None, None)
    return Preprocessing(
        mean=tuple(config["mean"]), std=tuple(config["std"]), size=tuple(size[1:]) if size[1] else None
    )


def assumed_preprocessing(model: nn.Module, *, warn: bool = True) -> tuple[Preprocessing, str]:
    """Return what a network is assumed to expect of images, and why; a guess may warn.

    Its configuration counts where it has the outputs of the weights that this describes. Without one, images
    are given as they are, in [0, 1].
    """
    found, noted = model_preprocessing(model), model_preprocessing(model, published=True)
    inner = unwrapped(model)
    kind = type(inner).__name__
    if found is None and noted is not None and warn:
        warnings.warn(
            f"{kind} has {inner.num_classes} outputs, unlike the weights that its configuration describes ("
            f"{noted}): it gets the images as they are, in [0, 1]; if it was trained otherwise, give "
            "preprocessing (--mean, --std)",
            stacklevel=3,
        )
    if found is None:
        return Preprocessing(), "none known: images as they are, in [0, 1] (assumed)"
    if (
        warn
        and not type(inner).__module__.startswith(_LIBRARY_MODULES)
        and any(getattr(child, "pretrained_cfg", None) is not None for child in inner.children())
    ):
        warnings.warn(
            f"{kind} wraps a network and carries its configuration: images are normalised by that before it; "
            "if it normalises them itself, give preprocessing=pushpull.Preprocessing()",
            stacklevel=3,
        )
    return found, "of its configuration (assumed)"
