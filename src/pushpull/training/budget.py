"""What fits into the time that `harden` is given."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushpull.augment import augment_batch
from pushpull.corruptions.registry import nearest_scale
from pushpull.data import DataSplits, Preprocessing, eval_batches
from pushpull.evaluation.options import EvaluationOptions, lent_to_evaluation
from pushpull.models.network import Network
from pushpull.training.hardenoptions import HardenOptions
from pushpull.training.weighing import VALIDATED, passes_of

_EVALUATED_SHARE = 0.4  # of a budget


def planned(options: HardenOptions, network: Network, splits: DataSplits) -> dict[str, Any]:
    """Return scale, epochs, test and training images: as asked, or what a budget allows."""
    sides = splits.image_size or (224, 224)
    train_images, test_images = len(splits.required("train")), len(splits.required("test"))
    plan: dict[str, Any] = {
        "scale": options.scale or nearest_scale(*sides),
        "epochs": options.epochs,
        "limit": options.limit,
        "images": train_images,
    }
    if options.budget_s is None:
        return plan
    forward, step = _costs(options, network, splits)
    tested = int(options.budget_s * _EVALUATED_SHARE / (2 * 76 * forward))
    most = min(options.limit or test_images, test_images)
    plan["limit"] = min(max(tested, 50), most)
    validated = 2 * min(len(splits.required("validation")), VALIDATED)
    weighing = passes_of(options.freeze_norms) * validated * forward
    left = options.budget_s - 2 * 76 * forward * plan["limit"] - weighing
    epoch = train_images * step + validated * forward
    plan["epochs"] = max(1, min(options.epochs, int(left / epoch)))
    if left < epoch:  # not even one: fewer images
        fitting = int(train_images * max(left, 0) / epoch)
        plan["images"] = min(max(2 * options.batch_size, fitting), train_images)
    print(
        f"budget {options.budget}: {plan['epochs']} epochs of {plan['images']} images, "
        f"{plan['limit']} test images",
        file=sys.stderr,
    )
    return plan


def _costs(options: HardenOptions, network: Network, splits: DataSplits) -> tuple[float, float]:
    """Return seconds for an evaluated image, corruption included, and for a training image, all views."""
    batch = next(iter(eval_batches(splits.required("train"), splits.framing, batch_size=16)))
    count = len(batch.labels)
    model, prepare = copy.deepcopy(network.model), network.preprocessing or Preprocessing()
    device = EvaluationOptions(device=options.device).chosen_device(model)

    def forward() -> Tensor:
        return model(prepare(batch.images.to(device)))

    def backward() -> Tensor:
        loss = forward().logsumexp(1).mean()
        loss.backward()
        return loss

    def augmented() -> Tensor:
        if options.policy == "none":
            return batch.images
        images = batch.images.to(device)
        return augment_batch(images, options.policy, index=batch.index, seed=0, epoch=0)

    with lent_to_evaluation(model, device):
        learning, policy = _seconds(backward) / count, _seconds(augmented) / count
        with torch.no_grad():
            clean = _seconds(forward) / count
    corrupting = 5e-8 * batch.images[0].numel()  # about what the fifteen cost per value: docs/speed.md
    views = 3 if options.jsd else 1
    teacher = clean if options.teacher_weight else 0
    return clean + corrupting, views * learning + (2 if options.jsd else 1) * policy + teacher


def _seconds(run: Callable[[], Tensor]) -> float:
    """Return the shortest time of three calls after one, which may compile."""
    device, times = run().device, []
    for _ in range(3):
        began = time.perf_counter()
        run()
        if device.type == "cuda":  # it works on after the call has come back
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times)
