"""A network into one checked file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pushpull.data.subsets import imagenet_wnids
from pushpull.errors import InputError, choice, integer, one_line
from pushpull.export import formats
from pushpull.export.formats import (
    FORMATS,
    INPUT,
    LOADERS,
    SUFFIXES,
    Card,
    Normalised,
    Runner,
    without_gradients,
)
from pushpull.export.source import card_of
from pushpull.files import atomic_path
from pushpull.models.loading import save_weights
from pushpull.models.network import Network, load_network
from pushpull.models.stems import fixed_strength

TOLERANCE = 1e-5
# A dimension of one is a constant to the tracer.
_EXAMPLE_IMAGES = 2
# Odd numbers of images, and one: what a fixed or broken batch dimension shows at.
_CHECKED_BATCHES = (1, 3)
_OTHER_SIZE_PX = 32


@dataclass(frozen=True)
class ExportOptions:
    """How a network is written.

    Args:
        format: "onnx", "exported-program" or "safetensors".
        batch_size: the number of images that the file takes; None: any.
        dynamic_size: it takes images of other sizes than the card's too.
        opset: version of ONNX's operators; None: the exporter's choice.
        tolerance: largest difference of the logits from PyTorch's, as a share of the largest logit.

    Raises:
        InputError: an unknown format, an option that the format does not have, a missing package.
    """

    format: str = "onnx"
    batch_size: int | None = None
    dynamic_size: bool = False
    opset: int | None = None
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        choice("format", self.format, FORMATS)
        if self.format != "onnx" and self.opset is not None:
            raise InputError(f"--opset goes with --format onnx, not with {self.format}; leave it out")
        if self.format == "safetensors" and (self.batch_size is not None or self.dynamic_size):
            raise InputError(
                "safetensors holds weights, which take any size: leave out --batch-size and --dynamic-size"
            )
        if self.batch_size is not None:
            remedy = "give a positive number of images, or leave it out for any number"
            if integer("batch_size", self.batch_size, remedy) < 1:
                raise InputError(f"batch_size={self.batch_size} is not positive; {remedy}")
        if not 0 < self.tolerance < 1:
            raise InputError(f"tolerance={self.tolerance!r} is outside (0, 1); the default is {TOLERANCE}")
        formats.check_opset(self.opset)
        if self.format == "onnx":
            formats.check_onnx_installed()


def export_model(
    model: nn.Module | Network,
    path: Path | str,
    card: Card | None = None,
    options: ExportOptions | None = None,
    *,
    images: Tensor | None = None,
) -> Agreement:
    """Write a network as one file, run that file, and put it in place only if it gives what PyTorch gives.

    The graph formats take (N, 3, H, W) float32 in [0, 1] and normalise inside.

    Args:
        model: maps normalised images (N, 3, H, W) to logits, or what `load_network` or `load_run` returns; it
            is left in evaluation mode, on the CPU.
        path: of the file; replaced if it is there.
        card: what the file says of the network. None: what is known of it, as mean, std and size of published
            weights or a run; classes that are not known are called 0, 1, ..., a thousand of them ImageNet's.
        options: by default the format of the path's ending, else ONNX, for any number of images.
        images: (N, 3, H, W) float32 in [0, 1] of the card's size, to check with beside random ones.

    Returns:
        How near the file is to PyTorch.

    Raises:
        InputError: it cannot be traced or written, differs from PyTorch, or its images' size is not known.
    """
    network = load_network(model)
    usual = next((form for form, suffix in SUFFIXES.items() if str(path).endswith(suffix)), "onnx")
    options = options or ExportOptions(usual)
    card = card or card_of(network, images)
    normalised = Normalised(network.model, card.preprocessing).cpu().eval()
    card = _with_classes(card, _logits(normalised, torch.zeros(1, 3, *card.size)).shape[-1])
    with atomic_path(path) as temporary:
        _write(normalised, temporary, card, options)
        loaded = LOADERS[options.format](temporary)
        if not card.metadata(graph=options.format != "safetensors").items() <= loaded.metadata.items():
            raise InputError(f"{path} did not keep its metadata; nothing was written; choose another format")
        batches = _batches(card.size, options, images)
        return compare_outputs(loaded.run, partial(_logits, normalised), batches, options.tolerance)


def _with_classes(card: Card, count: int) -> Card:
    """Return the card with a name for each output: its own, else ImageNet's or numbers."""
    if not card.classes:
        return replace(card, classes=imagenet_wnids(count) or [str(number) for number in range(count)])
    if count != len(card.classes):
        raise InputError(
            f"the network has {count} outputs, but {len(card.classes)} class names are known; "
            "give --classes, a text file with one name per line in the order of the outputs"
        )
    return card


def _logits(network: Normalised, batch: Tensor) -> Tensor:
    try:
        return without_gradients(network)(batch)
    # Networks refuse a size in ways of their own, an assert among them.
    except Exception as error:
        raise InputError(
            f"the network does not take images of {batch.shape[-2]} x {batch.shape[-1]} px "
            f"({one_line(error)}); give --size, and leave out --dynamic-size if it takes only one"
        ) from error


