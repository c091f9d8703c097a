"""The command `pushpull export`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pushpull.errors import InputError, say
from pushpull.export.exporting import TOLERANCE, Agreement, ExportOptions, export_model
from pushpull.export.formats import SUFFIXES, Card
from pushpull.export.source import open_source
from pushpull.files import user_path, writable_folder
from pushpull.models.loading import epochs_left
from pushpull.models.network import Network, NetworkSpec

_RUN_FILE = "export"


def export_command(
    model: str,
    *,
    format: str = "onnx",
    output: str | None = None,
    data: str | None = None,
    classes: str | None = None,
    weights: str | None = None,
    model_name: str | None = None,
    stem: str | None = None,
    input_style: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    resize: int | None = None,
    crop: int | None = None,
    batch_size: int | None = None,
    dynamic_size: bool = False,
    opset: int | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    allow_unfinished: bool = False,
    push: str | None = None,
    private: bool = False,
    license: str | None = None,
) -> Path:
    """Write a model as one file for other programs, or a folder for the hub, checked before it is in place.

    Args:
        model: A run folder; hf:OWNER/NAME[@REVISION] of the hub; timm:NAME or torchvision:NAME (with their
            published weights unless --weights is given); a name of ours with --weights; a file of weights
            (.safetensors, .pth), with --model-name unless `pushpull train` wrote it; or
            FILE.py:FUNCTION, which returns the network.
        format: onnx, exported-program (torch.export), safetensors (weights only), or hub (a folder with
            weights, timm's config.json and a model card). The first two take float images in [0, 1] and
            normalise them inside.
        output: The file. By default export.onnx, export.pt2 or export.safetensors in the run folder, else
            runs/export-NAME with that suffix. Of hub the folder: by default hub in the run folder, else
            runs/export-NAME.
        data: digits, a folder of parquet files or tar shards, an image folder, or owner/name of the hub:
            images to check with. By default the run's own if they are on this machine, and random ones
            always.
        classes: A text file with one class name per line, in the order of the model's outputs. By default
            what the weights say, else those of --data, else ImageNet-1k's.
        weights: A file of weights for a model that is given by name.
        model_name: The name, where the model is given as a file of weights.
        stem: The first layer: plain, pp0, pp3, pp5, pp0_alpha, pp3_alpha or pp5_alpha. By default what the
            weights say, else plain.
        input_style: imagenet or cifar, for names of ours. By default what the weights say, else cifar for
            images of up to 64 pixels.
        mean: Red, green and blue mean that the model expects its images, in [0, 1], to be normalised with. By
            default what the model brings, else 0 0 0.
        std: Likewise the standard deviations. By default what the model brings, else 1 1 1.
        size: Side, or height and width, in pixels of the images that the model gets. By default what the
            model or its data say.
        resize: Shorter side in pixels that images are brought to first; a note in the file. By default what
            the data or the published weights say.
        crop: Side in pixels of the square that is kept of the middle after that; likewise.
        batch_size: The file takes exactly so many images. By default any number.
        dynamic_size: The file takes images of any height and width.
        opset: Version of ONNX's operators. By default what PyTorch's exporter chooses.
        tolerance: Largest difference from PyTorch's logits that is accepted, as a share of the largest logit.
        overwrite: Replace the file that is there.
        allow_unfinished: Export a run whose training has not gone to its end.
        push: OWNER/NAME: upload the folder of --format hub there.
        private: Whether that is private, where the upload makes it.
        license: Its identifier for the model card of --format hub, such as apache-2.0. By default left to
            be filled in.

    Returns:
        The path of the file, or folder.

    Raises:
        InputError: something that does not exist or does not fit, or a file that differs from PyTorch, in one
            line; nothing is written then.

    Example:
        pushpull export runs/pp3 --format onnx --output pp3.onnx
    """
    hub = format == "hub"
    if not hub and (push or private or license):
        raise InputError("--push, --private and --license go with --format hub; add it, or leave them out")
    if hub and (batch_size or dynamic_size or opset or tolerance != TOLERANCE):
        raise InputError(
            "--format hub holds weights: leave out --batch-size, --dynamic-size, --opset and --tolerance"
        )
    options = ExportOptions("safetensors" if hub else format, batch_size, dynamic_size, opset, tolerance)
    path = _free_path(model, format, output, overwrite)
    if not allow_unfinished and (done := epochs_left(weights or model)) is not None:
        raise InputError(
            f"{weights or model} is not finished ({done} epochs): continue its training "
            "(train --resume auto), or add --allow-unfinished"
        )
    network, card, images, images_of = open_source(
        NetworkSpec(model, weights, model_name, stem, input_style),
        data=data,
        classes=classes,
        mean=mean,
        std=std,
        size=size,
        resize=resize,
        crop=crop,
    )
    if hub:
        own = card.preprocessing if network.preprocessing is None else network.preprocessing
        if size is None:  # what images the network was measured with says nothing of others
            card = replace(card, preprocessing=replace(card.preprocessing, size=own.size))
        return _shared(network, path, card, overwrite, push, private, license)
    agreement = export_model(network.model, path, card, options, images=images)
    checked = "random images" if images is None else f"images of {images_of} and random ones"
    say(_summary(card, options, path, agreement, checked))
    return path


def _shared(
    network: Network,
    path: Path,
    card: Card,
    overwrite: bool,
    push: str | None,
    private: bool,
    license: str | None,
) -> Path:
    """Write the folder for the hub, upload it where that is asked for, and return it."""
    from pushpull.reports.sharing import push_to_hub, save_pretrained

    save_pretrained(network, path, card=card, repo=push, license=license, overwrite=overwrite)
    say(f"{card.label}, {len(card.classes)} classes: the folder loads again and gives the same logits")
    open_ends = "" if license else ", its licence is to be filled in"
    say(f"Written to {path.resolve()}; README.md is the model card{open_ends}")
    if push is not None:
        say(f"Uploaded to {push_to_hub(path, push, private=private)}")
    return path


def _free_path(model: str, format: str, output: str | None, overwrite: bool) -> Path:
    """Return the file or folder to write, after trying its folder: before long work, not after."""
    suffix = SUFFIXES.get(format, "")
    if output is not None:
        path = user_path(output)
        if suffix and path.suffix != suffix:
            raise InputError(f"output={output} must end in {suffix} for --format {format}")
    elif Path(model).is_dir():
        path = Path(model) / (f"{_RUN_FILE}{suffix}" if suffix else format)
    else:
        name = Path(model).stem if Path(model).is_file() else re.sub(r"[^\w.]+", "-", model).strip("-")
        path = Path("runs") / f"export-{name}{suffix}"
    if suffix and path.is_dir():
        raise InputError(f"{path} is a folder; give the path of a file")
    taken = path.exists() if suffix else path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not overwrite:
        raise InputError(f"{path} exists already; add --overwrite or choose another --output")
    writable_folder(path.parent if suffix else path)
    return path


def _summary(card: Card, options: ExportOptions, path: Path, agreement: Agreement, checked: str) -> str:
    any_size = " and any size" if options.dynamic_size else ""
    takes = "any number" if options.batch_size is None else str(options.batch_size)
    height, width = card.size
    megabytes = path.stat().st_size / 1e6
    inside = ", not yet normalised" if options.format != "safetensors" else ", normalised as its header says"
    return "\n".join(
        [
            f"{card.label} as {options.format}: {megabytes:.1f} MB, {len(card.classes)} classes",
            f"  takes {takes} of images 3 x {height} x {width}{any_size}, RGB in [0, 1]{inside}",
            f"  checked with {agreement.images} images ({checked}): logits within {agreement.difference:.1e} "
            f"of their scale of PyTorch's, the same class for {agreement.same_class}",
            f"Written to {path.resolve()}",
        ]
    )
