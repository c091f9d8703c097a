"""The push-pull unit beside a plain first layer: time, peak memory, targets and what bounds them, in one run.

    python benchmarks/unit.py                                  # everything that this machine can do
    python benchmarks/unit.py --rows layer --avg 0 5           # the layer alone, other poolings
    python benchmarks/unit.py --rows ways --output ways.json   # beside plain operations, eager and compiled
    python benchmarks/unit.py --markdown docs/speed.md         # no run: the page's table from the record

A layer's contestants take turns in one process: the plain first layer (7x7, stride 2, 64 filters), the
published formulation (two convolutions, written from the formula), ours eager, compiled, fused (on a GPU:
the unit as it is, by its kernels; the stem: after `fuse_stem`). What cannot be measured here says so. The
floor is what the plain layer, or a fused form that follows its convolution, cannot go below: bytes that must
go over the bandwidth of a large copy, operations over the best rate of large products, both measured in the
run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from repository import RESULTS, ROOT
from rich.console import Console
from timing import once, set_threads, write_record
from unit_contestants import FORMATS, LAYERS, Setting, layers, networks, stems, ways
from unit_tables import fill_page, show

from pushpull.data.decode import usable_cores
from pushpull.files import read_json

ROWS = ("layer", "stem", "network", "training", "ways")


def limits(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Measure bytes a second of a large copy (read and written), operations a second of large products.

    The faster of a matrix product and a convolution of many channels: different libraries do them.
    """
    on_cpu = device.type == "cpu"
    source = torch.zeros(2**26 if on_cpu else 2**29, device=device)
    target = torch.zeros_like(source)
    side, image = (1536, 32) if on_cpu else (8192, 128)
    factor = torch.randn(side, side, device=device, dtype=dtype)
    product = torch.empty_like(factor)
    x = torch.randn(8 if on_cpu else 64, 256, image, image, device=device, dtype=dtype)
    x, kernel = (
        x.to(memory_format=torch.channels_last),
        torch.randn(256, 256, 3, 3, device=device, dtype=dtype),
    )
    copies, products, convolutions = [], [], []
    for _ in range(6):
        copies.append(once(lambda: target.copy_(source)))
        products.append(once(lambda: torch.mm(factor, factor, out=product)))
        convolutions.append(once(lambda: F.conv2d(x, kernel)))
    by_convolution = 2 * len(x) * (image - 2) ** 2 * kernel.numel() / min(convolutions)
    return {
        "bytes_per_s": 2 * source.numel() * source.element_size() / min(copies),
        "operations_per_s": max(2 * side**3 / min(products), by_convolution),
    }


def measure(
    options: argparse.Namespace, console: Console, save: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """Measure the rows asked for, group by group; `save` the record after each."""
    setting = Setting.of(options)
    found = limits(setting.device, setting.dtype)
    groups: list[dict[str, Any]] = []

    record = {"limits": found, "setting": setting.record(), "groups": groups}

    def add(group: dict[str, Any]) -> None:
        groups.append(group)
        save(record)  # what is measured stays, whatever ends the run
        console.print(f"{group['title']}: measured", highlight=False, soft_wrap=True)

    for name in options.formats:
        for side in options.avg if "layer" in options.rows else ():
            add(layers(setting, name, side, found))
        if "stem" in options.rows:
            add(stems(setting, name, found))
        if "ways" in options.rows:
            add(ways(setting, name, found))
    for name in options.networks:
        if "network" in options.rows:
            add(networks(setting, name, found, train=False))
        if "training" in options.rows:
            add(networks(setting, name, found, train=True))
    return record


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS[:4]))
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--avg", nargs="+", type=int, default=[3], help="sides of the pull's average pooling")
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=32, help="images for layers and stems")
    parser.add_argument("--network-batch", type=int, default=None, help="default: 4 on the CPU, 256 on a GPU")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--layer", choices=list(LAYERS), default="imagenet", help="7x7 with stride 2, or 3x3 with stride 1"
    )
    parser.add_argument("--dtype", choices=["fp32", "bf16"], help="default: fp32 on the CPU, bf16 on a GPU")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--output", type=Path, help="default: unit-cpu.json or unit-cuda.json in results/")
    parser.add_argument(
        "--markdown", type=Path, metavar="PAGE", help="fill the page from the records; no run"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, or fill a page with what the last runs wrote."""
    options = parsed(arguments)
    console = Console()
    if options.markdown:
        path = RESULTS / "unit-cpu.json"
        fill_page(options.markdown, {"cpu": read_json(path) if path.is_file() else None})
        console.print(f"wrote {options.markdown}", highlight=False)
        return 0
    set_threads(options.threads)
    began = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() and not options.cpu else "cpu"
    path = options.output or RESULTS / f"unit-{device}.json"

    def save(record: dict[str, Any]) -> None:
        write_record(path, record, time.perf_counter() - began, corruptions=False)

    save(measure(options, Console(stderr=True), save))
    show(Console(width=max(console.width, 150)), read_json(path))
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    console.print(f"wrote {shown}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