def _write(normalised: Normalised, path: Path, card: Card, options: ExportOptions) -> None:
    said = card.metadata(graph=options.format != "safetensors")
    if options.format == "safetensors":
        strength = json.dumps(fixed_strength(normalised.model))
        return save_weights(normalised.model, path, said | {"alpha": strength})
    program = traced(normalised, card.size, batch_size=options.batch_size, dynamic_size=options.dynamic_size)
    if options.format == "onnx":
        return formats.write_onnx(program, path, said, options.opset)
    return formats.write_program(program, path, said)


def _batches(size: tuple[int, int], options: ExportOptions, images: Tensor | None) -> list[Tensor]:
    """Return what to compare on: noise, and the given images, one and three at a time."""
    generator = torch.Generator().manual_seed(0)
    lengths = _CHECKED_BATCHES if options.batch_size is None else (options.batch_size,)
    other = (size[0] + _OTHER_SIZE_PX, size[1] + _OTHER_SIZE_PX + 1)
    sizes = [size, other] if options.dynamic_size else [size]
    batches = [torch.rand(n, 3, *px, generator=generator) for px in sizes for n in lengths]
    if images is not None and len(images):
        # Too few images are repeated: a fixed batch has to be filled.
        batches += [images[torch.arange(n) % len(images)] for n in lengths]
    return batches


@dataclass(frozen=True)
class Agreement:
    """How near two networks are.

    Args:
        images: that were compared.
        same_class: of these, with the same highest logit.
        difference: the largest, as a share of the largest logit.
    """

    images: int
    same_class: int
    difference: float


def compare_outputs(
    run: Runner, reference: Runner, batches: Iterable[Tensor], tolerance: float = TOLERANCE
) -> Agreement:
    """Return how near `run` is to `reference`; both map (N, 3, H, W) to logits.

    The difference is max |a - b| / max |b| of a batch. Below the tolerance the class is another only where
    the reference's two highest logits are within two tolerances of each other, for rounding to decide.

    Raises:
        InputError: it does not run, gives another shape, something that is not finite, or a difference above
            the tolerance.
    """
    images, same, worst = 0, 0, 0.0
    for batch in batches:
        expected = reference(batch)
        try:
            got = run(batch)
        # Runtimes raise anything from their own classes to RuntimeError.
        except Exception as error:
            raise InputError(
                f"the exported file does not run on {tuple(batch.shape)} ({one_line(error)}); "
                "nothing was written; choose another format"
            ) from error
        worst = max(worst, _difference(got, expected, tolerance))
        images += len(batch)
        same += int((got.argmax(1) == expected.argmax(1)).sum())
    return Agreement(images, same, worst)


def _difference(got: Tensor, expected: Tensor, tolerance: float) -> float:
    if got.shape != expected.shape:
        what = f"logits {tuple(got.shape)} instead of {tuple(expected.shape)}"
        raise InputError(f"the exported file gives {what}; nothing was written; choose another format")
    if not expected.isfinite().all():
        raise InputError("the network's logits are not finite; nothing was written; train it again")
    scale = expected.abs().max().item() or 1.0
    difference = (got - expected).abs().max().item() / scale
    # Written so that nan is refused.
    if not difference <= tolerance:
        raise InputError(
            f"the exported file's logits differ from PyTorch's by {difference:.1e} of their scale, more than "
            f"{tolerance:.0e}; nothing was written; choose another format, or give --tolerance"
        )
    return difference


def traced(
    model: nn.Module, size: tuple[int, int], *, batch_size: int | None, dynamic_size: bool
) -> ExportedProgram:
    """Return the graph of `model` in evaluation mode.

    Args:
        model: takes (N, 3, H, W), float32.
        size: (height, width) in px of the images.
        batch_size: the number of images that the graph takes; None: any.
        dynamic_size: it takes other heights and widths too.

    Raises:
        InputError: the network cannot be traced, or not with such sizes.
    """
    example = torch.zeros(batch_size or _EXAMPLE_IMAGES, 3, *size)
    dynamic: dict[int, object] = {0: Dim("batch", min=1)} if batch_size is None else {}
    if dynamic_size:
        dynamic |= {2: Dim.AUTO, 3: Dim.AUTO}
    try:
        with torch.no_grad():
            program = torch.export.export(model.eval(), (example,), dynamic_shapes={INPUT: dynamic})
    # Whatever the tracer raises, it is about what the network does.
    except Exception as error:
        remedy = "leave out --dynamic-size" if dynamic_size else "give --batch-size"
        remedy = remedy if dynamic else "export its weights with --format safetensors"
        raise InputError(f"the network cannot be traced ({one_line(error)}); {remedy}") from error
    fixed = [example.shape[axis] for axis in dynamic if axis not in formats.open_axes(program)]
    if fixed:
        raise InputError(
            f"the network works only at the size {fixed[0]} in one dimension; leave out --dynamic-size"
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that it was made on
    return program
