"""The last test of fidelity: does a trained network make the same errors on ours as on the original's?"""

from __future__ import annotations

import argparse
import time

import torch
from fidelity_rows import Bench
from rich.console import Console
from rich.table import Table
from timing import frost_note, write_record
from torch import Tensor

from oracles import published
from pushpull.corruptions import FAMILIES
from pushpull.data import eval_batches
from pushpull.errors import InputError
from pushpull.evaluation.images import eval_images
from pushpull.training import Network, load_run

MEAN_POINTS, FAMILY_POINTS = 0.5, 1.5  # a larger difference is a defect
_DEFAULT_IMAGES = 500
_SCALES = {32: "cifar", 64: "tiny", 224: "imagenet"}


def compare_networks(bench: Bench, options: argparse.Namespace, console: Console) -> int:
    """Print and write errors of a run's network on ours and on the oracle's; return the exit code."""
    started = time.perf_counter()
    run = load_run(options.run)
    images, labels = _test_images(run, options.images or _DEFAULT_IMAGES)
    size = images.shape[-1]
    if size not in _SCALES:
        raise InputError(f"{options.run} takes images of {size} px; give a run on 32, 64 or 224 px")
    network = _Network(bench, run, images, labels, _SCALES[size])
    names = [name for name in options.corruptions if published.missing(name) is None]
    errors = {name: [network.errors(name, severity) for severity in options.severities] for name in names}
    differences = _differences(errors)
    console.print(_table(errors, differences, f"{run.label}: errors, %, {len(images)} images"))
    out, undecided = _judged(differences)
    console.print(f"allowed: {MEAN_POINTS} points in the mean, {FAMILY_POINTS} in a family's mean")
    for group in out:
        console.print(f"OUT OF BOUNDS: {group}", highlight=False)
    for group in undecided:
        console.print(f"not decided: {group} is over by less than two standard errors; give more --images")
    record = {
        "what": "errors of a trained network on our corruptions and on the original's (oracle)",
        "network": run.label,
        "images": len(images),
        "scale": _SCALES[size],
        "errors_ours_oracle": errors,
        "difference_points_standard_error": differences,
        "out_of_bounds": out,
        "undecided": undecided,
    }
    path = options.output.with_name("corruption_fidelity_network.json")
    console.print(f"written to {write_record(path, record, time.perf_counter() - started)}")
    return 1 if out else 0


class _Network:
    """A network and the images that it is asked about, on the accelerator where there is one."""

    def __init__(self, bench: Bench, run: Network, images: Tensor, labels: Tensor, scale: str) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = run.model.eval().to(self._device)
        self._bench, self._preprocessing, self._scale = bench, run.preprocessing, scale
        self._images, self._labels = images, labels

    def errors(self, name: str, severity: int) -> list[float]:
        """Return the error, %, on ours and on the oracle's, and the standard error of their difference."""
        ours = self._wrong(self._bench.ours(name, severity, self._scale, self._images))
        theirs = self._wrong(self._bench.oracle(name, severity, self._scale, self._images))
        spread = (ours - theirs).std().item() / len(ours) ** 0.5
        return [100 * ours.mean().item(), 100 * theirs.mean().item(), 100 * spread]

    @torch.inference_mode()
    def _wrong(self, images: Tensor) -> Tensor:
        parts = [
            self._model(self._preprocessing(part.to(self._device))).argmax(1).cpu()
            for part in images.split(128)
        ]
        return (torch.cat(parts) != self._labels).double()


def _test_images(run: Network, count: int) -> tuple[Tensor, Tensor]:
    """Return test images of the run's data, uint8, the same share of every class, and their labels."""
    found = eval_images(run.data, limit=count)
    batches = list(eval_batches(found.split, found.framing, 256, 0))
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])


def _differences(errors: dict[str, list[list[float]]]) -> dict[str, list[float]]:
    """Return mean and families -> [ours minus oracle, standard error], in points."""
    groups = {"mean": tuple(name for names in FAMILIES.values() for name in names), **FAMILIES}
    result = {}
    for group, names in groups.items():
        cells = [cell for name in names for cell in errors.get(name, [])]
        if cells:
            points = sum(ours - theirs for ours, theirs, _ in cells) / len(cells)
            spread = sum(error**2 for *_, error in cells) ** 0.5 / len(cells)
            result[group] = [round(points, 3), round(spread, 3)]
    return result


def _judged(differences: dict[str, list[float]]) -> tuple[list[str], list[str]]:
    """Return which groups are out of bounds, and which are over by less than two standard errors."""
    out, undecided = [], []
    for group, (points, spread) in differences.items():
        over = abs(points) - (MEAN_POINTS if group == "mean" else FAMILY_POINTS)
        if over > 0:
            (out if over > 2 * spread else undecided).append(group)
    return out, undecided


def _table(errors: dict[str, list[list[float]]], differences: dict[str, list[float]], title: str) -> Table:
    table = Table(title=title, caption=frost_note())
    for column in ("corruption", "ours", "oracle", "difference", "standard error"):
        table.add_column(column, justify="left" if column == "corruption" else "right")
    for name, cells in errors.items():
        ours, theirs = (sum(cell[i] for cell in cells) / len(cells) for i in (0, 1))
        spread = sum(cell[2] ** 2 for cell in cells) ** 0.5 / len(cells)
        table.add_row(name, f"{ours:.2f}", f"{theirs:.2f}", f"{ours - theirs:+.2f}", f"{spread:.2f}")
    table.add_section()
    for group, (points, spread) in differences.items():
        table.add_row(group, "", "", f"{points:+.2f}", f"{spread:.2f}")
    return table
