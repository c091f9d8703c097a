"""How far a training is: a line for each epoch, and below them a bar where there is a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
