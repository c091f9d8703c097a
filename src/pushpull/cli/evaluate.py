"""The command `pushpull evaluate`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pushpull.data import DataConfig, DataSplits, Preprocessing, load_data
from pushpull.data.images import AS_IS
from pushpull.data.published import PublishedSet, open_published
from pushpull.data.subsets import matched_classes
from pushpull.errors import InputError
from pushpull.evaluation.results import SEVERITIES, CorruptionInfo, Results
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
    corrupted: str | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    scale: str | None = None,
    seed: int = 0,
    jpeg_quality: int | None = None,
    limit: int | None = None,
    batch_size: int = 256,
    workers: int = 0,
    device: str | None = None,
    channels_last: bool = False,
    precision: str = "fp32",
    compile: bool = False,
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
            evaluated. By default the run's own; with --corrupted it may be left out, and no clean images are
            evaluated then.
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
        corrupted: The folder of a published corrupted set (ImageNet-C, CIFAR-10-C, ... or what
            `pushpull corrupt` wrote): its images are taken instead of corrupting those of --data.
        corruptions: Names of corruptions, families (noise, blur, weather, digital), benchmark (the 15), extra
            (the 4 others), all, or none. By default benchmark; with --corrupted what of it is there, or all
            that is there if nothing of it is.
        severities: Some of 1 2 3 4 5. By default all.
        scale: The corruptions' constants: imagenet, cifar or tiny. By default by the size of the images.
        seed: Of the corruptions' random numbers.
        jpeg_quality: 1 to 100: corrupted images go through JPEG of this quality, as those of ImageNet-C went
            (85). By default they do not.
        limit: Evaluate at most so many images, the same share of every class, always the same ones.
        batch_size: Images at a time; does not change results.
        workers: Processes that decode images which do not fit in memory.
        device: For example cpu or cuda. By default cuda where there is one.
        channels_last: Give the network channels-last images: faster on some devices.
        precision: fp32, or bf16 or fp16 for the network alone: faster on a GPU, numbers differ slightly.
        compile: Compile the network first (torch.compile): a minute, then faster.
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
    subject, splits, path = _opened(naming, data, classes, output, corrupted)
    results = evaluate(
        subject.model,
        splits,
        corrupted=corrupted,
        corruptions=() if list(corruptions or ()) == ["none"] else corruptions,
        severities=SEVERITIES if severities is None else severities,
        scale=scale,
        seed=seed,
        jpeg_quality=jpeg_quality,
        preprocessing=_preprocessing(subject, mean, std),
        limit=limit,
        batch_size=batch_size,
        workers=workers,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        channels_last=channels_last,
        precision=precision,
        compile=compile,
        output=path,
        overwrite=overwrite,
        progress=not quiet,
        label=label or subject.label,
        name=subject.name,
        stem=subject.stem,
        source=subject.source,
        model_seed=subject.seed,
        model_classes=subject.classes,
    )
    print(_summary(results))
    print(f"Written to {path.resolve()}")
    return results


def _opened(
    naming: Naming, data: str | None, classes: str | None, output: str | None, corrupted: str | None
) -> tuple[Subject, DataSplits | None, Path]:
    """Return model, data and results file; what can be refused without reading the data is refused first."""
    if Path(naming.spec).is_dir():
        naming.checked_run_folder()
        path = writable_results_path(output or naming.spec)
        subject, own = load_run_subject(naming.spec)
        config = own if data is None else DataConfig(name=data)
        splits = _loaded(config if classes is None else replace(config, classes=classes))
        _check_classes(subject, splits.classes, splits.label)
        return subject, splits, path
    naming.checked()
    if data is None and corrupted is None:
        raise InputError(f"--data is missing: {naming.spec} is not a run folder, which would bring its own")
    path = writable_results_path(output or f"runs/evaluate-{_file_name(naming)}")
    if data is None:
        if classes is not None:
            raise InputError("--classes goes with --data, which is not given; add it, or leave --classes out")
        assert corrupted is not None
        published = open_published(corrupted)
        found, side_px = _classes_and_side(published)
        subject = naming.load(found, side_px)
        if not published.numbered:
            _check_classes(subject, found, str(published.root))
        return subject, None, path
    splits = _loaded(DataConfig(name=data, classes=classes))
    subject = naming.load(splits.classes, max(splits.image_size or (224,)))
    _check_classes(subject, splits.classes, splits.label)
    return subject, splits, path


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


def _classes_and_side(published: PublishedSet) -> tuple[list[str], int]:
    """Return the classes of a corrupted set and its images' longer side, px."""
    name, severities = next(iter(published.severities.items()))
    split = published.split(name, severities[0])
    return split.classes, max(split.framed_size(AS_IS))


def _check_classes(subject: Subject, classes: Sequence[str], label: str) -> None:
    """Warn where as many classes have other names; the order is `Outputs`' affair."""
    if subject.classes is None or len(subject.classes) != len(classes):
        return
    if None in matched_classes(classes, subject.classes):
        text = f"{subject.source} was trained on other class names than {label} has"
        warnings.warn(text, stacklevel=3)


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
    lines = [
        f"{results.label} on {data['label']}: error in percent, {data['images']} images"
        f"{_how(corruption) if results.corrupted else ''}"
    ]
    if data.get("logits"):
        lines.append(f"  logits of the data's {len(data['classes'])} classes: {data['logits']}")
    if results.clean is not None:
        lines.append(f"  {'clean':18} {100 * results.clean_error:5.1f}")
    for name, by_severity in results.corrupted.items():
        errors = " ".join(f"{100 * condition.top1_error:5.1f}" for condition in by_severity.values())
        lines.append(f"  {name:18} {errors}   (severity {' '.join(map(str, by_severity))})")
    return "\n".join(lines)


def _how(corruption: CorruptionInfo) -> str:
    if corruption["source"] == "on disk":
        return f", corrupted ones of {corruption['name']} on disk"
    quality = corruption.get("jpeg_quality")
    jpeg = "" if quality is None else f", JPEG quality {quality}"
    return f", {corruption['scale']} scale, seed {corruption['seed']}{jpeg}"
