"""Augmentations: images per second beside torchvision's and the reference's form, and a training step's time.

    python benchmarks/augment.py                           # everything that this machine can do
    python benchmarks/augment.py --parts rate              # images per second only
    python benchmarks/augment.py --parts rate --batch 1    # one image at a time, as in a worker process
    python benchmarks/augment.py --markdown docs/augment.md    # no run: the page's tables from the record

Rates: ours on a batch against torchvision's class on each of its images (which draws one augmentation for a
whole batch otherwise), and for PRIME against the authors' formulation (`tests/oracles/prime.py`), taking
turns. Steps: forward, backward and SGD of a network, with the augmentation on its device, over the same step
without; with the consistency loss a step has three views of each image, on a line of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from augment_tables import fill_page, show
from pictures import pictures
from repository import RESULTS, SHARED
from timing import Timing, interleaved, set_threads, write_record
from torch import Tensor, nn
from torchvision.transforms import v2

from oracles.prime import reference_batch
from pushpull.augment import AUGMENTATIONS, augment_batch, jsd_loss
from pushpull.augment.prime import PRIME
from pushpull.files import read_json
from pushpull.models import create_model

_TORCHVISION = {
    "autoaugment": v2.AutoAugment,
    "randaugment": v2.RandAugment,
    "trivialaugment": v2.TrivialAugmentWide,
    "augmix": v2.AugMix,
}
# (scale, pixels, images per batch on the CPU, on a GPU)
_RATES = (("cifar", 32, 128, 512), ("imagenet", 224, 16, 128))
# (network, scale, pixels, images per batch, device type, the target of a step with PRIME over one without)
_STEPS = (
    ("resnet14", "cifar", 32, 128, "cpu", None),
    ("resnet18", "cifar", 32, 128, "cuda", 1.25),
    ("resnet18", "cifar", 32, 512, "cuda", 1.25),
    ("resnet50", "imagenet", 224, 128, "cuda", 1.1),
)
NO_GPU = "not measured (no GPU)"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the record; or fill the page from it."""
    options = _options(arguments)
    if options.markdown:
        fill_page(options.markdown, read_json(options.output))
        return
    start = time.perf_counter()
    set_threads(options.threads)
    record: dict[str, Any] = {"setting": {"threads": options.threads, "repeats": options.repeats}}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if "rate" in options.parts:
        record["rates"] = [row for device in devices for row in _rates(options, torch.device(device))]
    if "step" in options.parts:
        record["steps"] = [row for step in _STEPS for row in _steps(options, *step)]
    path = write_record(options.output, record, time.perf_counter() - start, corruptions=False)
    show(read_json(path))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=["rate", "step"], default=["rate", "step"])
    names = list(AUGMENTATIONS)[1:]
    parser.add_argument("--names", nargs="+", choices=names, default=names)
    parser.add_argument("--batch", type=int, help="images per call; default: as is usual at each size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="folder with imagenet_sample/")
    parser.add_argument("--output", type=Path, default=RESULTS / "augment.json")
    parser.add_argument("--markdown", type=Path, help="write the record's tables into this page instead")
    return parser.parse_args(arguments)


def _rates(options: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    rows = []
    for scale, size, on_cpu, on_gpu in _RATES:
        count = options.batch or (on_cpu if device.type == "cpu" else on_gpu)
        drawn = pictures(options.data, size, count)
        images = drawn.images.to(device)
        for name in options.names:
            calls = {"ours": _ours(images, name, scale)}
            if name in _TORCHVISION:
                calls["peer"] = _each(images, _TORCHVISION[name]())
            elif name == "prime":
                calls["peer"] = _reference(images, scale)
            times = interleaved(calls, repeats=options.repeats)
            rate = {who: _per_second(timing, count) for who, timing in times.items()}
            rows.append(
                {"name": name, "scale": scale, "size": size, "batch": count, "device": device.type}
                | {"images": drawn.source, "images_per_s": rate}
            )
    return rows


def _per_second(timing: Timing, count: int) -> list[float]:
    """Return the median, slowest and fastest rate."""
    return [round(count / seconds, 1) for seconds in (timing.median, timing.slowest, timing.fastest)]


def _ours(images: Tensor, name: str, scale: str) -> Callable[[], Tensor]:
    """Return a call that augments, another epoch each time: strengths differ, and so does the time."""
    epoch, index = iter(range(10**9)), torch.arange(len(images))
    return lambda: augment_batch(images, name, index=index, epoch=next(epoch), scale=scale)


def _each(images: Tensor, transform: nn.Module) -> Callable[[], Tensor]:
    return lambda: torch.stack([transform(image) for image in images])


def _reference(images: Tensor, scale: str) -> Callable[[], Tensor]:
    setting, x = PRIME[scale], images.cpu() / 255
    generator = torch.Generator().manual_seed(0)
    return lambda: reference_batch(
        x,
        cut_max=setting.warp_cut,
        colour_max=setting.colour_cut,
        temperature=setting.temperature,
        band=setting.band,
        generator=generator,
    )


def _steps(
    options: argparse.Namespace,
    network: str,
    scale: str,
    size: int,
    count: int,
    kind: str,
    target: float | None,
) -> list[dict[str, Any]]:
    """Measure a network's step without, with each augmentation, and with two views and the loss."""
    common = {"network": network, "scale": scale, "size": size, "batch": count, "device": kind}
    names = ["none", *options.names, *(f"{n} + JSD" for n in ("augmix9", "prime") if n in options.names)]
    if kind == "cuda" and not torch.cuda.is_available():
        shown = [name for name in names if name.startswith("prime")]
        return [
            {**common, "name": name, "target": target if name == "prime" else None, "why": NO_GPU}
            for name in shown
        ]
    device = torch.device(kind)
    images = pictures(options.data, size, count).images.to(device)
    step = _Step(network, scale, images)
    times = interleaved({name: step.call(name) for name in names}, repeats=options.repeats, longest_s=60)
    plain = times["none"].median
    return [
        {**common, "name": name, "target": target if name == "prime" else None}
        | {"ratio": round(timing.median / plain, 3)}
        | {"ms": [round(1e3 * seconds, 2) for seconds in timing[:3]]}
        for name, timing in times.items()
    ]


class _Step:
    """One step of training: augment, normalise, forward, backward, update."""

    def __init__(self, network: str, scale: str, images: Tensor) -> None:
        self.images, self.scale = images, scale
        device, cifar = images.device, scale == "cifar"
        style, classes = ("cifar", 10) if cifar else ("imagenet", 1000)
        self.model = create_model(network, input_style=style, num_classes=classes)
        self.model = self.model.to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9)
        self.labels = torch.arange(len(images), device=device) % classes
        self.index, self.epochs = torch.arange(len(images)), iter(range(10**9))

    def call(self, name: str) -> Callable[[], None]:
        """Return the step with an augmentation; "NAME + JSD" has the consistency loss."""
        plain = name.removesuffix(" + JSD")
        return lambda: self._run(plain, plain != name)

    def _run(self, name: str, consistent: bool) -> None:
        epoch = next(self.epochs)
        views = [
            augment_batch(self.images, name, index=self.index, epoch=epoch, view=view, scale=self.scale)
            if name != "none"
            else self.images
            for view in range(2 if consistent else 1)
        ]
        batch = torch.cat([self.images, *views]) if consistent else views[0]
        x = batch.to(memory_format=torch.channels_last).float().div_(255).sub_(0.45).div_(0.23)
        with torch.autocast("cuda", torch.bfloat16, enabled=x.is_cuda):
            logits = self.model(x)
        if consistent:
            clean, first, second = logits.chunk(3)
            loss = jsd_loss(clean, (first, second), self.labels)
        else:
            loss = nn.functional.cross_entropy(logits.float(), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


if __name__ == "__main__":
    main()
