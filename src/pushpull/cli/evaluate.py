"""The command `pushpull evaluate`."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.data import DataConfig, DataSplits, load_data
from pushpull.data.images import AS_IS
from pushpull.data.published import open_published
from pushpull.data.subsets import matched_classes
from pushpull.errors import InputError, all_printable, printable, say
from pushpull.evaluation.options import EvaluationOptions
from pushpull.evaluation.results import Results
from pushpull.evaluation.runner import evaluate, writable_results_path
from pushpull.files import RESULTS
from pushpull.models.network import Network, NetworkSpec, load_run
from pushpull.reports.summary import short_text

if TYPE_CHECKING:
    from pushpull.evaluation.stability import Stability


def evaluate_command(
    model: str,
    options: EvaluationOptions,
    data: str | None = None,
    classes: str | None = None,
    weights: str | None = None,
    model_name: str | None = None,
    stem: str | None = None,
    input_style: str | None = None,
    label_column: str | None = None,
    everything: bool = False,
    perturbed: str | None = None,
) -> Results | Any:
    """Measure a model's error on clean and corrupted images; a killed one continues where it was.

    Args:
        model: A run folder; hf:OWNER/NAME[@REVISION] of the hub; timm:NAME or torchvision:NAME (with their
            published weights unless --weights is given); a name of ours with --weights; a file of weights
            (.safetensors, .pth), with --model-name unless `pushpull train` wrote it; or
            FILE.py:FUNCTION, which returns the network.
        data: digits, a folder of parquet files or tar shards, an image folder, owner/name of the hub, or
            hf://datasets/owner/name, which is read in place; its test split is evaluated. By default
            the run's own; with --corrupted it may be left out, and no clean images are evaluated then.
        classes: A text file with one class name per line: only these classes, in that order.
        weights: A file of weights for a model that is given by name or function.
        model_name: The name, where the model is given as a file of weights.
        stem: The first layer: plain, pp0, pp3, pp5, pp0_alpha, pp3_alpha or pp5_alpha. By default what the
            weights say, else plain.
        input_style: imagenet or cifar, for names of ours. By default what the weights say, else cifar for
            images of up to 64 pixels.
        label_column: The column of a table that has the labels. By default the one called label, else the one
            with the most classes.
        everything: Print every corruption at the end, not the worst three alone.
        perturbed: Measure flip rates on sequences instead of errors: made (of the data's images), or the
            folder of ImageNet-P, CIFAR-10-P or the like. Into stability.json.
        options: What is measured, and how.

    Returns:
        The results, as in the file; with `perturbed` a `Stability`.

    Raises:
        InputError: something that does not exist or does not fit, in one line.

    Example:
        pushpull evaluate runs/pp3 --corruptions noise blur --severities 3 --limit 500
    """
    spec = NetworkSpec(model, weights, model_name, stem, input_style)
    if perturbed is not None:
        return _stability(spec, options, perturbed, data, classes, label_column)
    path = writable_results_path(options.output or (model if spec.is_run else f"runs/evaluate-{_name(spec)}"))
    network, splits = _opened(spec, data, classes, label_column, options.corrupted)
    options = replace(options, device=options.device or "auto", output=str(path))
    results = evaluate(network, splits, options)
    say(_summary(results, everything))
    where = shlex.quote(str(path.parent if path.name == RESULTS else path))
    page = f"; as a page: pushpull report {where}" if results.corrupted else ""
    say(f"Written to {path.resolve()}{page}")
    return results


def _stability(
    spec: NetworkSpec,
    options: EvaluationOptions,
    perturbed: str,
    data: str | None,
    classes: str | None,
    label_column: str | None,
) -> Stability:
    """Measure and print flip rates."""
    from pushpull.evaluation.stability import measure_stability, stability_path

    for name in ("corrupted", "corruptions", "adapt", "save_predictions"):
        if getattr(options, name) != getattr(EvaluationOptions(), name):
            raise InputError(f"--perturbed measures flip rates only; leave out --{name}, or --perturbed")
    network, splits = _opened(spec, data, classes, label_column, None)
    output = options.output or (spec.spec if spec.is_run else f"runs/evaluate-{_name(spec)}")
    options = replace(options, device=options.device or "auto", output=output)
    found = measure_stability(network, splits, options, perturbed=perturbed)
    say(f"{found.label}: {found.sequences} sequences each, {found.source}")
    for name, rate in found.flip_rates.items():
        distance = found.top5_distances.get(name)
        said = "" if distance is None else f"   top-5 distance {distance:.2f}"
        say(f"  {name:18} {100 * rate:5.1f} % of frames change the answer{said}")
    say(f"  {'mean (mFP)':18} {100 * found.mean_flip_probability:5.1f} %   (plain, not divided by AlexNet's)")
    say(f"Written to {stability_path(output).resolve()}")
    return found


def _opened(
    spec: NetworkSpec, data: str | None, classes: str | None, label_column: str | None, corrupted: str | None
) -> tuple[Network, DataSplits | None]:
    """Return the network and its data; what can be refused without reading the data is refused first."""
    network = load_run(spec.spec) if spec.is_run or spec.is_hub else None
    config = DataConfig(name=data) if data is not None else network.data if network else None
    if network is not None and (config is not None or corrupted is None):
        if config is None:
            raise _no_data(spec)
        config = config if classes is None else replace(config, classes=classes)
        splits = _loaded(config if label_column is None else replace(config, label_column=label_column))
        _check_classes(network, splits.classes, splits.label)
        return network, splits
    if data is not None:
        splits = _loaded(DataConfig(name=data, classes=classes, label_column=label_column))
        network = spec.load(splits.classes, max(splits.image_size or (224,)))
        _check_classes(network, splits.classes, splits.label)
        return network, splits
    if corrupted is None:
        raise _no_data(spec)
    if classes is not None or label_column is not None:
        option = "--label-column" if classes is None else "--classes"
        raise InputError(f"{option} goes with --data, which is not given; add it, or leave {option} out")
    published = open_published(corrupted)
    name, severities = next(iter(published.severities.items()))
    split = published.split(name, severities[0])
    network = network or spec.load(split.classes, max(split.framed_size(AS_IS)))
    if not published.numbered:
        _check_classes(network, split.classes, str(published.root))
    return network, None


def _no_data(spec: NetworkSpec) -> InputError:
    return InputError(f"--data is missing: {spec.spec} is not a run folder, which would bring its own")


def _loaded(config: DataConfig) -> DataSplits:
    """Return the data; a single class, on which no answer is wrong, is a folder too high."""
    splits = load_data(config)
    if len(splits.classes) == 1 and config.classes is None:
        only = splits.classes[0]
        raise InputError(
            f"{config.name} has 1 class ({only!r}); if that is the folder of the data, "
            f"give {Path(config.name) / only}"
        )
    return splits


def _check_classes(network: Network, classes: Sequence[str], label: str) -> None:
    """Warn where as many classes have other names; their order is looked after by `Outputs`."""
    if network.classes is None or len(network.classes) != len(classes):
        return
    if None in matched_classes(classes, network.classes):
        text = f"{network.source} was trained on other class names than {label} has"
        warnings.warn(text, stacklevel=3)


def _name(spec: NetworkSpec) -> str:
    """Return a folder name: "timm:resnet50" -> "timm-resnet50", "weights/a.pth" -> "a"."""
    name = Path(spec.spec).stem if Path(spec.spec).is_file() else spec.spec
    return "-".join(filter(None, (re.sub(r"[^\w.]+", "-", name).strip("-"), spec.stem)))


def _summary(results: Results, everything: bool) -> str:
    """Return the errors as lines of text, in percent: of `everything`, or of the worst corruptions."""
    data, corruption = all_printable(results.data), all_printable(results.corruption)
    label = printable(results.model["label"])
    how = ""
    if results.corrupted and corruption["source"] == "on disk":
        how = f", corrupted ones of {corruption['name']} on disk"
    elif results.corrupted:
        quality = corruption.get("jpeg_quality")
        jpeg = "" if quality is None else f", JPEG quality {quality}"
        how = f", {corruption['scale']} scale, seed {corruption['seed']}{jpeg}"
    lines = [f"{label} on {data['label']}: error in percent, {data['images']} images{how}"]
    if data.get("logits"):
        lines.append(f"  logits of the data's {len(data['classes'])} classes: {data['logits']}")
    said = results.preprocessing
    mean, std = (" ".join(f"{value:.3g}" for value in said[key]) for key in ("mean", "std"))
    height, width = said["size"] or results.data["image_size"]
    who = said.get("from", "not said")
    lines.append(f"  network input: {height} x {width} px, mean {mean}, std {std}: {who}")
    return "\n".join([*lines, *short_text(results, None if everything else 3)])
