"""The command `pushpull evaluate`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pushpull.corruptions import CORRUPTIONS
from pushpull.data import DataConfig, DataSplits, Preprocessing, load_data
from pushpull.errors import InputError
from pushpull.evaluation.results import SEVERITIES, Results
from pushpull.evaluation.runner import evaluate, writable_results_path
from pushpull.evaluation.subject import Naming, Subject, load_run_subject


def evaluate_command(
    model: str,
    data: str | None = None,
    classes: str | None = None,
    weights: str | None = None,
    model_name: str | None = None,
    stem: str | None = None,
    input_style: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    scale: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 256,
    workers: int = 0,
    device: str | None = None,
    channels_last: bool = False,
    output: str | None = None,
    overwrite: bool = False,
    label: str | None = None,
    quiet: bool = False,
) -> Results:
    """Measure a model's error on clean and corrupted images; a killed one continues where it was.

    Args:
        model: A run folder; timm:NAME or torchvision:NAME (with their published weights unless --weights is
            given); a name of ours with --weights; or a file of weights (.safetensors, .pth), with
            --model_name unless `pushpull train` wrote it.
        data: digits, a folder of parquet files, an image folder, or owner/name of the hub; its test split is
            evaluated. By default the run's own.
        classes: A text file with one class name a line: only these classes, in that order.
        weights: A file of weights for a model that is given by name.
        model_name: The name, where the model is given as a file of weights.
        stem: The first layer: plain, pp0, pp3, pp5, pp0_alpha, pp3_alpha or pp5_alpha. By default what the
            weights say, else plain.
        input_style: imagenet or cifar, for names of ours. By default what the weights say, else cifar for
            images of up to 64 pixels.
        mean: Red, green and blue mean that the model expects its images, in [0, 1], to be normalised with. By
            default what the model brings, else 0 0 0.
        std: Likewise the standard deviations. By default what the model brings, else 1 1 1.
        corruptions: Names of corruptions, families (noise, blur, weather, digital), benchmark (the 15), extra
            (the 4 others), all, or none. By default benchmark.
        severities: Some of 1 2 3 4 5. By default all.
        scale: The corruptions' constants: imagenet, cifar or tiny. By default by the size of the images.
        seed: Of the corruptions' random numbers.
        limit: Evaluate at most so many images, the same share of every class, always the same ones.
        batch_size: Images at a time; does not change results.
        workers: Processes that decode images which do not fit in memory.
        device: For example cpu or cuda. By default cuda where there is one.
        channels_last: Give the network channels-last images: faster on some devices.
        output: Folder for results.json. By default the run folder, else runs/evaluate-NAME.
        overwrite: Replace the results that are there.
        label: What tables call the model. By default its name, stem and seed.
        quiet: Show no progress bar.

    Returns:
        The results, as in the file.

    Raises:
        InputError: something that does not exist or does not fit, in one line.
    """
    naming = Naming(model, weights, model_name, stem, input_style)
    subject, splits, path = _opened(naming, data, classes, output)
    results = evaluate(
        subject.model,
        splits,
        corruptions=_corruptions(corruptions),
        severities=SEVERITIES if severities is None else severities,
        scale=scale,
        seed=seed,
        preprocessing=_preprocessing(subject, mean, std),
        limit=limit,
        batch_size=batch_size,
        workers=workers,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        channels_last=channels_last,
        output=path,
        overwrite=overwrite,
        progress=not quiet,
        label=label or subject.label,
        name=subject.name,
        stem=subject.stem,
        source=subject.source,
        model_seed=subject.seed,
    )
    print(_summary(results))
    print(f"Written to {path.resolve()}")
    return results


def _opened(
    naming: Naming, data: str | None, classes: str | None, output: str | None
) -> tuple[Subject, DataSplits, Path]:
    """Return model, data and results file; what can be refused without reading the data is refused first."""
    if Path(naming.spec).is_dir():
        naming.checked_run_folder()
        path = writable_results_path(output or naming.spec)
        subject, own = load_run_subject(naming.spec)
        config = own if data is None else DataConfig(name=data)
        splits = load_data(config if classes is None else replace(config, classes=classes))
        _check_classes(subject, splits)
        return subject, splits, path
    naming.checked()
    if data is None:
        raise InputError(f"--data is missing: {naming.spec} is not a run folder, which would bring its own")
    path = writable_results_path(output or f"runs/evaluate-{_file_name(naming)}")
    splits = load_data(DataConfig(name=data, classes=classes))
    subject = naming.load(len(splits.classes), max(splits.image_size or (224,)))
    _check_classes(subject, splits)
    return subject, splits, path


def _check_classes(subject: Subject, splits: DataSplits) -> None:
    """Raise where the same classes have another order; warn where they have other names."""
    if subject.classes is None or subject.classes == splits.classes:
        return
    if sorted(subject.classes) == sorted(splits.classes):
        raise InputError(
            f"{subject.source} has the classes of {splits.label} in another order; "
            "give --classes a file that lists them in the model's"
        )
    if len(subject.classes) == len(splits.classes):
        text = f"{subject.source} was trained on other class names than {splits.label} has"
        warnings.warn(text, stacklevel=3)


def _corruptions(names: Sequence[str] | None) -> Sequence[str]:
    if names is None:
        return CORRUPTIONS
    return () if list(names) == ["none"] else names


def _preprocessing(
    subject: Subject, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Preprocessing | None:
    if (mean is None) != (std is None):
        raise InputError("--mean and --std go together: three numbers each, or neither")
    if mean is not None:
        return Preprocessing(mean, std)  # type: ignore[arg-type]
    return subject.preprocessing


def _file_name(naming: Naming) -> str:
    """Return a folder name: "timm:resnet50" -> "timm-resnet50", "weights/a.pth" -> "a"."""
    name = Path(naming.spec).stem if Path(naming.spec).is_file() else naming.spec
    return "-".join(filter(None, (re.sub(r"[^\w.]+", "-", name).strip("-"), naming.stem)))


def _summary(results: Results) -> str:
    """Return the errors as lines of text, in percent."""
    data, corruption = results.data, results.corruption
    how = f", {corruption['scale']} scale, seed {corruption['seed']}" if results.corrupted else ""
    lines = [
        f"{results.label} on {data['label']}: error in percent, {data['images']} images{how}",
        f"  {'clean':18} {100 * results.clean_error:5.1f}",
    ]
    for name, by_severity in results.corrupted.items():
        errors = " ".join(f"{100 * condition.top1_error:5.1f}" for condition in by_severity.values())
        lines.append(f"  {name:18} {errors}   (severity {' '.join(map(str, by_severity))})")
    return "\n".join(lines)
