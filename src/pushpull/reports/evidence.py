"""What a page shows beside the errors: predictions, intervals over images, and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from pushpull.errors import printable
from pushpull.reports.comparison import Row
from pushpull.unit.functional import pull_kernel
from pushpull.unit.layers import PushPullConv2d

if TYPE_CHECKING:
    from pandas import DataFrame

Interval = tuple[float, float]
_BINS = 15
LEAST_ANSWERS = 5  # of a bin that is drawn: the share of fewer is chance
_WORST_PAIRS = 10


@dataclass(frozen=True)
class Evidence:
    """All of it may be missing.

    Args:
        predictions: label of a row -> a table of `load_predictions` for each of its seeds.
        intervals: label -> column key -> 95 % interval over the test images, in the column's stored unit.
        differences: the same of the difference to the baseline.
        examples: pictures under corruption, with what each row answers.
        kernels: label -> push and pull kernels of the first layer.
        responses: label -> what they answer to an image.
        remarks: why something is not there, a sentence each.
    """

    predictions: Mapping[str, Sequence[DataFrame]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()
    kernels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    responses: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def confusions(predictions: Sequence[DataFrame], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the pairs of classes that are mixed up most under corruption, the most frequent first.

    Args:
        predictions: of one row, a table for each seed.
        classes: names of the labels.

    Returns:
        For each pair: label, answer, the share of the label's corrupted images that get it, and the
        corruption under which that happens most.
    """
    import pandas

    table = pandas.concat(predictions)
    table = table[table["severity"] > 0]
    sizes = table.groupby("label").size()
    wrong = table[table["label"] != table["prediction"]]
    counts = wrong.groupby(["label", "prediction"]).size().sort_values(ascending=False, kind="stable")
    found = []
    for (label, answer), count in counts.head(_WORST_PAIRS).items():
        pair = wrong[(wrong["label"] == label) & (wrong["prediction"] == answer)]
        where = printable(str(pair["corruption"].value_counts(sort=True).index[0]))
        label_name, answer_name = (_class_name(int(n), classes) for n in (label, answer))
        share = count / sizes[label]
        found.append({"label": label_name, "answer": answer_name, "share": share, "corruption": where})
    return found


def _class_name(number: int, classes: Sequence[str]) -> str:
    """Return what the page calls a label or an answer; -1 is the answer of logits with a NaN."""
    return classes[number] if 0 <= number < len(classes) else "no answer" if number < 0 else str(number)


def reliability_bins(
    predictions: Sequence[DataFrame], *, corrupted: bool, least: int = LEAST_ANSWERS
) -> list[tuple[float, float, int]]:
    """Return mean confidence, share of right answers and number of answers of 15 bins of equal width.

    Args:
        predictions: of one row, a table for each seed.
        corrupted: of the corrupted images, else of the clean ones.
        least: bins of fewer answers are left out.
    """
    import numpy as np
    import pandas

    table = pandas.concat(predictions)
    table = table[((table["severity"] > 0) == corrupted) & table["confidence"].notna()]
    sure = table["confidence"].to_numpy(dtype=float)
    right = (table["label"] == table["prediction"]).to_numpy(dtype=float)
    bins = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    return [
        (float(sure[bins == n].mean()), float(right[bins == n].mean()), int((bins == n).sum()))
        for n in range(_BINS)
        if (bins == n).sum() >= max(1, least)
    ]


def calibration(row: Row) -> list[tuple[str, dict[str, float]]] | None:
    """Return ECE, NLL and Brier score of the clean and, on average, of the corrupted images.

    Returns:
        What of, and name -> value, mean over seeds; None where the results have none.
    """
    results = row.entry.results if row.entry else ()
    clean = [result.clean for result in results if result.clean is not None]
    corrupted = [one for result in results for by in result.corrupted.values() for one in by.values()]
    found = []
    for name, conditions in (("clean", clean), ("corrupted, mean", corrupted)):
        values = {}
        for key in ("ece", "nll", "brier"):
            every = [value for one in conditions if (value := getattr(one, key, None)) is not None]
            if every and len(every) == len(conditions):
                values[key] = sum(every) / len(every)
        if values:
            found.append((name, values))
    return found or None


_SMALL_PX = 64 * 64 * 8  # of more, a PNG is too large to stand in a page
_LONGEST_PX = 224
_MOST_KERNELS, _A_ROW = 64, 16
_FILTERS = 4


def picture(pixels: np.ndarray) -> str:
    """Return (H, W, 3) uint8 pixels as a `data:` address: small ones as they are, others as a JPEG."""
    stream, small = io.BytesIO(), pixels.shape[0] * pixels.shape[1] <= _SMALL_PX
    Image.fromarray(pixels).save(stream, "PNG" if small else "JPEG", optimize=True, quality=85)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def image_picture(image: Tensor) -> str:
    """Return an image, (3, H, W) uint8, as a `data:` address of at most 224 px a side."""
    drawn = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    drawn.thumbnail((_LONGEST_PX, _LONGEST_PX))
    return picture(np.asarray(drawn))


