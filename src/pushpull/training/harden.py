"""`harden`: a network is measured, converted, fine-tuned, weighed against itself, and measured again."""

from __future__ import annotations

import copy
import json
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from pushpull.data import DataConfig, DataSplits, ImageSplit, load_data
from pushpull.data.images import AS_IS
from pushpull.errors import InputError, choice
from pushpull.evaluation.continuing import model_digest
from pushpull.evaluation.images import limited
from pushpull.evaluation.metrics import family_errors, mean_corruption_error
from pushpull.evaluation.options import EvaluationOptions
from pushpull.evaluation.passes import progress_bar
from pushpull.evaluation.predictions import MEAN, Interval, load_predictions, paired
from pushpull.evaluation.results import CLEAN, Results
from pushpull.evaluation.runner import evaluate
from pushpull.files import (
    AFTER,
    BEFORE,
    PLAN,
    POINTS,
    TRAINING,
    WEIGHTS,
    folder_lock,
    read_json,
    user_path,
    writable_folder,
    write_json,
)
from pushpull.models.factory import ModelConfig
from pushpull.models.loading import load_weights, save_weights
from pushpull.models.network import Network
from pushpull.models.stems import fixed_strength, replace_by_stem, set_strength
from pushpull.training.callbacks import BadLossError
from pushpull.training.hardenoptions import HardenOptions
from pushpull.training.hardensteps import (
    VALIDATED,
    Point,
    fitted,
    mixed_batches,
    passes_of,
    planned,
    validation_images,
    weighed,
)
from pushpull.training.module import as_teacher
from pushpull.training.recipe import AugmentConfig, LossConfig, OptimConfig, Recipe
from pushpull.training.run import train
from pushpull.unit.gate import finish_gate, gates, set_gate
from pushpull.unit.layers import Inhibited, PushPullConv2d

__all__ = ["HardenOptions", "Hardened", "harden"]

_SMALL_PX = 64  # black borders belong to small images; a pretrained network has never seen them


@dataclass(frozen=True)
class Hardened:
    """What `harden` returns.

    Args:
        network: the network that was chosen, in evaluation mode on the CPU.
        before, after: its results.
        points: the points between before and after that were tried, on validation images.
        share: which of them was chosen, from 0 (as it came) to 1 (as it was trained).
        folder: what was written.
        seconds: of this call.
        changes: after minus before with 95 % intervals over the test images, by `uncertainty.paired`.
    """

    network: Network
    before: Results
    after: Results
    points: list[Point]
    share: float
    folder: Path
    seconds: float
    changes: dict[str, Interval]

    def sentences(self) -> list[str]:
        """Return a sentence each: clean accuracy, corruption error, what is better, what worse, the cost."""
        came, now = self.before, self.after
        lines = [
            f"Clean accuracy: {1 - came.clean_error:.1%} before, {1 - now.clean_error:.1%} after "
            f"({came.data['images']} test images; {self._change(CLEAN, -1)}).",
        ]
        try:
            mean = [mean_corruption_error(results.errors()) for results in (came, now)]
        except InputError:
            return lines
        lines.append(
            f"Mean corruption error (top-1, over 15 corruptions x 5 severities, not AlexNet-normalised): "
            f"{mean[0]:.1%} before, {mean[1]:.1%} after; {self._change(MEAN)}."
        )
        first, second = (family_errors(results.errors()) for results in (came, now))
        change = {name: second[name] - first[name] for name in first}
        for what, sign in (("Better", -1), ("Worse", 1)):
            moved = [(name, 100 * sign * by) for name, by in change.items()]
            named = [f"{name} by {points:.1f} points" for name, points in moved if points >= 0.05]
            lines.append(f"{what}: {', '.join(named) or 'nothing'}.")
        lines.append(
            f"Kept: {self.share:.0%} of the way from the network as it came to the trained one; "
            f"{self.seconds / 60:.1f} minutes."
        )
        return lines

    def _change(self, name: str, sign: int = 1) -> str:
        """Return the change in points and its interval; `sign` -1: of the accuracy."""
        low, high = sorted(100 * sign * end for end in self.changes[name][1:])
        points = 100 * sign * self.changes[name].estimate
        return f"{points:+z.1f} points, 95 % interval {low:+z.1f} to {high:+z.1f}"  # z: no -0.0


