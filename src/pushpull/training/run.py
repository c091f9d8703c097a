"""A training run: from a recipe to a run folder."""

from __future__ import annotations

import csv
import json
import logging
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal
from unittest import mock

import lightning as L
import torch
from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies.launchers import subprocess_script
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from pushpull.data import DataSplits, Preprocessing, load_data
from pushpull.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from pushpull.errors import InputError, Interrupted, one_line
from pushpull.evaluation.options import EvaluationOptions
from pushpull.evaluation.ranks import from_first_rank, watched
from pushpull.evaluation.runner import evaluate
from pushpull.files import (
    EPOCHS,
    FULL,
    LAST,
    LOGS,
    RECIPE,
    RESULTS,
    WEIGHTS,
    UnwrittenError,
    check_held,
    folder_lock,
    user_path,
    writable_folder,
)
from pushpull.models import default_input_style, model_preprocessing
from pushpull.models.network import Network, build_model, load_run
from pushpull.training.callbacks import (
    Checkpoints,
    Epochs,
    GateSchedule,
    KeepBest,
    Meeting,
    Rates,
    Repeatable,
    StopAtBadLoss,
    StoppedBySignal,
    WholeCheckpointIO,
    quiet_log_threads,
)
from pushpull.training.folder import (
    begin_folder,
    check_checkpoint,
    check_folder,
    file_digest,
    is_finished,
    read_checkpoint,
    with_full_paths,
)
from pushpull.training.launched import launch, process_group, with_launched
from pushpull.training.loaders import ImageData, check_augment, mixing
from pushpull.training.module import Classifier, check_network, load_teacher
from pushpull.training.recipe import PRECISIONS, Recipe
from pushpull.training.tracking import Tracking, TrainingProgress, recipe_logger

_CHECKPOINT_EVERY_S = 120.0


def train(
    recipe: Recipe,
    output: Path | str,
    *,
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
    progress: bool = True,
    splits: DataSplits | None = None,
    network: Network | None = None,
    teacher: Callable[[Tensor], Tensor] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Path:
    """Train by `recipe` and return the run folder.

    It holds `recipe.yaml`, `inputs.json` (digests of files that it names), `model.safetensors` (the weights
    of the lowest validation error, else the last), `last.ckpt` (to resume from), `logs/` and, in the end,
    `results.json` with the clean test error. On a CPU the same recipe gives the same weights, resumed too.

    Args:
        recipe, output, overwrite: all settings; the run folder; delete the run that is there first.
        resume: continue the run that is there, or raise; learning rates and clip_norm may be others, which
        `rates.json` notes. "auto": continue, or begin, or do nothing if the run is finished.
        progress: show a progress bar, or lines where there is no terminal.
        splits: the data of `recipe.data` where the caller has loaded it already.
        network: train this one, in place, not what `recipe.model` names, and do not evaluate it in the end.
        teacher: whom to distil from where it is no run: a function from uint8 images to logits.
        stop: asked after every step: True ends the run there, to be resumed.

    Returns:
        `output` as a path.

    Raises:
        OutOfTime: `stop` said so; the checkpoint is written.
        InputError: a setting that does not fit, a folder in use, unreadable data or checkpoint, a bad loss.
    """
    folder, recipe = user_path(output), with_full_paths(with_launched(recipe))
    with _held(folder, recipe, resume, overwrite, network is None) as (go_on, checkpoint):
        if go_on:
            _train(recipe, folder, checkpoint, splits, network, teacher, progress, stop)
    return folder


@contextmanager
def _held(
    folder: Path, recipe: Recipe, resume: bool | Literal["auto"], overwrite: bool, measured: bool
) -> Iterator[tuple[bool, tuple[Path, int] | None]]:
    """Hold the folder and the processes of a training; yield what `_opened` found."""
    if resume and overwrite:
        raise InputError("resume continues a run and overwrite deletes it; give one of the two")
    with ExitStack() as held:
        held.enter_context(process_group(recipe))
        yield from_first_rank(lambda: _opened(folder, recipe, resume, overwrite, held, measured))


def _opened(
    folder: Path,
    recipe: Recipe,
    resume: bool | Literal["auto"],
    overwrite: bool,
    held: ExitStack,
    measured: bool,
) -> tuple[bool, tuple[Path, int] | None]:
    """Lock the folder and return whether there is something to do, and the checkpoint to go on from.

    Of the processes of a training the first one does so; those that it starts itself find all as it was.
    """
    explicit, first = resume is True, is_first_process()
    if first:
        writable_folder(folder)
        held.enter_context(folder_lock(folder))
    if resume == "auto":
        if is_finished(folder, recipe, results=measured):
            return False, None
        resume = (folder / LAST).is_file()
        if not resume and (folder / RECIPE).is_file():  # it was killed before its first checkpoint
            check_folder(folder, recipe, resume=True, overwrite=False)
            overwrite = True
    checkpoint = read_checkpoint(folder) if resume else None
    if checkpoint and checkpoint[1] >= recipe.epochs and not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} has no {WEIGHTS}, though its epochs are done; train again with overwrite")
    if first:
        check_folder(folder, recipe, bool(resume), overwrite, other_rates=explicit)
    return True, checkpoint