def first_layer(model: nn.Module) -> nn.Module | None:
    """Return the first push-pull unit, else the first convolution of three channels, else None."""
    units = [unit for unit in model.modules() if isinstance(unit, PushPullConv2d)]
    plain = [unit for unit in model.modules() if isinstance(unit, nn.Conv2d)]
    found = [unit for unit in (*units, *plain) if unit.in_channels == 3 and unit.groups == 1]
    return found[0] if found else None


def kernel_sheet(unit: nn.Module) -> dict[str, str]:
    """Return the kernels of a first layer as a picture: `source`, a `data:` address, and `alt`, in words.

    Each filter is brought to [0, 1] with its pull kernel, so that equal colours are equal weights.
    """
    assert isinstance(unit, PushPullConv2d | nn.Conv2d)
    weight = unit.weight.detach().float().cpu()[:_MOST_KERNELS]
    lines = [weight]
    if isinstance(unit, PushPullConv2d):
        lines.append(pull_kernel(weight, unit.offset))
    both = torch.stack(lines)  # (1 or 2, filters, 3, kh, kw)
    low, high = both.amin((0, 2, 3, 4), keepdim=True), both.amax((0, 2, 3, 4), keepdim=True)
    shown = ((both - low) / (high - low).clamp_min(1e-9) * 255).round().to(torch.uint8).numpy()
    kinds, count, _, height, width = shown.shape
    columns = min(_A_ROW, count)
    groups = -(-count // columns)
    grid_height, grid_width = groups * (kinds * (height + 1) + 2), columns * (width + 1) + 1
    sheet = np.full((grid_height, grid_width, 3), 128, np.uint8)
    for n in range(count):
        for kind in range(kinds):
            top = n // columns * (kinds * (height + 1) + 2) + kind * (height + 1) + 1
            left = n % columns * (width + 1) + 1
            sheet[top : top + height, left : left + width] = shown[kind, n].transpose(1, 2, 0)
    said = f"{count} push kernels of {height} x {width}"
    said += ", below each its pull kernel" if kinds == 2 else ""
    return {"source": picture(_enlarged(sheet)), "alt": said}


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as squares, to about 400 px: what a browser smooths would hide them."""
    factor = max(1, 400 // pixels.shape[1])
    return pixels.repeat(factor, 0).repeat(factor, 1)


def responses(
    model: nn.Module, unit: PushPullConv2d, images: list[tuple[str, Tensor, Tensor]]
) -> list[dict[str, Any]]:
    """Return what the unit's push and pull kernels answer to images: P, strength times Q, and P minus that.

    Args:
        model: the network.
        unit: its first layer.
        images: name, the image (3, H, W) uint8, and what the network gets of it (1, 3, h, w).

    Returns:
        For each image its name and four pictures with their words: the image, push, pull and push minus pull
        of the two filters that answer most on these images, and of the two that are inhibited most.
    """
    seen: list[Tensor] = []
    hook = unit.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        with torch.inference_mode():
            for _, _, given in images:
                model(given)
            answers = [_push_and_pull(unit, x) for x in seen]
    finally:
        hook.remove()
    kept, lost = (
        torch.stack([part.mean((0, 2, 3)) for part in parts]).sum(0).argsort(descending=True).tolist()
        for parts in ([(push - pull).clamp_min(0) for push, pull in answers], [pull for _, pull in answers])
    )
    half = _FILTERS // 2
    best = [*kept[:half], *[n for n in lost if n not in kept[:half]][: _FILTERS - half]]
    top = max(float(part[:, best].max()) for pair in answers for part in pair) or 1.0
    found = []
    for (name, image, _), (push, pull) in zip(images, answers, strict=True):
        parts = {"push": push, "pull": pull, "push minus pull": push - pull}
        drawn = [(image_picture(image), name)]
        drawn += [(_tiles(part[0, best] / top), f"{what}, {name}") for what, part in parts.items()]
        found.append({"name": name, "pictures": drawn})
    return found


def _push_and_pull(unit: PushPullConv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return relu(P) and strength * relu(Q), (N, C, H, W) each, in the order of the paper's formula."""
    x, weight, window = unit.prepared(x)
    pull = window.convolve(x, pull_kernel(weight, unit.offset))
    side = unit.avg_kernel_size
    if side > 1:
        pull = F.avg_pool2d(pull, side, 1, side // 2, count_include_pad=False)
    strength = unit.strength
    strength = strength.reshape(-1, 1, 1) if isinstance(strength, Tensor) else strength
    return F.relu(window.convolve(x, weight)), strength * F.relu(pull)


def _tiles(maps: Tensor) -> str:
    """Return up to four maps, (n, h, w) in [-1, 1], as quarters of one picture: white is 1, blue below 0."""
    maps = torch.stack([*maps, *maps.new_zeros(_FILTERS - len(maps), *maps.shape[1:])]).clamp(-1, 1)
    above, below = maps.clamp_min(0).sqrt(), (-maps).clamp_min(0).sqrt()
    drawn = torch.stack([above, above + 0.45 * below, above + below], 1)  # (4, 3, h, w)
    drawn = F.pad((drawn * 255).round().to(torch.uint8), (0, 1, 0, 1), value=128)
    a, b, c, d = drawn
    return image_picture(torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1))