def harden(
    model: str | Path | nn.Module | Network,
    data: str | DataConfig | DataSplits,
    options: HardenOptions | None = None,
    *,
    output: Path | str,
    progress: bool = True,
    **changes: Any,
) -> Hardened:
    """Make a network more robust to corruptions and keep its accuracy: measure, convert, fine-tune, measure.

    Where a stem is asked for, the first layer becomes a push-pull unit whose gate opens in the training,
    which has augmentation and, if asked for, a consistency loss and distillation from itself; of its epochs
    the best on clean and corrupted validation images is taken; and of the points between before and after
    the one best on corrupted ones whose clean error has risen by no more than was allowed. The corruptions
    that decide are not the fifteen that are reported. The same call goes on where it was stopped.

    Args:
        model: what `load_network` takes: a module, a spec, a loaded network; it is not changed.
        data: a name, `DataConfig` or `DataSplits` with images to train on, and to test on.
        options, changes: see `HardenOptions`; each of its fields may be given by its name instead.
        output: the folder: before/, training/, after/, model.safetensors, points.json.
        progress: show progress on standard error.

    Returns:
        The network and what was measured.

    Raises:
        InputError: the network does not fit the data, cannot be converted, or the folder holds another one.
    """
    began = time.perf_counter()
    for name in changes:
        choice("option of harden", name, [field.name for field in fields(HardenOptions)])
    options = replace(options or HardenOptions(), **changes)
    splits = _required(data)
    network, cut = fitted(model, splits, options)
    came = _converted(network, options)
    _check_batch(network, splits, options)
    done = _hardened(came, network, cut, splits, options, writable_folder(user_path(output)), progress)
    return replace(done, seconds=time.perf_counter() - began)


def _required(data: str | DataConfig | DataSplits) -> DataSplits:
    """Return the splits, all three of which are needed."""
    splits = data if isinstance(data, DataSplits) else load_data(data)
    for part in ("train", "validation", "test"):
        splits.required(part)
    return splits


def _hardened(
    came: nn.Module,
    network: Network,
    cut: list[str],
    splits: DataSplits,
    options: HardenOptions,
    folder: Path,
    progress: bool,
) -> Hardened:
    """Do what is not done in the folder yet; the time that it took is 0 here."""
    with folder_lock(folder):
        options, splits = _planned(options, network, splits, folder)
        how: dict[str, Any] = {
            name: getattr(options, name) for name in ("scale", "limit", "device", "workers")
        }
        measured = EvaluationOptions(**how, quiet=not progress, save_predictions=True)  # for the intervals
        before = evaluate(network, splits, measured, output=str(folder / BEFORE), name=network.name)
        if not ((folder / POINTS).is_file() and (folder / WEIGHTS).is_file()):
            seen = validation_images(splits, str(options.scale), most=VALIDATED, seed=options.seed)
            trained = _trained(came, network, splits, seen, options, folder, progress)
            best = _weighed(came, trained, network, splits, seen, options, folder, progress)
            _save(best, network, options, cut, folder)
        best, points, share = _kept(came, network, folder)
        stem = options.stem if share and _is_new(network, options) else network.stem
        hardened = replace(network, model=best, stem=stem, source=str(folder / WEIGHTS))
        hardened = replace(hardened, label=f"{network.label or network.name}, hardened")
        after = evaluate(hardened, splits, measured, output=str(folder / AFTER), name=network.name)
        changes = paired(load_predictions(folder / AFTER), load_predictions(folder / BEFORE))
    return Hardened(hardened, before, after, points, share, folder, 0.0, changes)


