"""What a training run does besides training: keep the best weights, be repeatable, say how far it is."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pushpull.errors import InputError
from pushpull.files import atomic_path, write_json
from pushpull.models.loading import save_weights
from pushpull.unit.gate import gate_at, gates, set_gate


class GateSchedule(L.Callback):
    """Move the gate of the push-pull units from 0 to 1 in a straight line over the first steps.

    For any Lightning training of a model after `replace_first_conv(..., start="preserve")`; see
    `pushpull.gate_at`. A resumed training goes on where it was.

    Args:
        share: of all steps, in [0, 1].
    """

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        gate_at(0, 1, share)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the gate of this step."""
        steps = int(trainer.estimated_stepping_batches)
        set_gate(pl_module, gate_at(trainer.global_step, steps, self.share))


class KeepBest(L.Callback):
    """Write the weights whenever the validation error is the lowest so far; without one, every epoch.

    While a gate moves, the last weights count: those before are not yet of the network that is wanted.

    Args:
        path: the file.
        metadata: strings that describe the network; stored in the file.
        average: whose average of the weights is written in their place, or None.
    """

    def __init__(self, path: Path, metadata: dict[str, str], average: WeightAveraging | None = None) -> None:
        self.path, self.metadata, self.average = path, metadata, average
        self.best_error, self.best_epoch = math.inf, -1

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best_error": self.best_error, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where `state_dict` left off."""
        self.best_error, self.best_epoch = state_dict["best_error"], state_dict["best_epoch"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compare and write; on every device, since gathering sharded weights takes them all."""
        error = float(trainer.callback_metrics.get("validation_error", math.nan))
        if error >= self.best_error:
            return
        opened = gates(pl_module)
        moving = opened is not None and bool((opened < 1).any())
        self.best_epoch = trainer.current_epoch
        self.best_error = error if not (moving or math.isnan(error)) else self.best_error
        if trainer.is_global_zero:
            metadata = self.metadata | {"epoch": str(self.best_epoch + 1), "validation_error": str(error)}
            averaged: Any = self.average._average_model if self.average else None
            save_weights((averaged.module if averaged else pl_module).model, self.path, metadata)


class Repeatable(L.Callback):
    """Seed every step by its number: a resumed run draws what an uninterrupted one would (dropout)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed torch; `train` gives the callers' generator back."""
        numbers = f"{self.seed},{trainer.current_epoch},{batch_idx},{trainer.global_rank}"
        torch.manual_seed(zlib.crc32(numbers.encode()))


class OutOfTime(Exception):  # noqa: N818 - not an error: what was done is on disk
    """Training or evaluation stopped because it was asked to; what is left can be continued."""


class StoppedBySignal(OutOfTime):
    """SIGTERM or SIGINT asked a training to stop; the checkpoint is written.

    Args:
        signum: which; where another process got it, SIGTERM.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class WholeCheckpointIO(TorchCheckpointIO):
    """Write checkpoints beside where they go, so that a kill at any moment leaves the one before or the new.

    Lightning's own go through the system's temporary folder, from which they are copied, not moved, wherever
    that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; only the first process is asked to."""
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)


class Checkpoints(L.Callback):
    """Keep the checkpoint to resume from fresh within an epoch, and stop when asked to, by signals too.

    The first SIGTERM or SIGINT stops after the step at hand, a second one ends the process at once.

    Args:
        path: the file; it is replaced whole.
        every_s: seconds between two checkpoints.
        stop: asked after every step; True writes the checkpoint and raises `OutOfTime`.
    """

    def __init__(self, path: Path, *, every_s: float, stop: Callable[[], bool] | None) -> None:
        self.path, self.every_s, self.stop = path, every_s, stop
        self.written = time.monotonic()
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals from Lightning, which would end with exit code 0 or 1 and without a checkpoint."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)

    def _receive(self, signum: int, _: Any) -> None:
        if self.signum is not None:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.signum = signum

    def teardown(self, *_: Any, **__: Any) -> None:
        """Give the signals back, also where training ends by an exception."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    on_exception = teardown

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The end of the last epoch is on disk: nothing is lost by stopping here."""
        self.written = time.monotonic()
        if trainer.current_epoch and self._agreed(trainer, self._asked()):
            raise self._end(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write, and stop, but for the last step: the end of the epoch writes too."""
        if trainer.is_last_batch or (trainer.world_size > 1 and batch_idx % 20):
            return  # several devices must agree, and asking costs them a message
        stop = self._agreed(trainer, self._asked())
        if stop or self._agreed(trainer, time.monotonic() - self.written > self.every_s):
            trainer.save_checkpoint(self.path)
            self.written = time.monotonic()
        if stop:
            raise self._end(trainer)

    def _asked(self) -> bool:
        return self.signum is not None or (self.stop is not None and self.stop())

    def _end(self, trainer: L.Trainer) -> OutOfTime:
        """Return what ends the training: of several devices all must agree why."""
        by_signal = self._agreed(trainer, self.signum is not None)
        return StoppedBySignal(self.signum or signal.SIGTERM) if by_signal else OutOfTime()

    def _agreed(self, trainer: L.Trainer, wish: bool) -> bool:
        return trainer.strategy.reduce_boolean_decision(wish, all=False) if trainer.world_size > 1 else wish


class Epochs(L.Callback):
    """Note after every epoch how many are done: a run that has not gone to its end must not look finished.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what is done when the training begins or goes on."""
        self._write(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the epoch."""
        self._write(trainer, trainer.current_epoch + 1)

    def _write(self, trainer: L.Trainer, done: int) -> None:
        if trainer.is_global_zero:
            write_json(self.path, {"done": done, "of": trainer.max_epochs})


class StopAtBadLoss(L.Callback):
    """Stop at the first epoch whose loss is not a number: what follows would be wasted."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Raise `InputError`."""
        loss = float(pl_module.train_loss.compute())
        if not math.isfinite(loss):
            raise InputError(
                f"the training loss is {loss} in epoch {trainer.current_epoch + 1}; lower optim.max_lr "
                "or set optim.clip_norm"
            )


class EpochLines(L.Callback):
    """One line per epoch, for where a progress bar cannot be drawn (a file, a pipe, a CI log)."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; an epoch that goes on after a stop has no start here."""
        self.start = time.perf_counter()

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
