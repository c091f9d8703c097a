"""What a training run does besides training: keep the best weights, be repeatable, say how far it is."""

from __future__ import annotations

import math
import os
import shlex
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pushpull.errors import InputError
from pushpull.evaluation.ranks import meet
from pushpull.files import LAST, RECIPE, atomic_path, write_json
from pushpull.models.loading import save_weights
from pushpull.training.recipe import OptimConfig
from pushpull.unit.gate import gate_at, gates, set_gate

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        steps = trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise InputError(
                "GateSchedule must know how long the training is: give the Trainer max_epochs or max_steps"
            )
        set_gate(pl_module, gate_at(trainer.global_step, int(steps), self.share))


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
        moving = any(gate < 1 for gate in gates(pl_module))
        self.best_epoch = trainer.current_epoch
        self.best_error = error if not (moving or math.isnan(error)) else self.best_error
        if trainer.is_global_zero:
            metadata = self.metadata | {"epoch": str(self.best_epoch + 1), "validation_error": str(error)}
            averaged: Any = self.average._average_model if self.average else None
            save_weights((averaged.module if averaged else pl_module).model, self.path, metadata)


class Meeting(L.Callback):
    """Learn where the other processes of the training are, so that one that ends is named."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask them; the launcher has started all of them by now."""
        meet()


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


@contextmanager
def quiet_log_threads() -> Iterator[None]:
    """Have the thread that writes TensorBoard's files print no traceback: its error is raised by the next
    line that is logged.
    """
    before = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        if raised.thread is None or type(raised.thread).__name__ != "_AsyncWriterThread":
            before(raised)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


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
        self._asked_at, self._next, self._since = 0, 0, time.monotonic()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take the signals while a trainer works, and give them back.

        Raises:
            StoppedBySignal: one came too late for the training to notice.
        """
        self.signum, mine = None, threading.current_thread() is threading.main_thread()
        before = {number: signal.getsignal(number) for number in _SIGNALS} if mine else {}
        try:
            self._take()
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.signum is not None:
            raise StoppedBySignal(self.signum)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals from Lightning, which would end with exit code 0 or 1 and without a checkpoint."""
        self._take()

    def _take(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._receive)

    def _receive(self, signum: int, _: Any) -> None:
        if self.signum is not None:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.signum = signum

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The end of the last epoch is on disk: nothing is lost by stopping here."""
        self.written = time.monotonic()
        if trainer.current_epoch and self._agreed(trainer, self._asked()):
            raise self._end(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write, and stop, but for the last step: the end of the epoch writes too."""
        if trainer.is_last_batch or (trainer.world_size > 1 and not self._time_to_ask(trainer)):
            return
        stop = self._agreed(trainer, self._asked())
        if stop or self._agreed(trainer, time.monotonic() - self.written > self.every_s):
            trainer.save_checkpoint(self.path)
            self.written = time.monotonic()
        if stop:
            raise self._end(trainer)

    def _time_to_ask(self, trainer: L.Trainer) -> bool:
        """Whether several devices ask each other now, which costs a message: all after the same steps.

        That is every 20, or fewer where they take long: two seconds' steps, as the first device counts.
        """
        step = trainer.global_step
        if step < self._next:
            return False
        now = time.monotonic()
        seconds = (now - self._since) / max(1, step - self._asked_at)
        steps = trainer.strategy.broadcast(max(1, min(20, int(2 / max(seconds, 1e-9)))))
        self._asked_at, self._next, self._since = step, step + steps, now
        return True

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


class BadLossError(InputError):
    """The loss, or a weight, is no number any more.

    Args:
        problem: what, and when.
        remedy: what to do where the training is a command of its own.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


class StopAtBadLoss(L.Callback):
    """Stop at the first epoch whose loss is not a number: what follows would be wasted.

    No checkpoint is written of such a training, so that the one before can be gone on from.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Raise `InputError`."""
        self._check_loss(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Raise `InputError` before anything is written; the last step may have spoiled the weights alone."""
        if pl_module.train_loss.update_called:  # at the end of an epoch it begins again
            self._check_loss(trainer, pl_module)
        if not all(bool(weight.isfinite().all()) for weight in pl_module.model.parameters()):
            raise self._error(trainer, "weights are not finite")

    def _check_loss(self, trainer: L.Trainer, pl_module: Any) -> None:
        loss = float(pl_module.train_loss.compute())
        if not math.isfinite(loss):
            raise self._error(trainer, f"training loss is {loss}")

    def _error(self, trainer: L.Trainer, problem: str) -> InputError:
        folder, where = trainer.default_root_dir, f"the {problem} in epoch {trainer.current_epoch + 1}"
        if not Path(folder, LAST).is_file():
            return BadLossError(where, "lower optim.max_lr or set optim.clip_norm")
        command = ["pushpull", "train", "--config", str(Path(folder, RECIPE)), "--output", folder, "--resume"]
        return BadLossError(
            where,
            "lower optim.max_lr or set optim.clip_norm, from the checkpoint before: "
            f"{shlex.join(command)} --optim.max_lr LOWER",
        )


class Rates(L.Callback):
    """Give a resumed training the learning rates of its recipe, where its checkpoint has others.

    Args:
        optim: the recipe's.
    """

    def __init__(self, optim: OptimConfig) -> None:
        # As the schedule computes them, so that rates that are the same are so to the bit.
        initial = optim.max_lr / (optim.max_lr / optim.initial_lr)
        final = initial / (optim.initial_lr / optim.final_lr)
        self.rates = {"initial_lr": initial, "max_lr": optim.max_lr, "min_lr": final}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them in place of those that the checkpoint has brought."""
        for optimizer, config in zip(trainer.optimizers, trainer.lr_scheduler_configs, strict=True):
            schedule: Any = config.scheduler
            if all(group | self.rates == group for group in optimizer.param_groups):
                continue
            for group in optimizer.param_groups:
                group.update(self.rates)
            schedule.base_lrs = [self.rates["initial_lr"]] * len(optimizer.param_groups)
            with warnings.catch_warnings(action="ignore"):  # it is for within a step
                now = schedule.get_lr()
            for group, rate in zip(optimizer.param_groups, now, strict=True):
                group["lr"] = rate
