"""The steps of `harden` around its training: a fitting copy, what a budget allows, which point is kept."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushpull.augment import augment_batch
from pushpull.corruptions import EXTRA_CORRUPTIONS, corrupt
from pushpull.corruptions.registry import nearest_scale
from pushpull.data import Batch, DataSplits, ImageSplit, Preprocessing, eval_batches
from pushpull.data.images import AS_IS
from pushpull.data.published import SEVERITIES
from pushpull.errors import InputError, one_line
from pushpull.evaluation.classes import Outputs
from pushpull.evaluation.images import limited
from pushpull.evaluation.options import EvaluationOptions, lent_to_evaluation
from pushpull.evaluation.passes import Progress, tracking_norms
from pushpull.evaluation.runner import warn_of
from pushpull.models.libraries import heads, keep_rows
from pushpull.models.network import Network, load_network
from pushpull.training.hardenoptions import HardenOptions

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
    order = part.shuffled(torch.Generator().manual_seed(seed))
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


def fitted(model: Any, splits: DataSplits, options: HardenOptions) -> tuple[Network, list[str]]:
    """Return the network with one output for each class of the data, and what it expects of images.

    Beside it the names of the layers that were cut to these classes.
    """
    side = max(splits.image_size or (224,))
    network = load_network(model, classes=splits.classes, side_px=side)
    asked = EvaluationOptions(mean=options.mean, std=options.std, size=options.size)
    own, why = asked.preprocessing(network.preprocessing, network.model)
    warn_of(network, why, splits.image_size or (224, 224))
    try:
        copied = copy.deepcopy(network.model).cpu().eval()
    except Exception as error:  # old weight_norm, handles of other libraries
        raise InputError(
            f"{network.name} cannot be copied ({one_line(error)}); remove what prevents it, such as "
            "torch.nn.utils.remove_weight_norm"
        ) from error
    network = replace(network, model=copied, preprocessing=own)
    shape = (2, 3, *(splits.image_size or (224, 224)))
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    try:
        with torch.enable_grad():
            logits = copied(own(image))
    except Exception as error:
        raise InputError(
            f"{network.name} does not take images of {tuple(own(image).shape[1:])} in fp32 "
            f"({one_line(error)}); give the size that it takes (--size), or its weights as fp32"
        ) from error
    outputs = Outputs(splits.classes, network.classes)
    outputs.take(logits, 2, len(splits.classes) - 1)
    logits = _trained_by(logits, network)
    rows, cut = outputs.positions, list[str]()
    if rows is not None and rows != list(range(logits.shape[1])):
        network, cut = _cut(network, rows, logits, own(image))
    return replace(network, classes=list(splits.classes)), cut


def _trained_by(logits: Tensor, network: Network) -> Tensor:
    """Return the logits without their graph, where there are parameters that a training can move by them."""
    if not all(parameter.is_leaf for parameter in network.model.parameters()):
        raise InputError(f"{network.name} cannot be copied to train (TorchScript?); give the Python model")
    if not logits.requires_grad:
        raise InputError(
            f"no parameter of {network.name} trains: give it requires_grad (model.requires_grad_()), and a "
            "forward without torch.no_grad()"
        )
    if logits.isnan().any():
        raise InputError(f"{network.name} gives logits that are NaN; give it weights that are sound")
    return logits.detach()


def _cut(network: Network, rows: list[int], logits: Tensor, image: Tensor) -> tuple[Network, list[str]]:
    """Return the network with these of its outputs only, and the layers that were cut.

    These are all with so many outputs, side heads among them, or the last one, where others are hidden.
    """
    found = heads(network.model, logits.shape[1])
    for names in (found, found[-1:]):
        model = copy.deepcopy(network.model)
        keep_rows(model, names, rows)
        try:
            with torch.no_grad():
                fits = torch.allclose(model(image), logits[:, rows], rtol=1e-4, atol=1e-5)
        except RuntimeError:  # shapes
            continue
        if fits:
            return replace(network, model=model), names
    raise InputError(
        f"{network.name} has {logits.shape[1]} outputs, and no last layer that could be cut to the data's "
        f"{len(rows)} classes in their order; give a network with just these outputs"
    )


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
