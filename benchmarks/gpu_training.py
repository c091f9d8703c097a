"""Training on a GPU: images per second of `pushpull train` beside the pure step, and an epoch in seconds.

    python benchmarks/gpu_training.py --output FILE.json            # ResNet-18 at 32 px, ResNet-50 at 224
    python benchmarks/gpu_training.py --dry-run --output FILE.json  # tiny, on the CPU

The loop is that of `pushpull train`, bf16 and channels_last, from the first to the last step of an epoch; the
pure step is forward, backward and update on a batch that is ready. An epoch of ResNet-18 has the 50,000
images of CIFAR-10. Pictures are drawn: the speed does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timing import interleaved, summary, write_record
from torch import nn

from pushpull.data import ImageSplit
from pushpull.models import create_model
from pushpull.training import AugmentConfig, ModelConfig, OptimConfig, Recipe
from training import load_preprocessing, our_loop

_TARGETS = {"plain": 4.0, "PRIME": 6.0}  # seconds of an epoch of ResNet-18 on CIFAR-10
PRIME_RATIO = 1.25  # an epoch with PRIME over one without


class Setting(NamedTuple):
    """A network, its images, and the rows that are measured."""

    network: str
    side_px: int
    images: int
    batch: int
    rows: tuple[tuple[str, str, str], ...]  # what it is called, stem, policy

    @property
    def style(self) -> str:
        """Return the input style."""
        return "cifar" if self.side_px <= 64 else "imagenet"


_CIFAR = (
    ("plain", "plain", "none"),
    ("PP3", "pp3", "none"),
    ("PRIME", "plain", "prime"),
    ("PRIME + PP3", "pp3", "prime"),
)
SETTINGS = (Setting("resnet18", 32, 50_000, 512, _CIFAR), Setting("resnet50", 224, 2_560, 256, _CIFAR[:3]))
TINY = (Setting("resnet8", 32, 32, 16, (_CIFAR[0], _CIFAR[2])),)


def measured(setting: Setting, device: str, turns: int) -> dict[str, Any]:
    """Return seconds of epochs, images per second and the pure step's of every row of a setting."""
    generator = torch.Generator().manual_seed(0)
    shape = (setting.images, 3, setting.side_px, setting.side_px)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    split = ImageSplit.from_tensors(images, torch.arange(setting.images) % 10)
    base = Recipe(
        preprocessing=load_preprocessing(),
        augment=AugmentConfig(crop=setting.side_px, padding=4),
        optim=OptimConfig(initial_lr=0.01, max_lr=0.1, weight_decay=5e-4, nesterov=True),
        batch_size=setting.batch,
        precision="bf16",
    )
    rows: list[dict[str, Any]] = []
    for name, stem, policy in setting.rows:
        recipe = replace(
            base,
            model=ModelConfig(setting.network, stem, setting.style),  # type: ignore[arg-type]
            augment=replace(base.augment, policy=policy),
        )
        epoch = our_loop(recipe, split, device)
        if device != "cpu":
            epoch()  # of warm-up
        found = summary([epoch() for _ in range(turns)])
        seen = setting.images // setting.batch * setting.batch
        step = _step_seconds(setting, stem, device)
        rows.append(
            {
                "row": name,
                "epoch_s": [round(seconds, 3) for seconds in found[:3]],
                "images_per_s": round(seen / found.median),
                "step_images_per_s": round(setting.batch / step),
            }
        )
    plain = rows[0]["epoch_s"][0]
    for row in rows:
        row["ratio_to_plain"] = round(row["epoch_s"][0] / plain, 3)
        row["target_epoch_s"] = _TARGETS.get(row["row"]) if setting.network == "resnet18" else None
        row["target_ratio"] = PRIME_RATIO if row["row"] == "PRIME" else None
    return {**setting._asdict(), "rows": rows}


def _step_seconds(setting: Setting, stem: str, device: str) -> float:
    """Return the seconds of forward, backward and update on a batch that is ready."""
    torch.manual_seed(0)
    model = create_model(setting.network, stem=stem, input_style=setting.style, num_classes=10)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    shape = (setting.batch, 3, setting.side_px, setting.side_px)
    x = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(setting.batch, device=device) % 10

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return interleaved({"step": step}, repeats=7)["step"].median


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the record after each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() and not options.dry_run else "cpu"
    if device == "cpu" and not options.dry_run:
        parser.error("there is no GPU; --dry-run measures tiny sizes on the CPU")
    began, settings = time.perf_counter(), []
    for setting in TINY if options.dry_run else SETTINGS:
        settings.append(measured(setting, device, 1 if options.dry_run else options.turns))
        record = {"device": device, "settings": settings}
        write_record(options.output, record, time.perf_counter() - began, corruptions=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
