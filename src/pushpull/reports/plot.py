"""Pictures of what the package does: corruptions of an image, kernels, responses, errors by severity.

Each function returns a matplotlib figure, drawn without pyplot: a notebook shows it, `figure.savefig(path)`
writes it. An image is a path, a PIL image, or an array or tensor (H, W), (H, W, 3) or (3, H, W), of uint8 or
of floats in [0, 1]; None is a photograph that scikit-learn ships.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from pushpull.copies.gallery import sample_image
from pushpull.corruptions import CORRUPTIONS, FAMILIES, corrupt
from pushpull.data import Framing, Preprocessing
from pushpull.data.decode import pixels_of
from pushpull.data.preprocessing import to_tensor
from pushpull.errors import InputError, integer, printable
from pushpull.evaluation.options import condition_list, severity_scale
from pushpull.evaluation.plots import Picture, literal
from pushpull.evaluation.results import Results
from pushpull.models.network import Network
from pushpull.reports.columns import title
from pushpull.reports.figures import GRID, INK, MARKERS
from pushpull.reports.layout import COLOURS
from pushpull.unit.functional import pull_kernel, respond
from pushpull.unit.layers import PushPullConv2d
from pushpull.unit.tracing import first_convolution

__all__ = ["corruptions", "kernels", "responses", "severities"]

ImageLike = str | Path | Image.Image | np.ndarray | Tensor | None
_LARGE_PX = 224  # a side above it: framed as ImageNet-C's images
_ACROSS = 8  # filters beside each other
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601: grey of red, green, blue


def corruptions(
    image: ImageLike = None,
    names: str | Iterable[str] = "benchmark",
    severities: int | Iterable[int] = 3,
    *,
    scale: str | None = None,
    seed: int = 0,
) -> Figure:
    """Draw an image through corruptions: one severity as a sheet, several as one row per corruption.

    Args:
        image: one with a side above 224 px is resized and cut to 224 px, as ImageNet-C's.
        names: of corruptions, families, "benchmark" (the 15), "extra" (the 4 others) or "all".
        severities: of 1..5.
        scale: "imagenet", "cifar" or "tiny"; None: by the size of the image.
        seed: of the random numbers; the image has index 0.

    Returns:
        The figure; its first picture is the clean image.

    Raises:
        InputError: an argument that is not as above, an image that is too small or needs a scale.
    """
    listed = condition_list(names, severities)[1:]
    if not listed:
        raise InputError("names is empty; name corruptions, or benchmark, extra, all")
    clean = _pixels(image)
    if max(clean.shape[1:]) > _LARGE_PX:
        clean = to_tensor(Framing(256, 224).apply(Image.fromarray(_shown(clean))))
    scale = severity_scale(scale, (clean.shape[1], clean.shape[2]), corrupted=True)
    rows = {str(name): [clean] for name, _ in listed}
    options: dict[str, Any] = {"scale": scale, "seed": seed, "index": [0]}
    for name, level in listed:
        rows[str(name)].append(corrupt(clean[None], str(name), level or 0, **options)[0])
    levels = sorted({level for _, level in listed if level is not None})
    figure = _sheet(rows) if len(levels) == 1 else _table(rows, levels)
    over = f"severity {levels[0]}, " if len(levels) == 1 else ""
    _caption(figure, f"{over}{clean.shape[2]} x {clean.shape[1]} px, {scale} scale, seed {seed}")
    return figure


def _sheet(rows: dict[str, list[Tensor]]) -> Figure:
    """The clean image and one picture a corruption, about as many across as down."""
    (clean, _), *_ = rows.values()
    tiles = {"clean": clean} | {title(name): corrupted for name, (_, corrupted) in rows.items()}
    across = math.ceil(math.sqrt(len(tiles)))
    down = -(-len(tiles) // across)
    figure, panels = _panels(down, across, clean.shape[1] / clean.shape[2], down, named=False)
    for panel, (name, picture) in zip(panels.flat, tiles.items(), strict=False):
        _show(panel, _shown(picture), name)
    return figure


def _table(rows: dict[str, list[Tensor]], levels: Sequence[int]) -> Figure:
    """A row a corruption: the clean image and each severity."""
    (clean, *_), *_ = rows.values()
    figure, panels = _panels(len(rows), len(levels) + 1, clean.shape[1] / clean.shape[2])
    heads = ["clean", *(f"severity {level}" for level in levels)]
    for line, (name, pictures) in zip(panels, rows.items(), strict=True):
        for panel, picture in zip(line, pictures, strict=True):
            _show(panel, _shown(picture))
        _name_row(line[0], title(name))
    for panel, head in zip(panels[0], heads, strict=True):
        panel.set_title(head, fontsize=9, color=INK)
    return figure


def kernels(model: nn.Module | Network, *, filters: int | Sequence[int] = 16) -> Figure:
    """Draw the first layer's kernels: push above pull; of a plain convolution the kernels alone.

    Each filter has its own scale, the same for push and pull: mid-grey is weight 0, white is +s and black -s,
    s its largest absolute weight. Kernels of three input channels are in colour, of others their mean.

    Args:
        model: the layer, or a network whose first push-pull layer, or else first convolution, is meant.
        filters: the first so many, or their numbers.

    Returns:
        The figure.

    Raises:
        InputError: a network without a convolution, filters that it does not have.
    """
    layer = _layer(model)
    unit = layer if isinstance(layer, PushPullConv2d) else None
    with torch.no_grad():
        push = (layer.weight if unit is None else unit.used_weight).detach().double().cpu()
        lines = {"kernel": push} if unit is None else {"push": push, "pull": pull_kernel(push, unit.offset)}
    chosen = _numbers(filters, len(push))
    across = min(_ACROSS, len(chosen))
    blocks, ratio = -(-len(chosen) // across), push.shape[2] / push.shape[3]
    figure, panels = _panels(blocks * len(lines), across, ratio, blocks)
    for place, number in enumerate(chosen):
        block, column = divmod(place, across)
        scale = max(float(line[number].abs().max()) for line in lines.values()) or 1.0
        for offset, (name, line) in enumerate(lines.items()):
            panel = panels[block * len(lines) + offset, column]
            kernel = line[number] if line.shape[1] == 3 else line[number].mean(0, keepdim=True)
            _show(panel, _shown(0.5 + 0.5 * kernel / scale), f"{number}" if offset == 0 else "")
            if column == 0:
                _name_row(panel, name)
    said = "mid-grey: weight 0" + ("" if push.shape[1] in (1, 3) else "; mean over input channels")
    pull = "" if unit is None else f"; pull offset: {unit.offset}, strength {_strength(unit)}"
    _caption(
        figure, f"{len(chosen)} of {len(push)} filters of {push.shape[2]} x {push.shape[3]} px; {said}{pull}"
    )
    return figure


def responses(
    model: nn.Module | Network,
    image: ImageLike = None,
    *,
    filters: int | Sequence[int] = 3,
    preprocessing: Preprocessing | None = None,
) -> Figure:
    """Draw what a push-pull layer makes of an image: push, pull and their difference, a row a filter.

    relu(P), relu(Q) and relu(P) - alpha relu(Q), as in `push_pull_conv2d`, without bias, a gate open.

    Args:
        model: the layer, or a network whose first push-pull layer is meant.
        image: what the layer filters, as it is; grey where the layer takes one channel.
        filters: so many, those whose push response varies most over the image; or their numbers.
        preprocessing: of the image before the layer; None: that of a `Network`, else none.

    Returns:
        The figure. Push and pull of a row have one scale, from 0 (black) to their largest value (white).

    Raises:
        InputError: no push-pull layer, a layer that takes no images, filters that it does not have.
    """
    unit = copy.deepcopy(_layer(model)).double().cpu()
    if not isinstance(unit, PushPullConv2d):
        said = f"the first layer is a {type(unit).__name__}, which has no pull response"
        raise InputError(f"{said}; give a PushPullConv2d, or call pushpull.replace_first_conv(model)")
    if preprocessing is None:
        preprocessing = getattr(model, "preprocessing", None) or Preprocessing()
    pixels = _pixels(image)
    push, pull, difference = _answers(unit, preprocessing(pixels[None].double() / 255))
    if isinstance(filters, int):
        strongest = push.flatten(1).std(1).argsort(descending=True).tolist()
        chosen = [strongest[number] for number in _numbers(filters, len(push))]
    else:
        chosen = _numbers(filters, len(push))
    strength = "" if _strength(unit) == "1" else f"{_strength(unit)} "
    rows = {number: (push[number], pull[number], difference[number]) for number in chosen}
    return _response_rows(pixels, rows, strength)


def _response_rows(pixels: Tensor, rows: dict[int, tuple[Tensor, Tensor, Tensor]], strength: str) -> Figure:
    """A row a filter: the image, push, pull, and their difference."""
    figure, panels = _panels(len(rows), 4, pixels.shape[1] / pixels.shape[2])
    heads = ("image", "push", "pull", f"push \u2212 {strength}pull")
    for line, (number, (push, pull, difference)) in zip(panels, rows.items(), strict=True):
        most = float(max(push.max(), pull.max())) or 1.0
        reach = float(difference.abs().max()) or 1.0
        _show(line[0], _shown(pixels))
        for panel, response in ((line[1], push), (line[2], pull)):
            _show(panel, response.numpy(), cmap="gray", vmin=0.0, vmax=most)
        _show(line[3], difference.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach)
        _name_row(line[0], f"filter {number}")
    for panel, head in zip(panels[0], heads, strict=True):
        panel.set_title(head, fontsize=10, color=INK)
    _caption(figure, "push, pull: 0 is black; difference: red above 0, blue below")
    return figure


def _answers(unit: PushPullConv2d, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """relu(P), relu(Q) and what the unit makes of them, (C_out, H, W) each, of colour images (1, 3, H, W)."""
    with torch.no_grad():
        x, weight, window = unit.prepared(_as_channels(x, unit.in_channels))
        strengths = (0.0, 1.0, unit.strength)
        push, one, difference = (respond(x, weight, None, strength, window)[0] for strength in strengths)
    return push, push - one, difference


def severities(*results: Results | str | Path, labels: Sequence[str] | None = None) -> Figure:
    """Draw error against severity: of one result its families, of several the mean of each.

    Args:
        results: what `evaluate` returned, or run folders or files of results.
        labels: of the lines, where there are several results; None: the results' own.

    Returns:
        The figure, errors in percent; severity 0 is the clean images, where they were measured. The mean is
        of the 15 corruptions, else of those that were measured, and is not AlexNet-normalised.

    Raises:
        InputError: no result, one without corruptions, results of different corruptions, images or scales.
    """
    if not results:
        raise InputError("no results are given; give what pushpull.evaluate returned, or run folders")
    read = [one if isinstance(one, Results) else Results.load(one) for one in results]
    names = [_averaged(result) for result in read]
    settings = {
        (tuple(of), one.data["label"], one.data.get("sha256"), one.data["images"], one.corruption["scale"])
        for of, one in zip(names, read, strict=True)
    }
    if len(settings) > 1:
        raise InputError(
            "the results are of different corruptions, images or severity scales, so their lines cannot "
            "be compared; draw each by itself"
        )
    if labels is not None and len(labels) != len(read):
        raise InputError(f"{len(labels)} labels for {len(read)} results; give one for each")
    mean = f"mean of the {len(names[0])}" if len(names[0]) > 1 else title(names[0][0])
    if len(read) == 1:
        groups = {name: of for name, of in FAMILIES.items() if set(of) <= set(names[0])}
        groups = groups or ({one: (one,) for one in names[0]} if len(names[0]) > 1 else {})
        lines = [
            (mean, _curve(read[0], names[0])),
            *((title(k), _curve(read[0], v)) for k, v in groups.items()),
        ]
        return _drawn(lines, read[0].label, read[0])
    said = labels or [result.label for result in read]
    curves = [_curve(result, names[0]) for result in read]
    return _drawn(list(zip(said, curves, strict=True)), mean, read[0])


def _drawn(lines: Sequence[tuple[str, list[float]]], head: str, result: Results) -> Figure:
    """One panel with a line each, the first in ink."""
    figure = Picture(figsize=(6.4, 4.0), layout="constrained", facecolor="white")
    panel = figure.add_subplot()
    for i, (label, errors) in enumerate(lines):
        look: dict[str, Any] = {"color": INK, "marker": "o", "linewidth": 2.2}
        if i:
            look = {"color": COLOURS[(i - 1) % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        # A label that begins with _ would be left out of the legend.
        measured = [(severity, error) for severity, error in enumerate(errors) if not math.isnan(error)]
        (line,) = panel.plot(*zip(*measured, strict=True), **look, markersize=4)
        line.set_label("\u200b" + literal(printable(label)))
    panel.set_xlabel("severity (0: clean)", color=INK)
    panel.set_ylabel("top-1 error, percent", color=INK)
    panel.set_ylim(bottom=0)
    panel.set_title(literal(printable(head)), loc="left", fontsize=10, color=INK)
    panel.grid(color=GRID, linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9, labelcolor=INK)
    _caption(
        figure, f"{result.data['label']}; {result.data['images']} images; {result.corruption['scale']} scale"
    )
    return figure


def _averaged(result: Results) -> list[str]:
    """The corruptions of a result's mean: the 15 where all are there, else all that are."""
    there = [name for name in CORRUPTIONS if name in result.corrupted]
    names = there if len(there) == len(CORRUPTIONS) else list(result.corrupted)
    if not names:
        raise InputError(
            f"{result.label}: no corruption was evaluated; run pushpull evaluate without --corruptions none"
        )
    return names


