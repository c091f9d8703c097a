"""How far a training is: lines and a bar for people, and what loggers get besides loss and error."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch import loggers
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torchvision.utils import make_grid

from pushpull.errors import InputError, choice, one_line
from pushpull.files import LOGS
from pushpull.training.recipe import Recipe

_SHEET = 32  # images
_FILTER_PX = 24  # side that a filter is enlarged to, at least


class Tracking(L.Callback):
    """Give loggers the learning rate, the time, the recipe, the first layer's filters, augmented images.

    Pictures and the recipe go to TensorBoard; figures also to a logger of the recipe. `metrics.csv` of a run
    stays as it is: the same recipe gives the same file.

    Args:
        recipe: of the run.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.began = recipe, time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the recipe and the filters before the first step."""
        if not trainer.is_global_zero:
            return
        text = yaml.safe_dump(self.recipe.to_dict(), sort_keys=False, allow_unicode=True)
        for board in _boards(trainer):
            board.experiment.add_text("recipe", f"```yaml\n{text}```", trainer.current_epoch)
        self._filters(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate, and of an epoch's first batch the images, as they are trained on."""
        if not trainer.is_global_zero:
            return
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            rates = {group["lr"] for one in trainer.optimizers for group in one.param_groups}
            _log(trainer, {"learning_rate": max(rates)})
        if batch_idx == 0:
            images = batch[0][:_SHEET].detach().cpu()
            images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
            for board in _boards(trainer):
                sheet = make_grid(images, nrow=8, padding=2)
                board.experiment.add_image("augmented images", sheet, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time and the filters."""
        if trainer.is_global_zero:
            _log(trainer, {"epoch_seconds": time.perf_counter() - self.began})
            self._filters(trainer, pl_module)

    def _filters(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        picture = filter_sheet(pl_module)
        for board in _boards(trainer) if picture is not None else ():
            board.experiment.add_image("first layer", picture, trainer.global_step)


def _boards(trainer: L.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def _log(trainer: L.Trainer, figures: Mapping[str, float]) -> None:
    """Log to all loggers but the run's own table."""
    for logger in trainer.loggers:
        if logger is not trainer.loggers[1]:
            logger.log_metrics(dict(figures), step=trainer.global_step)


def filter_sheet(model: nn.Module) -> Tensor | None:
    """Return the kernels of the first layer that takes RGB images, side by side; None without one.

    Grey is 0; all share one scale, the largest value of any.

    Returns:
        (3, H, W) in [0, 1].
    """
    weights = (getattr(layer, "weight", None) for layer in model.modules())
    of_images = (one for one in weights if isinstance(one, Tensor) and one.ndim == 4 and one.shape[1] == 3)
    kernels = next(of_images, None)
    if kernels is None:
        return None
    kernels = kernels.detach().float().cpu().nan_to_num()
    kernels = 0.5 + 0.5 * kernels / kernels.abs().max().clamp_min(1e-12)
    factor = max(1, _FILTER_PX // max(kernels.shape[2:]))
    return make_grid(F.interpolate(kernels, scale_factor=factor, mode="nearest"), nrow=8, padding=2)


def recipe_logger(recipe: Recipe, folder: Path) -> list[Logger]:
    """Return the logger that a recipe asks for, in a list; an empty one where it asks for none.

    Where the class takes a folder (`save_dir`) and the recipe names none, it is the run's `logs`.

    Raises:
        InputError: it is none of Lightning's, nor one that a plugin defines; it needs a package that is not
            installed, or refuses its arguments.
    """
    if recipe.logger is None:
        return []
    name = str(recipe.logger["class_path"])
    module, _, short = name.rpartition(".")
    known = {one: getattr(loggers, one) for one in loggers.__all__ if one != "Logger"}
    own = {kind.__name__: kind for kind in _subclasses(Logger)}  # type: ignore[type-abstract]
    kinds = known | {name: kind for name, kind in own.items() if name not in known}
    kind = kinds[choice("logger.class_path", short, kinds)]
    if module and module not in (kind.__module__, loggers.__name__, "pytorch_lightning.loggers"):
        raise InputError(
            f"logger.class_path={name!r} is not among Lightning's loggers: give its name, such as {short}, "
            "or load the file that defines it (--plugins)"
        )
    arguments = dict(recipe.logger.get("init_args") or {})
    if "save_dir" in inspect.signature(kind).parameters:
        arguments.setdefault("save_dir", str(folder / LOGS))
    try:
        return [kind(**arguments)]
    except ImportError as error:
        raise InputError(
            f"logger.class_path={name!r} needs a package that is not installed ({one_line(error)}); install "
            "it, or choose CSVLogger"
        ) from error
    except Exception as error:  # whatever a logger raises at its arguments
        raise InputError(
            f"logger.init_args={arguments} are refused by {short} ({one_line(error)}); give others"
        ) from error


def _subclasses(kind: type[Logger]) -> Iterator[type[Logger]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


class TrainingProgress(L.Callback):
    """Print a line for each epoch, which stays, on standard error.

    Args:
        bar: draw a bar of all steps below them too: for a terminal, not for a file, a pipe or a CI log. Its
            clock runs from the start, in the minutes before the first step too, and it is narrower than 80
            columns.
    """

    def __init__(self, *, bar: bool) -> None:
        self.bar, self.start = bar, time.perf_counter()
        self.drawn: Progress | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the bar, before anything is known of the steps."""
        if self.bar and trainer.is_global_zero:
            columns = TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn()
            times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
            self.drawn = Progress(*columns, *times, console=Console(stderr=True), transient=True)
            self.drawn.add_task("preparing", total=None)
            self.drawn.start()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the bar its length; a training that goes on begins within it."""
        if self.drawn:
            steps = int(trainer.num_training_batches)
            self.drawn.update(self.drawn.task_ids[0], total=steps * int(trainer.max_epochs or 1))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; an epoch that goes on after a stop has no start here."""
        self.start = time.perf_counter()
        self._tell(trainer, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        self._tell(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Print the line."""
        seconds = time.perf_counter() - self.start
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        parts.append(f"loss {float(pl_module.train_loss.compute()):.3f}")
        if "validation_error" in trainer.callback_metrics:
            parts.append(f"validation error {float(trainer.callback_metrics['validation_error']):.1%}")
        parts.append(f"{seconds:.1f} s")
        if trainer.is_global_zero:
            print("  ".join(parts), file=sys.stderr, flush=True)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away, so that what is said stands below the lines."""
        self._end()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the bar away."""
        self._end()

    def _tell(self, trainer: L.Trainer, steps: int) -> None:
        if self.drawn:
            done = trainer.current_epoch * int(trainer.num_training_batches) + steps
            said = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.drawn.update(self.drawn.task_ids[0], description=said, completed=done)

    def _end(self) -> None:
        if self.drawn:
            self.drawn.stop()
            self.drawn = None