def _train(
    recipe: Recipe,
    folder: Path,
    checkpoint: tuple[Path, int] | None,
    splits: DataSplits | None,
    network: Network | None,
    teacher: Callable[[Tensor], Tensor] | None,
    progress: bool,
    stop: Callable[[], bool] | None,
) -> None:
    """Train from the start, or on from a checkpoint (path and whole epochs), and evaluate clean images."""
    if checkpoint and progress and is_first_process():
        done = checkpoint[1]  # all of them where only the end is to be made again
        where = f"at epoch {done + 1}" if done < recipe.epochs else f"after epoch {done}"
        print(f"resuming {where} of {recipe.epochs}", file=sys.stderr)
    splits = splits if splits is not None else load_data(recipe.data)
    before = file_digest(folder / WEIGHTS) if checkpoint else None
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        own_logger = recipe_logger(recipe, folder)
        recipe, module, data, trainer = _prepared(recipe, folder, splits, network, teacher, progress, stop)
        if checkpoint is not None:
            check_checkpoint(*checkpoint, recipe, module)
        if trainer.is_global_zero:
            begin_folder(folder, recipe, checkpoint[1] if checkpoint else None)
        path, epochs_done = checkpoint or (None, 0)
        trainer.loggers = [*_loggers(folder, epochs_done), *own_logger]
        try:
            with watched(partial(_started, trainer)):
                _fit(trainer, module, data, path)
                if network is None:
                    _measure(recipe, folder, splits, before)
        except (StoppedBySignal, SIGTERMException, KeyboardInterrupt) as stopped:
            own = network is None  # else the caller's command goes on
            raise _interrupted(folder, recipe, getattr(stopped, "signum", None), own=own) from None
        except OSError as error:  # of the logs: files of our own say it themselves
            check_held(folder / LOGS)
            if error.errno in FULL:
                raise UnwrittenError(Path(error.filename or folder / LOGS), error) from error
            raise


def _fit(trainer: L.Trainer, module: Classifier, data: ImageData, path: Path | None) -> None:
    """Train; where that is interrupted Lightning ends the program, and there are things to say before."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    checkpoints = next(one for one in callbacks if isinstance(one, Checkpoints))
    # Lightning's observer kills this process without a word where another has ended; `watched` says which.
    observer = mock.patch.object(subprocess_script, "_launch_process_observer")
    with checkpoints.signals(), observer, quiet_log_threads():
        try:
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        except (SystemExit, Exception) as error:
            if checkpoints.signum is None and not (isinstance(error, SystemExit) and trainer.interrupted):
                raise
            raise StoppedBySignal(checkpoints.signum or signal.SIGINT) from None


def _started(trainer: L.Trainer) -> list[int]:
    """Return the processes that Lightning has started for other devices."""
    return [child.pid for child in getattr(trainer.strategy.launcher, "procs", ())]


def _measure(recipe: Recipe, folder: Path, splits: DataSplits, before: str | None) -> None:
    """Measure the clean error; what was evaluated of the very same weights, corruptions included, stays."""
    evaluated = from_first_rank(
        lambda: (folder / RESULTS).is_file() and before == file_digest(folder / WEIGHTS)
    )
    if splits.test is not None and not evaluated:
        device = "cpu" if recipe.accelerator == "cpu" else "auto"
        clean = EvaluationOptions(corruptions=(), output=str(folder), overwrite=True, device=device)
        evaluate(load_run(folder), splits, clean, progress=False)


def _interrupted(folder: Path, recipe: Recipe, signum: int | None, *, own: bool) -> Interrupted:
    """Return what says how far a training is, and how to go on."""
    try:
        _, done = read_checkpoint(folder)
        where = f"in epoch {done + 1} of {recipe.epochs} with a checkpoint"
        where = where if done < recipe.epochs else "after the last epoch, before the clean error was measured"
    except InputError:
        where = "before the first checkpoint"
    place = ["--config", str(folder / RECIPE), "--output", str(folder)]
    command = shlex.join(["pushpull", "train", *place, "--resume", "auto"])
    return Interrupted(f"stopped {where}", signum or signal.SIGTERM, go_on=command if own else None)


def is_first_process() -> bool:
    """Whether this is the process that writes, of those that Lightning starts for several devices."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _prepared(
    recipe: Recipe,
    folder: Path,
    splits: DataSplits,
    network: Network | None,
    teacher: Callable[[Tensor], Tensor] | None,
    progress: bool,
    stop: Callable[[], bool] | None,
) -> tuple[Recipe, Classifier, ImageData, L.Trainer]:
    """Return the recipe without open settings and what is trained, on which data, by which trainer.

    What cannot be trained is refused here, before anything of a run that is there is deleted.
    """
    if recipe.loss.teacher:
        teacher = load_teacher(recipe.loss.teacher, splits.classes)
    torch.manual_seed(recipe.seed)
    recipe, model, preprocessing = _network(recipe, splits, network)
    data = ImageData(recipe, splits)
    try:
        trainer = _trainer(recipe, folder, splits, progress, stop)
    except (MisconfigurationException, TypeError) as error:  # the latter of numbers of CPUs
        raise InputError(
            f"accelerator={recipe.accelerator!r} with devices={recipe.devices} is not available here "
            f"({one_line(error)}); try cpu or auto"
        ) from error
    if progress and recipe.precision == "bf16" and trainer.strategy.root_device.type == "cpu":
        _say_slow_bfloat16()
    module = Classifier(
        model,
        preprocessing,
        recipe.optim,
        data.steps_per_epoch(trainer.world_size) * recipe.epochs,
        recipe.channels_last,
        loss=recipe.loss,
        teacher=teacher,
        compile=recipe.compile,
        mix=mixing(recipe.augment, len(splits.classes)),
    )
    return recipe, module, data, trainer


