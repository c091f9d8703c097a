"""Networks shared: a folder in the hub's layout, checked by loading it again, and its way to the hub."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from pushpull.data import Framing, Preprocessing
from pushpull.data.subsets import imagenet_wnids
from pushpull.errors import InputError, one_line
from pushpull.evaluation.continuing import model_digest
from pushpull.evaluation.options import lent_to_evaluation
from pushpull.evaluation.results import Results
from pushpull.export.formats import Card
from pushpull.files import (
    AFTER,
    CONFIG,
    MODEL_CARD,
    RECIPE,
    RESULTS,
    TRAINING,
    WEIGHTS,
    user_path,
    writable_folder,
    write_json,
    write_text,
)
from pushpull.files.yaml import read_yaml
from pushpull.models.factory import MODELS
from pushpull.models.hub import ENTRY, hub_name, timm_config
from pushpull.models.libraries import assumed_preprocessing, hub_answers, unwrapped
from pushpull.models.loading import save_weights
from pushpull.models.network import Network, load_network, load_run
from pushpull.models.stems import fixed_strength
from pushpull.reports.modelcard import model_card

__all__ = ["push_to_hub", "save_pretrained"]

_FILES = (CONFIG, MODEL_CARD, RECIPE, RESULTS, WEIGHTS)  # the weights last: with them the folder is whole
_SIDE_PX = {"cifar": 32, "imagenet": 224}


def save_pretrained(
    model: nn.Module | Network | str | Path,
    folder: Path | str,
    *,
    card: Card | None = None,
    results: Sequence[Results | Path | str] | None = None,
    repo: str | None = None,
    license: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a network as a folder that others load: weights (safetensors), config.json, README.md.

    The weights carry a note of what they belong to; config.json is timm's; a run's recipe and results are
    included, without this machine's paths. Before the folder is put in place it is loaded again and must give
    the same logits, bit for bit.

    Args:
        model: a `Network`, what `create_model` returned, or what `load_network` takes: a run folder, a spec.
            A network of another kind can be described: `Network(model, "timm:resnet18", stem="pp3")`.
        folder: where to write.
        card: what the files say of the network; None: what it says itself.
        results: of these weights, for the model card; None: those in the run's folder.
        repo: OWNER/NAME on the hub, for the commands on the model card.
        license: its identifier on the hub, such as apache-2.0.
        overwrite: replace what is there.

    Returns:
        The folder.

    Raises:
        InputError: no name builds the network again, results are of other weights, or the folder is taken.
    """
    network, folder = _described(model), user_path(str(folder))
    if not overwrite and any((folder / name).exists() for name in _FILES):
        raise InputError(f"{folder} holds a network already; add overwrite, or choose another folder")
    found = list(_results(network, results))
    card = card or _card(network, found)
    writable_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".share-") as temporary:
        _write(Path(temporary), network, card, found, repo, license)
        _put(Path(temporary), folder, network, card)
    return folder


def _put(place: Path, folder: Path, network: Network, card: Card) -> None:
    """Move the files into the folder, once they are checked; those of the network that was there go."""
    _check(place, network, card)
    folder.mkdir(exist_ok=True)
    for name in _FILES:
        if (place / name).exists():
            os.replace(place / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def push_to_hub(
    model: nn.Module | Network | str | Path,
    repo: str,
    *,
    private: bool = False,
    message: str = "Upload a network of pushpull",
    **saved: Any,
) -> str:
    """Upload a network to the hub and return its address.

    Args:
        model: a folder that `save_pretrained` wrote, uploaded as it is, or what that function takes.
        repo: OWNER/NAME; made if it does not exist.
        private: whether a new repository is private.
        message: of the commit.
        saved: options of `save_pretrained`, for a model that is not such a folder.

    Returns:
        The address of the repository.

    Raises:
        InputError: no such name, no token, no network, or the hub refuses.
    """
    name, revision = hub_name(repo)
    if revision is not None:
        raise InputError(f"{repo!r} names a revision, but an upload makes a new one; give OWNER/NAME")
    if isinstance(model, str | Path) and (Path(model) / CONFIG).is_file():
        return _upload(Path(model), name, private, message)
    with tempfile.TemporaryDirectory() as temporary:
        return _upload(
            save_pretrained(model, Path(temporary) / "model", repo=name, **saved), name, private, message
        )


def _upload(folder: Path, repo: str, private: bool, message: str) -> str:
    import huggingface_hub

    if not hub_answers():  # the client would try for minutes
        raise InputError(
            f"{repo} could not be uploaded (no answer from {huggingface_hub.constants.ENDPOINT}); what is "
            f"written is in {folder}"
        )
    try:
        api = huggingface_hub.HfApi(library_name="pushpull-net")
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=str(folder), allow_patterns=list(_FILES), commit_message=message
        )
    except Exception as error:  # of the client: no token, no rights, no network
        raise InputError(
            f"{repo} could not be uploaded ({one_line(error)}); log in with `hf auth login`, and check the "
            f"name and the network; what is written is in {folder}"
        ) from error
    return f"{huggingface_hub.constants.ENDPOINT}/{repo}"


def _described(model: nn.Module | Network | str | Path) -> Network:
    """Return the network with all that building it again takes."""
    network = load_network(model)
    for key, value in getattr(unwrapped(network.model), "made_as", {}).items():
        if getattr(network, key) is None or (key == "name" and isinstance(model, nn.Module)):
            network = replace(network, **{key: value})
    if network.name not in MODELS and not network.name.startswith(("timm:", "torchvision:")):
        raise InputError(
            f"{network.name} cannot be built again from a name: describe it, as in pushpull.Network(model, "
            "'timm:resnet18', stem='pp3', classes=[...]), or export it (--format onnx)"
        )
    own = network.preprocessing or assumed_preprocessing(network.model, warn=False)[0]
    return replace(network, stem=network.stem or "plain", preprocessing=own)


