"""How much of a corruption reaches the blocks: what changes behind the first layer of trained networks.

    pushpull reproduce cifar10-variants --plugins benchmarks/variants.py --data ... --output OUT
    python benchmarks/stem_response.py OUT/runs --rows baseline pp0 pp3 --images 500

f: what the first block is given, behind the first layer, batch norm and relu. Printed is the disturbance
sum |f(corrupted) - f(clean)|^2 / sum |f(clean) - mean f(clean)|^2, the mean one a channel, over images and
pixels, the sums over channels too: the power of the change, in units of the clean response's variance. Mean
over a family's corruptions at one severity, then over a row's seeds, with the standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from pushpull.corruptions import CORRUPTIONS, FAMILIES, SEVERITIES, corrupt
from pushpull.data import eval_batches
from pushpull.evaluation.images import eval_images
from pushpull.evaluation.options import severity_scale
from pushpull.training import Network, load_run


@torch.inference_mode()
def response(run: Network, images: Tensor) -> Tensor:
    """Return what the first block is given, in float64."""
    seen: list[Tensor] = []
    blocks = run.model.get_submodule("layer1")
    handle = blocks.register_forward_pre_hook(lambda _, given: seen.append(given[0].double()))
    try:
        for part in images.split(250):
            run.model(run.preprocessing(part))
    finally:
        handle.remove()
    return torch.cat(seen)


def disturbances(run: Network, conditions: dict[str, Tensor]) -> dict[str, float]:
    """Return the disturbance of each corruption; `conditions` holds the clean images as "clean"."""
    run.model.eval()
    clean = response(run, conditions["clean"])
    variance = (clean - clean.mean((0, 2, 3), keepdim=True)).square().sum()
    return {
        name: float((response(run, images) - clean).square().sum() / variance)
        for name, images in conditions.items()
        if name != "clean"
    }


def conditions_of(run: Network, count: int, severity: int) -> dict[str, Tensor]:
    """Return test images of a run's data, clean and in 15 corruptions."""
    found = eval_images(run.data, limit=count)
    batches = list(eval_batches(found.split, found.framing, 250, 0))
    images, index = (torch.cat([getattr(batch, part) for batch in batches]) for part in ("images", "index"))
    scale = severity_scale(None, found.size, corrupted=True)
    corrupted = {name: corrupt(images, name, severity, scale=scale, index=index) for name in CORRUPTIONS}
    return {"clean": images, **corrupted}


def main() -> None:
    """Print one line a row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="the folder runs/ of a table")
    parser.add_argument("--rows", nargs="+", help="folders in it; by default all")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--severity", type=int, default=3, choices=SEVERITIES)
    options = parser.parse_args()
    there = sorted({path.parts[-3] for path in options.runs.glob("*/seed*/results.json")})
    rows = options.rows or there
    if not rows or not set(rows) <= set(there):
        parser.error(f"{options.runs} has runs of {', '.join(there) or 'no row'}; give its folders as --rows")
    print("| row | seeds | " + " | ".join(FAMILIES) + " |\n| --- | ---: |" + " ---: |" * len(FAMILIES))
    conditions: dict[str, Tensor] = {}
    for row in rows:
        found = []
        for folder in sorted((options.runs / row).glob("seed*/results.json")):
            run = load_run(folder.parent)
            conditions = conditions or conditions_of(run, options.images, options.severity)
            found.append(disturbances(run, conditions))
        print(_line(row, found), flush=True)


def _line(row: str, found: list[dict[str, float]]) -> str:
    cells = []
    for names in FAMILIES.values():
        values = [statistics.fmean(one[name] for name in names) for one in found]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        cells.append(f"{statistics.fmean(values):.3f}{spread}")
    return f"| {row} | {len(found)} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