@rank_zero_only
def _say_slow_bfloat16() -> None:
    """Say that bfloat16 is slower than float32 on a CPU that has no instructions for it."""
    # A step of a ResNet-10 at 96 px on such a CPU (AVX2, one thread): float32 2.0 s, bfloat16 17 s.
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        print(
            "pushpull: note: this processor has no instructions for bfloat16, so precision bf16 trains "
            "several times slower here than fp32 (--precision fp32)",
            file=sys.stderr,
        )


def _network(
    recipe: Recipe, splits: DataSplits, network: Network | None
) -> tuple[Recipe, nn.Module, Preprocessing]:
    """Return the recipe without open settings, its network, and what that expects of a batch."""
    crop, name = recipe.augment.crop, recipe.model.name
    side = crop or max(splits.image_size or (224,))
    style = recipe.model.input_style or default_input_style(name, side)
    recipe = replace(recipe, model=replace(recipe.model, input_style=style))
    model = network.model if network else build_model(recipe.model, len(splits.classes))
    own = network.preprocessing if network else None
    if recipe.model.pretrained:
        own = model_preprocessing(model, published=True)
    preprocessing = recipe.preprocessing or own or Preprocessing(IMAGENET_MEAN, IMAGENET_STD)
    if recipe.size is not None:
        preprocessing = replace(preprocessing, size=(recipe.size, recipe.size))
    check_augment(recipe.augment, splits)
    sizes = {size for size in (splits.image_size, (crop, crop) if crop else None) if size is not None}
    check_network(model, name, preprocessing, sizes, len(splits.classes))
    return replace(recipe, preprocessing=preprocessing), model, preprocessing


def _loggers(folder: Path, epochs_done: int) -> list[Logger]:
    """Return the loggers; Lightning's CSV one deletes what is there: the lines of finished epochs return."""
    path, rows = folder / LOGS / "metrics.csv", []
    if epochs_done and path.is_file() and is_first_process():
        with path.open(newline="") as file:
            whole = (row for row in csv.DictReader(file) if (row["epoch"] or "").isdecimal())  # not cut short
            rows = [row for row in whole if int(row["epoch"]) < epochs_done]
    table = CSVLogger(folder, LOGS, version="")
    if rows:
        table.experiment.metrics.extend(rows)
        table.save()
    return [TensorBoardLogger(folder, LOGS, version=""), table]


def _trainer(
    recipe: Recipe, folder: Path, splits: DataSplits, progress: bool, stop: Callable[[], bool] | None
) -> L.Trainer:
    # Its hints and the list of devices that it did not find are noise to the user of a finished recipe.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Buffers are copied, not averaged: the gate of a stem comes to 1.
    decay = recipe.optim.ema
    average = None if decay is None else EMAWeightAveraging(decay=decay, use_buffers=False)
    return L.Trainer(
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        num_nodes=recipe.num_nodes,
        precision=PRECISIONS[recipe.precision],  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        gradient_clip_val=recipe.optim.clip_norm,
        callbacks=[
            Meeting(),
            Repeatable(recipe.seed),
            *([GateSchedule(recipe.optim.gate_share)] if recipe.model.start == "preserve" else []),
            StopAtBadLoss(),
            Rates(recipe.optim),
            Epochs(folder / EPOCHS),
            Tracking(recipe),
            *([average] if average else []),
            KeepBest(folder / WEIGHTS, _metadata(recipe, splits.classes), average),
            Checkpoints(folder / LAST, every_s=_CHECKPOINT_EVERY_S, stop=stop),
            ModelCheckpoint(folder, Path(LAST).stem, save_top_k=1, enable_version_counter=False),
            *([TrainingProgress(bar=sys.stderr.isatty())] if progress else []),
        ],
        plugins=[WholeCheckpointIO(), *([TorchElasticEnvironment()] if launch() else [])],
        logger=False,
        default_root_dir=folder,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _metadata(recipe: Recipe, classes: list[str]) -> dict[str, str]:
    """Return what the file of weights says of its network."""
    preprocessing = recipe.preprocessing
    return {
        "model": recipe.model.name,
        "stem": recipe.model.stem,
        "input_style": str(recipe.model.input_style),
        "alpha": json.dumps(recipe.model.alpha),
        "classes": json.dumps(classes),
        "preprocessing": json.dumps(preprocessing.to_dict() if preprocessing else None),
    }