def _is_new(network: Network, options: HardenOptions) -> bool:
    """Whether the network gets a stem: one that has a push-pull layer already keeps that."""
    return options.stem != "plain" and not any(isinstance(m, Inhibited) for m in network.model.modules())


def _converted(network: Network, options: HardenOptions) -> nn.Module:
    """Return a copy with the stem, its gate at 0."""
    model = copy.deepcopy(network.model)
    if not _is_new(network, options):
        if options.alpha is not None:
            raise InputError(
                f"alpha={options.alpha} is for a new push-pull stem, and none is made: leave it out"
            )
        return model
    try:
        replace_by_stem(model, options.stem, network.name)
        if not any(isinstance(unit, PushPullConv2d) for unit in model.modules()):
            raise InputError(f"stem={options.stem} has no gate to open step by step; give one such as pp3")
        set_gate(model, 0)
    except InputError as error:
        raise InputError(f"{error}; or give stem=plain (--stem plain): the training alone") from error
    if options.alpha is not None:
        set_strength(model, options.alpha)
    return model


def _check_batch(network: Network, splits: DataSplits, options: HardenOptions) -> None:
    """Raise where the training would be refused, before anything is measured."""
    recipe, images = _recipe(network, splits, options), len(splits.required("train"))
    if recipe.batch_size > images:
        raise InputError(
            f"batch_size={recipe.batch_size} is more than the {images} training images; give a smaller one"
        )


def _planned(
    options: HardenOptions, network: Network, splits: DataSplits, folder: Path
) -> tuple[HardenOptions, DataSplits]:
    """Return options without open ones, and what is trained on, as the folder's plan says, or a new one.

    Raises:
        InputError: the folder is of another network, data or options.
    """
    asked = {
        "options": {k: v for k, v in asdict(options).items() if k not in ("workers", "device")},
        "network": model_digest(network.model),
        "data": [splits.config.name, len(splits.required("train")), len(splits.required("test"))],
    }
    asked = json.loads(json.dumps(asked))  # as it is read again
    path = folder / PLAN
    if path.is_file():
        plan = read_json(path)
        differ = [key for key in asked if plan.get(key) != asked[key]]
        if differ:
            raise InputError(
                f"{folder} holds the hardening of another {' and '.join(differ)}; give the options it was "
                "begun with, or another output"
            )
    else:
        plan = asked | {"plan": planned(options, network, splits)}
        write_json(path, plan)
    chosen = dict(plan["plan"])
    part = limited(splits.required("train"), "the training split", chosen.pop("images"))
    return replace(options, budget=None, **chosen), replace(splits, train=part)


def _trained(
    came: nn.Module,
    network: Network,
    splits: DataSplits,
    validation: ImageSplit,
    options: HardenOptions,
    folder: Path,
    progress: bool,
) -> nn.Module:
    """Return the network after its training, with the weights of the best epoch."""
    watched = replace(splits, validation=validation, validation_framing=AS_IS)
    how: dict[str, Any] = {"resume": "auto", "progress": progress, "splits": watched}
    if options.teacher_weight:
        assert network.preprocessing is not None
        how["teacher"] = as_teacher(network.model, network.preprocessing)
    place, student = folder / TRAINING, replace(network, model=copy.deepcopy(came))
    try:
        train(_recipe(network, splits, options), place, network=student, **how)
    except BadLossError as error:
        raise InputError(f"{error.problem}; give a lower max_lr (--max-lr) and another output") from error
    return load_weights(copy.deepcopy(came), place / WEIGHTS).eval()


