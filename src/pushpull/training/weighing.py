"""Between the network as it came and as it was trained: which point to keep, judged on validation images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from pushpull.corruptions import EXTRA_CORRUPTIONS, corrupt
from pushpull.data import Batch, DataSplits, ImageSplit, Preprocessing, eval_batches
from pushpull.data.images import AS_IS
from pushpull.data.published import SEVERITIES
from pushpull.evaluation.adapt import tracking_norms
from pushpull.evaluation.images import limited
from pushpull.evaluation.options import lent_to_evaluation
from pushpull.evaluation.progress import Progress

VALIDATED = 1000  # clean validation images, and as many corrupted
_BATCH = 128
_RESTATED, _RESTATED_BATCH = 512, 64  # training images for the batch norms' statistics
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def passes_of(freeze_norms: bool) -> int:
    """Return how often the validation images are gone over: as it came, then each share once or twice."""
    return 1 + (len(SHARES) - 1) * (1 if freeze_norms else 2)


class Point(NamedTuple):
    """One point of the line: share of the training's weights, errors on validation images in [0, 1].

    `restated`: with the batch norms' statistics taken anew.
    """

    share: float
    clean_error: float
    corrupted_error: float
    restated: bool = False


def validation_images(splits: DataSplits, scale: str, *, most: int, seed: int) -> ImageSplit:
    """Return validation images in memory: first as they are, then each once with a corruption.

    The corruptions are the four that no benchmark figure is a mean over, at severities 1 to 5 in turn.

    Args:
        splits: their validation split, framed as for evaluation.
        scale: of the corruptions.
        most: at most so many images, the same share of every class.
        seed: of the corruptions.
    """
    split = limited(splits.required("validation"), "the validation split", most)
    kept = split.resident(splits.framing)
    images = kept.images.clone()
    conditions = [(name, severity) for severity in SEVERITIES for name in EXTRA_CORRUPTIONS]
    turn = torch.arange(len(images)) % len(conditions)
    for number, (name, severity) in enumerate(conditions):
        at = (turn == number).nonzero()[:, 0]
        if len(at):
            images[at] = corrupt(images[at], name, severity, scale=scale, index=kept.index[at], seed=seed)
    both = torch.cat([kept.images, images])
    return ImageSplit.from_tensors(both, kept.labels.repeat(2), split.classes, name="validation, corrupted")


def mixed_batches(splits: DataSplits, seed: int) -> list[Batch]:
    """Return clean training images for `restate_norms`, the same share of every class, mixed in each batch.

    Data is often in the order of its classes: the first batches would be of one.
    """
    part = limited(splits.required("train"), "the training split", _RESTATED)
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    return list(eval_batches(part.subset(order), splits.framing, _RESTATED_BATCH))


def errors_on(
    model: nn.Module,
    preprocessing: Preprocessing,
    split: ImageSplit,
    device: torch.device,
    bar: Progress | None = None,
) -> tuple[float, float]:
    """Return the error on the first half of the images, the clean ones, and on the second."""
    wrong = []
    with lent_to_evaluation(model, device), torch.inference_mode():
        for batch in eval_batches(split, AS_IS, _BATCH):
            logits = model(preprocessing(batch.images.to(device)))
            wrong.append((logits.argmax(1).cpu() != batch.labels).float())
            if bar:
                bar.advance(len(batch.labels))
    if bar:
        bar.finish()
    clean, corrupted = torch.cat(wrong).chunk(2)
    return float(clean.mean()), float(corrupted.mean())


def between(came: nn.Module, trained: nn.Module, share: float) -> nn.Module:
    """Return a network with (1 - share) of the one's weights and share of the other's; the gate alike.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    mixed, first = copy.deepcopy(trained), came.state_dict()
    mixed.load_state_dict(
        {
            name: torch.lerp(first[name].to(value), value, share) if value.is_floating_point() else value
            for name, value in mixed.state_dict().items()
        }
    )
    return mixed


def restate_norms(
    model: nn.Module, preprocessing: Preprocessing, batches: Sequence[Batch], device: torch.device
) -> bool:
    """Take the running statistics of batch norms anew, in place, over these clean images; nothing else moves.

    Returns:
        Whether there is a batch norm with statistics.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.
    """
    norms = tracking_norms(model)
    if not norms or not batches:
        return False
    with lent_to_evaluation(model, device), torch.no_grad():
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
            norm.train()
        for batch in batches:
            model(preprocessing(batch.images.to(device)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return True


def chosen(points: Sequence[Point], clean_loss: float) -> Point:
    """Return the point of the lowest corrupted error whose clean error has risen by `clean_loss` at most.

    Args:
        points: the first is the network as it came, which is always allowed.
        clean_loss: in points of percent.
    """
    most = points[0].clean_error + clean_loss / 100 + 1e-9
    allowed = [point for point in points if point.clean_error <= most]
    return min(allowed, key=lambda point: (point.corrupted_error, point.share))


def weighed(
    came: nn.Module,
    trained: nn.Module,
    preprocessing: Preprocessing,
    validation: ImageSplit,
    clean: Sequence[Batch],
    device: torch.device,
    clean_loss: float,
    bar: Progress | None = None,
) -> tuple[nn.Module, list[Point], Point]:
    """Return the network to keep, all points, and the one that was chosen.

    Args:
        came: the converted network before its training, with the gate at 0.
        trained: after it.
        preprocessing: of both.
        validation: what `validation_images` returns.
        clean: batches of training images, for the batch norms' statistics; none: these stay.
        device: to compute on.
        clean_loss: how far the clean error may rise, in points of percent.
        bar: counts the passes, `passes_of` them at most.
    """
    points = [Point(0.0, *errors_on(came, preprocessing, validation, device, bar))]
    best, kept = came, points[0]
    for share in SHARES[1:]:
        mixed = between(came, trained, share)
        for restated in (False, True):  # new statistics are better or worse: few classes are not ImageNet
            if restated and not restate_norms(mixed := copy.deepcopy(mixed), preprocessing, clean, device):
                continue
            errors = errors_on(mixed, preprocessing, validation, device, bar)
            points.append(Point(share, *errors, restated))
            if (now := chosen(points, clean_loss)) is points[-1]:
                best, kept = mixed, now
    return best, points, kept