def _results(network: Network, given: Sequence[Results | Path | str] | None) -> Iterator[Results]:
    """Yield the results of these very weights: those that are given, or what lies in and below the folder."""
    digest = model_digest(network.model)
    for one in given or ():
        results = one if isinstance(one, Results) else Results.load(one)
        if results.model["weights_sha256"] != digest:
            raise InputError(f"{_name(one)} is of other weights than these; evaluate them: pushpull evaluate")
        yield results
    if given is None and (folder := _folder(network)) is not None:
        files = [file for file in (folder / RESULTS, folder / AFTER / RESULTS) if file.is_file()]
        for own in map(Results.load, files):
            if own.model["weights_sha256"] == digest and not own.model.get("adapted"):
                yield own


def _name(given: Results | Path | str) -> str:
    return f"the result of {given.label}" if isinstance(given, Results) else str(given)


def _folder(network: Network) -> Path | None:
    """Return the folder that a network came from, where it came from one or from a file."""
    source = Path(network.source or "")
    return source if network.source and source.is_dir() else source.parent if source.is_file() else None


def _card(network: Network, results: Sequence[Results]) -> Card:
    assert network.preprocessing is not None
    side, data = network.preprocessing.size, results[0].data if results else {}
    own = (side, side) if isinstance(side, int) else side
    size = own or tuple(data.get("image_size") or [_SIDE_PX[network.input_style or "imagenet"]] * 2)
    network = replace(network, classes=network.classes or _imagenet_classes(network, size))
    return Card.of(
        network,
        classes=network.classes or (),
        preprocessing=network.preprocessing or Preprocessing(),
        framing=Framing(**data.get("framing", {})),
        size=size,
    )


def _imagenet_classes(network: Network, size: tuple[int, int]) -> list[str]:
    """Return ImageNet's thousand where the network has so many outputs and names none."""
    outputs = _logits(network, torch.zeros(1, 3, *size)).shape[1]
    if outputs != 1000:
        raise InputError(
            f"the {outputs} classes of {network.name} are not known: give pushpull.Network(model, name, "
            "classes=[...]), or --classes FILE"
        )
    return imagenet_wnids(1000) or []


def _write(
    place: Path,
    network: Network,
    card: Card,
    results: Sequence[Results],
    repo: str | None,
    license: str | None,
) -> None:
    """Write all files of the folder."""
    alpha = fixed_strength(network.model)
    save_weights(network.model, place / WEIGHTS, card.metadata(graph=False) | {"alpha": json.dumps(alpha)})
    config = timm_config(
        card.name,
        network.model,
        stem=card.stem,
        input_style=card.input_style,
        alpha=alpha,
        classes=card.classes,
        preprocessing=card.preprocessing,
        framing=card.framing,
        size=card.size,
    )
    write_json(place / CONFIG, config)
    recipe = _recipe(network, card)
    if recipe and network.data is not None:  # a run's: with it the folder is one
        write_text(place / RECIPE, recipe)
    if results:
        write_json(place / RESULTS, _without_paths(results[0].to_json()))
    of_timm = config["architecture"] != ENTRY
    text = model_card(card, results, recipe, repo=repo, license=license, of_timm=of_timm)
    write_text(place / MODEL_CARD, text)


def _recipe(network: Network, card: Card) -> str | None:
    """Return how a network was trained, as YAML, where its folder says so."""
    folder = _folder(network)
    for file in (folder / RECIPE, folder / TRAINING / RECIPE) if folder else ():
        if file.is_file():
            said = read_yaml("recipe", file) | {"preprocessing": card.preprocessing.to_dict()}
            return yaml.safe_dump(_without_paths(said), sort_keys=False, allow_unicode=True)
    return None


def _without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with the last part of every absolute path: the rest is this machine's."""
    found = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            value = _without_paths(value)
        elif isinstance(value, str) and Path(value).is_absolute():
            value = Path(value).name
        found[key] = value
    return found


def _check(place: Path, network: Network, card: Card) -> None:
    """Load what was written and compare; raise `InputError` where it is another network."""
    images = torch.rand(3, 3, *card.size, generator=torch.Generator().manual_seed(0))
    try:
        loaded = load_run(place)
        same = loaded.classes == card.classes and loaded.preprocessing == card.preprocessing
        got, expected = _logits(loaded, images), _logits(network, images)
    except InputError as error:
        raise InputError(str(error).replace(f"{place}/", "")) from error
    # Not to the bit: the network's weights may lie in memory in another order.
    if not same or got.shape != expected.shape or not torch.allclose(got, expected, rtol=1e-4, atol=1e-5):
        raise InputError(
            f"{card.name} with stem={card.stem} is not this network: it gives other logits; describe it as "
            "it is, as in pushpull.Network(model, 'timm:resnet18', stem='pp3'), or export it (--format onnx)"
        )


def _logits(network: Network, images: torch.Tensor) -> torch.Tensor:
    cpu = torch.device("cpu")
    try:
        with lent_to_evaluation(network.model, cpu), torch.no_grad():
            return network.model((network.preprocessing or Preprocessing())(images))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{network.name} does not take images of {tuple(images.shape[-2:])} px ({one_line(error)}); give "
            "its size, as in pushpull.Preprocessing(size=224) or --size"
        ) from error
