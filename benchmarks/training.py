"""Images a second in training: our loop and a plain PyTorch one, in turns, one epoch at a time.

    python benchmarks/training.py                                    # 2 cores: resnet8 and resnet14
    python benchmarks/training.py --device cuda --networks resnet18 --images 50000 --batch 512 --turns 3

The plain loop is what tutorials write: images as PIL, torchvision's random crop, flip, conversion and
normalisation an image at a time in a `DataLoader`, fp32, contiguous memory. It runs with and without workers;
ratios are to the faster of the two. Ours is the loop of `pushpull train`, from the first to the last step of
an epoch, without validation. Pictures are drawn, 32 x 32: the speed does not depend on them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from PIL import Image
from timing import Timing, machine, set_threads, summary, write_record
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pushpull.data import ImageSplit, load_data
from pushpull.models import create_model
from pushpull.training import AugmentConfig, LossConfig, ModelConfig, OptimConfig, Recipe
from pushpull.training.loaders import ImageData
from pushpull.training.module import Classifier
from pushpull.training.run import _trainer

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
RESULTS = Path(__file__).parent / "results"


class _Pictures(Dataset[Any]):
    """Images as arrays, augmented one by one: torchvision's CIFAR10 with a tutorial's transforms."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[number])), self.labels[number]


def plain_loop(recipe: Recipe, split: ImageSplit, workers: int, device: str) -> Callable[[], float]:
    """Return a call that trains an epoch and returns its seconds."""
    data = split.resident(_as_is())
    loader = DataLoader(
        _Pictures(data.images, data.labels),
        recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
        # A process that has computed with several threads must not be forked: its workers may never start.
        multiprocessing_context="spawn" if workers else None,
        pin_memory=device != "cpu",
    )
    torch.manual_seed(0)
    model = create_model(recipe.model.name, input_style="cifar", num_classes=10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> float:
        start = time.perf_counter()
        model.train()
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
        _wait(device)
        return time.perf_counter() - start

    return epoch


class _Clock(L.Callback):
    """Seconds from the first step of an epoch to its last, the fetching of the first batch included."""

    def __init__(self, device: str) -> None:
        self.device = device

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _wait(self.device)
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _wait(self.device)
        self.seconds = time.perf_counter() - self.start


def our_loop(recipe: Recipe, split: ImageSplit, device: str) -> Callable[[], float]:
    """Return a call that trains an epoch as `pushpull train` does and returns its seconds."""
    splits = replace(load_data("digits"), train=split, validation=None, test=None)
    recipe = replace(recipe, epochs=1, accelerator="cpu" if device == "cpu" else "cuda")
    torch.manual_seed(0)
    model = create_model(recipe.model.name, stem=recipe.model.stem, input_style="cifar", num_classes=10)
    if recipe.compile:
        model.compile()

    def epoch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            data = ImageData(recipe, splits)
            trainer = _trainer(recipe, Path(folder), splits, False, None)
            clock = _Clock(device)
            trainer.callbacks.insert(0, clock)
            assert recipe.preprocessing is not None
            steps = data.steps_per_epoch(1)
            module = Classifier(
                model, recipe.preprocessing, recipe.optim, steps, recipe.channels_last, loss=recipe.loss
            )
            trainer.fit(module, datamodule=data)
        return clock.seconds

    return epoch


def contestants(network: str, split: ImageSplit, options: Any) -> dict[str, Callable[[], float]]:
    """Return each contestant's epoch."""
    base = Recipe(
        model=ModelConfig(network, "plain"),
        preprocessing=load_preprocessing(),
        augment=AugmentConfig(),
        optim=OptimConfig(initial_lr=0.01, max_lr=0.1, weight_decay=5e-4, nesterov=True),
        batch_size=options.batch,
    )
    prime = replace(base.augment, policy="prime")
    bf16 = replace(base, precision="bf16")
    recipes = {
        "ours, fp32": base,
        "ours, bf16": bf16,
        "ours, bf16, pp3": replace(bf16, model=ModelConfig(network, "pp3")),
        "ours, bf16, PRIME": replace(bf16, augment=prime),
        "ours, bf16, PRIME, JSD": replace(bf16, augment=prime, loss=LossConfig(jsd=12.0)),
    }
    if options.device != "cpu" or options.compile:
        recipes["ours, bf16, compiled"] = replace(bf16, compile=True)
    found = {
        f"plain loop, {workers} workers": plain_loop(base, split, workers, options.device)
        for workers in options.workers
    }
    return found | {name: our_loop(recipe, split, options.device) for name, recipe in recipes.items()}


def load_preprocessing() -> Any:
    """Return CIFAR-10's mean and std."""
    from pushpull.data import Preprocessing

    return Preprocessing(MEAN, STD)


def _as_is() -> Any:
    from pushpull.data.images import AS_IS

    return AS_IS


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measured(network: str, options: Any) -> dict[str, Any]:
    """Return images a second of every contestant, in turns after one epoch of warm-up."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (options.images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (options.images,), generator=generator)
    split = ImageSplit.from_tensors(images, labels, classes=[str(digit) for digit in range(10)])
    calls = contestants(network, split, options)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.turns + 1):
        for name, call in calls.items():
            taken = call()
            if turn:
                seconds[name].append(taken)
    seen = options.images // options.batch * options.batch
    times = {name: summary(taken) for name, taken in seconds.items()}
    peer = min(time.median for name, time in times.items() if name.startswith("plain"))
    return {name: _record(time, seen, peer) for name, time in times.items()}


def _record(time: Timing, images: int, peer: float) -> dict[str, Any]:
    return {
        "images_a_second": round(images / time.median),
        "slowest": round(images / time.slowest),
        "fastest": round(images / time.fastest),
        "turns": time.repeats,
        "ratio_to_plain": round(peer / time.median, 2),
    }


def table(network: str, rows: dict[str, Any]) -> str:
    """Return the rows as Markdown."""
    lines = [
        f"**{network}**",
        "",
        "| loop | images a second (slowest to fastest) | ratio |",
        "| --- | ---: | ---: |",
    ]
    for name, row in rows.items():
        rate = f"{row['images_a_second']} ({row['slowest']} to {row['fastest']})"
        lines.append(f"| {name} | {rate} | {row['ratio_to_plain']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet8", "resnet14"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=6400, help="an epoch")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="on the CPU")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of the plain loop")
    parser.add_argument("--compile", action="store_true", help="the compiled row on the CPU too")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.device == "cpu":
        set_threads(options.threads)
    start, found = time.perf_counter(), {}
    for network in options.networks:
        found[network] = measured(network, options)
        print(table(network, found[network]), flush=True)
    kind = "cpu" if options.device == "cpu" else "gpu"
    said = {key: getattr(options, key) for key in ("images", "batch", "turns", "threads", "device")}
    record = {**said, "rows": found}
    path = options.output or RESULTS / f"training-{kind}.json"
    write_record(path, record, time.perf_counter() - start, corruptions=False)
    print(f"{machine()['processor']}, load {machine()['load']}; written to {path}")


if __name__ == "__main__":
    main()