def _recipe(network: Network, splits: DataSplits, options: HardenOptions) -> Recipe:
    sides = splits.image_size or (224, 224)
    resident, side = splits.framing == AS_IS, min(sides)
    whole = resident and side < max(sides)  # a square crop is not what such a network may take
    if _is_new(network, options):
        model = ModelConfig(network.name, options.stem, alpha=options.alpha, start="preserve")
    else:
        model = ModelConfig(network.name, network.stem or "plain")
    return Recipe(
        model=model,
        data=splits.config,
        preprocessing=network.preprocessing,
        augment=AugmentConfig(
            resize=None if resident else splits.framing.resize,
            crop=None if whole else side,
            padding=side // 8 if resident and not whole and side <= _SMALL_PX else 0,
            policy=options.policy,
        ),
        optim=OptimConfig(
            algorithm=options.algorithm,
            initial_lr=options.max_lr / 25,
            max_lr=options.max_lr,
            final_lr=options.max_lr / 1e4,
            warmup=0.1,
            weight_decay=options.weight_decay,
            freeze_norms=options.freeze_norms,
            ema=_ema(options, len(splits.required("train"))),
        ),
        loss=LossConfig(jsd=options.jsd, temperature=2.0, teacher_weight=options.teacher_weight or 0.5),
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        precision=options.precision,
        workers=options.workers,
        **_placed(options.device),
    )


def _ema(options: HardenOptions, images: int) -> float | None:
    """Return the decay of the average: over a tenth of the steps at most, not of the network before."""
    window = images // max(options.batch_size, 1) * options.epochs / 10
    return None if options.ema is None or window <= 1 else min(options.ema, 1 - 1 / window)


def _placed(device: str) -> dict[str, Any]:
    """Return where the training runs: on the device that is numbered, as in cuda:1, else on any one."""
    kind, _, number = device.partition(":")
    choice("device", kind, ("auto", "cpu", "cuda", "mps"))
    return {"accelerator": kind, "devices": [int(number)] if number.isdecimal() and kind != "cpu" else 1}


def _weighed(
    came: nn.Module,
    trained: nn.Module,
    network: Network,
    splits: DataSplits,
    validation: ImageSplit,
    options: HardenOptions,
    folder: Path,
    progress: bool,
) -> nn.Module:
    """Return the network that `weighed` keeps; the points are written."""
    assert network.preprocessing is not None
    # Norms that were held while the weights moved are what these weights go with.
    clean = [] if options.freeze_norms else mixed_batches(splits, options.seed)
    device = EvaluationOptions(device=options.device).chosen_device(came)
    passes = passes_of(options.freeze_norms)
    shown = progress_bar(passes, len(validation), "points weighed") if progress else nullcontext()
    with shown as bar:
        best, points, kept = weighed(
            came, trained, network.preprocessing, validation, clean, device, options.clean_loss, bar
        )
    rows = [point._asdict() for point in points]
    write_json(folder / POINTS, {"points": rows, "share": kept.share, "clean_loss": options.clean_loss})
    return best


def _save(best: nn.Module, network: Network, options: HardenOptions, cut: list[str], folder: Path) -> None:
    """Write the weights with all that is needed to load them again."""
    if set(gates(best)) == {1.0}:
        finish_gate(best)
    new = _is_new(network, options)
    if set(gates(best)) == {0.0}:  # as it came, without the cost of a gate
        best, new = network.model, False
    preprocessing = network.preprocessing
    metadata = {
        "model": network.name,
        "stem": (options.stem if new else network.stem) or "plain",
        "input_style": str(network.input_style or "imagenet"),
        "alpha": json.dumps(fixed_strength(best)),
        "classes": json.dumps(network.classes),
        "preprocessing": json.dumps(preprocessing.to_dict() if preprocessing else None),
    }
    save_weights(best, folder / WEIGHTS, metadata | ({"cut": json.dumps(cut)} if cut else {}))


def _kept(came: nn.Module, network: Network, folder: Path) -> tuple[nn.Module, list[Point], float]:
    """Return the network of the file, all points, and the share of the one that was kept."""
    noted = read_json(folder / POINTS)
    points = [Point(**point) for point in noted["points"]]
    model = copy.deepcopy(came if noted["share"] else network.model)
    if gates(model):  # the file's gate comes back, where it has one
        set_gate(model, 1)
        finish_gate(model)
    return load_weights(model, folder / WEIGHTS).eval(), points, noted["share"]
