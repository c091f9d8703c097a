"""How fast `evaluate` is beside the network alone: images a second, end to end over pure inference.

The network's own rate is measured on batches that are ready (normalised, on the device), before, between and
after the conditions; the evaluation's rate is the images of all 15 x 5 conditions over their wall clock. Both
in one process on one machine. Run it on a quiet one:

    python benchmarks/evaluation_rate.py    # ResNet-18 on the CPU
    python benchmarks/evaluation_rate.py --model resnet50 --precision bf16 --compile --images 4096 \\
        --batch-size 256 --output benchmarks/results/evaluation_rate-gpu.json
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pictures import pictures
from repository import RESULTS, SHARED
from rich.console import Console
from rich.table import Table
from timing import once, write_record

from pushpull import create_model, evaluate
from pushpull.corruptions import FAMILIES
from pushpull.data import ImageSplit
from pushpull.data.decode import usable_cores
from pushpull.evaluation import Results

IMAGENET_C = 75 * 50_000
TARGETS = {"cpu": 0.7, "cuda": 0.8}


def inference_rate(model: torch.nn.Module, device: torch.device, options: argparse.Namespace) -> float:
    """Return images a second of the network alone, on batches that are ready: median of 5 passes."""
    batches = max(1, min(4, options.images // options.batch_size))
    shape = (min(options.batch_size, options.images), 3, options.size, options.size)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    ready = [torch.randn(shape, device=device).to(memory_format=layout) for _ in range(batches)]
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    autocast: Any = contextlib.nullcontext()
    if options.precision in types:
        autocast = torch.autocast(device.type, dtype=types[options.precision])

    def run() -> None:
        with torch.inference_mode(), autocast:
            for x in ready:
                model(x)

    run()
    run()
    return batches * shape[0] / statistics.median(once(run) for _ in range(5))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate family by family, with the network's own rate measured around each."""
    device = torch.device("cuda" if torch.cuda.is_available() and not options.cpu else "cpu")
    torch.manual_seed(0)
    model = create_model(options.model, num_classes=1000).to(device).eval()
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    alone = torch.compile(model) if options.compile else model
    found = pictures(options.data, options.size, options.images)
    split = ImageSplit.from_tensors(
        found.images, torch.arange(options.images) % 1000, [f"class {number}" for number in range(1000)]
    )
    rates = [inference_rate(alone, device, options)]
    parts: list[Results] = []
    began = time.perf_counter()
    for name, members in FAMILIES.items():
        Console(stderr=True).print(f"{name} ...")
        parts.append(
            evaluate(
                model,
                split,
                corruptions=members,
                scale="imagenet",
                batch_size=options.batch_size,
                device=str(device),
                precision=options.precision,
                compile=options.compile,
                channels_last=options.channels_last,
                progress=False,
            )
        )
        rates.append(inference_rate(alone, device, options))
        record = _record(options, found.source, device, parts, rates)
        write_record(options.output, record, time.perf_counter() - began)  # whatever ends the run
    return record


def _record(
    options: argparse.Namespace, source: str, device: torch.device, parts: list[Results], rates: list[float]
) -> dict[str, Any]:
    """Return the figures of the families that are done."""
    seconds = {
        corruption: [condition.seconds for condition in by.values()]
        for part in parts
        for corruption, by in part.corrupted.items()
    }
    rate = options.images * 5 * len(seconds) / sum(map(sum, seconds.values()))
    pure = statistics.median(rates)
    return {
        "model": options.model,
        "precision": options.precision,
        "compiled": options.compile,
        "channels_last": options.channels_last,
        "size": options.size,
        "images": options.images,
        "batch_size": options.batch_size,
        "pictures": source,
        "device": parts[0].device,
        "threads": torch.get_num_threads(),
        "corruptions": len(seconds),
        "inference_images_per_second": {"median": pure, "each": rates},
        "evaluation_images_per_second": rate,
        "ratio": rate / pure,
        "target": TARGETS[device.type],
        "ratio_by_corruption": {
            name: [options.images / one / pure for one in by] for name, by in seconds.items()
        },
        "imagenet_c_minutes": IMAGENET_C / rate / 60,
    }


def show(record: dict[str, Any]) -> None:
    """Print the figures."""
    console = Console(width=110)
    rates = record["inference_images_per_second"]
    table = Table(title=f"{record['model']} at {record['size']}: images a second end to end / of the network")
    table.add_column("corruption")
    for severity in range(1, 6):
        table.add_column(f"severity {severity}", justify="right")
    for name, ratios in record["ratio_by_corruption"].items():
        table.add_row(name, *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)
    spread = f"{min(rates['each']):.1f} to {max(rates['each']):.1f}"
    met = "met" if record["ratio"] >= record["target"] else "MISSED"
    console.print(f"network alone {rates['median']:10.1f} images/s ({spread})")
    conditions = f"{record['corruptions']} x 5 conditions"
    console.print(f"evaluation    {record['evaluation_images_per_second']:10.1f} images/s, {conditions}")
    console.print(f"ratio         {record['ratio']:10.2f}; target {record['target']}: {met}")
    console.print(f"ImageNet-C    {record['imagenet_c_minutes']:10.1f} minutes: 3.75 M images at this rate")
    if not record["device"].startswith("cuda"):
        console.print("GPU: not measured (no CUDA device)")


def arguments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the options."""
    yield "--model", {"default": "resnet18"}
    yield "--precision", {"default": "fp32", "choices": ["fp32", "bf16", "fp16"]}
    yield "--compile", {"action": "store_true"}
    yield "--channels-last", {"action": "store_true"}
    yield "--images", {"type": int, "default": 64}
    yield "--batch-size", {"type": int, "default": 32}
    yield "--size", {"type": int, "default": 224}
    yield "--threads", {"type": int, "default": usable_cores()}
    yield "--cpu", {"action": "store_true", "help": "even where there is a GPU"}
    yield "--data", {"type": Path, "default": SHARED / "data"}
    yield "--output", {"type": Path, "default": RESULTS / "evaluation_rate.json"}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, settings in arguments():
        parser.add_argument(flag, **settings)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    show(measure(options))
    print(f"Written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