def _curve(result: Results, names: Iterable[str]) -> list[float]:
    """Mean error in percent at severity 0 (clean) to 5; NaN where something was not evaluated."""
    errors = result.errors()
    clean = math.nan if result.clean is None else result.clean.top1_error
    means = np.mean([errors[name] for name in names], axis=0)
    return [100 * clean, *(100 * float(error) for error in means)]


def _layer(model: nn.Module | Network) -> Any:
    """The first push-pull layer of a model, else its first convolution."""
    module = model.model if isinstance(model, Network) else model
    if not isinstance(module, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; give a network or a layer")
    for layer in module.modules():
        if isinstance(layer, PushPullConv2d):
            return layer
    found = module if isinstance(module, nn.Conv2d) else first_convolution(module)
    if not isinstance(found, nn.Conv2d):
        raise InputError(
            f"the first convolution is a {type(found).__name__}; give an nn.Conv2d or PushPullConv2d"
        )
    return found


def _numbers(filters: int | Sequence[int], count: int) -> list[int]:
    """Numbers of filters: the first so many (at most all), or those given."""
    if isinstance(filters, Sequence) and not isinstance(filters, str):
        chosen = [integer("filters", number, "give numbers of filters") for number in filters]
    else:
        chosen = list(range(min(integer("filters", filters, "give a number of filters"), count)))
    outside = [str(number) for number in chosen if not 0 <= number < count]
    if outside or not chosen:
        raise InputError(f"filters={filters!r}: the layer has filters 0 to {count - 1}; give some of them")
    return chosen


def _pixels(image: ImageLike) -> Tensor:
    """An image as (3, H, W) uint8; None: our photograph."""
    return to_tensor(sample_image(_LARGE_PX)) if image is None else pixels_of(image)


def _as_channels(x: Tensor, channels: int) -> Tensor:
    """Colour images (1, 3, H, W) with as many channels as a layer takes: 3, or their grey."""
    if channels == 3:
        return x
    if channels != 1:
        raise InputError(f"the layer takes {channels} channels, not an image; give a network's first layer")
    return (x * x.new_tensor(_LUMINANCE)[:, None, None]).sum(1, keepdim=True)


def _strength(unit: PushPullConv2d) -> str:
    """The strength as text: a number, or alpha where each channel has its own."""
    return "alpha" if unit.trainable_alpha else f"{unit.strength:g}"


def _shown(picture: Tensor) -> np.ndarray:
    """(C, H, W) as (H, W, 3); one channel as three equal ones."""
    return picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _panels(
    rows: int, columns: int, ratio: float, titled: int = 1, *, named: bool = True
) -> tuple[Figure, Any]:
    """A figure of empty panels, each for a picture whose height is `ratio` of its width, in inches.

    So many rows of them have titles above; where `named`, rows have names on the left.
    """
    width = min(2.0, 11.0 / columns)
    size = width * columns + 1.1 * named, rows * (width * ratio + 0.06) + 0.25 * titled + 0.3
    figure = Picture(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    return figure, panels


def _show(panel: Axes, picture: np.ndarray, name: str = "", **colours: Any) -> None:
    panel.imshow(picture, interpolation="nearest" if max(picture.shape[:2]) < 64 else "auto", **colours)
    panel.set_title(literal(name), fontsize=9, color=INK)


def _name_row(panel: Axes, name: str) -> None:
    """A row's name left of its first picture."""
    panel.text(
        -0.05, 0.5, literal(name), transform=panel.transAxes, fontsize=9, color=INK, ha="right", va="center"
    )


def _caption(figure: Figure, text: str) -> None:
    figure.supxlabel(literal(printable(text)), x=0.01, ha="left", fontsize=8, color=INK)
