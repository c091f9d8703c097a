"""What one pass over the images takes: adapted batch norms, batches made ready, counts, the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pushpull.data import Batch
from pushpull.errors import InputError, one_line
from pushpull.evaluation.metrics import calibration, calibration_sums
from pushpull.evaluation.ranks import sum_over_ranks
from pushpull.evaluation.results import Condition

# Of calibration: a sum's last digits depend on the order of its terms, so on batch size and ranks.
_DIGITS = 6


class Tally:
    """Counts by class over batches.

    Args:
        classes: number of logits.
        device: where logits and labels are.
        keep: whether every image's answer is kept too.
    """

    def __init__(self, classes: int, device: torch.device, *, keep: bool = False) -> None:
        self._classes = classes
        # Columns: images, wrong by top-1, wrong by top-5, not a number.
        self._counts = torch.zeros(classes, 4, dtype=torch.int64, device=device)
        self._calibration: Tensor | None = None
        self._answers: list[tuple[Tensor, ...]] | None = [] if keep else None

    def add(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Count a batch: (n, classes) logits, (n,) int64 labels in 0..classes-1, (n,) int64 rows of images.

        Equal logits rank by class number, lowest first. An image with a NaN logit is wrong.
        """
        target = logits.gather(1, labels[:, None])
        numbers = torch.arange(self._classes, device=logits.device)
        rank = ((logits > target) | ((logits == target) & (numbers < labels[:, None]))).sum(dim=1)
        broken = logits.isnan().any(dim=1)
        columns = [torch.ones_like(broken), (rank >= 1) | broken, (rank >= 5) | broken, broken]
        self._counts.index_add_(0, labels, torch.stack(columns, dim=1).long())
        sums = calibration_sums(logits, labels)
        self._calibration = sums if self._calibration is None else self._calibration + sums
        if self._answers is not None:
            highest = logits.amax(dim=1, keepdim=True)
            first = torch.where(logits == highest, numbers, self._classes).amin(dim=1)
            confidence = (highest[:, 0].float() - logits.float().logsumexp(dim=1)).exp()
            self._answers.append((index, labels, first.where(~broken, -1), confidence))

    def answers(self) -> list[Tensor]:
        """Return this rank's images, on the CPU: rows, labels, answers, confidences.

        Returns:
            (n,) int64 each, the confidences float32 in [0, 1]; with a NaN logit the answer is -1, the
            confidence NaN.
        """
        assert self._answers is not None
        return [torch.cat(column).cpu() for column in zip(*self._answers, strict=True)]

    def condition(self, seconds: float) -> tuple[Condition, int]:
        """Return every rank's counts together as errors in [0, 1], and how many images had a NaN logit.

        Top-5 only where there are more than five classes.
        """
        assert self._calibration is not None
        rows = sum_over_ranks(self._counts).tolist()
        images, wrong, wrong5, broken = (sum(column) for column in zip(*rows, strict=True))
        calibrated = calibration(sum_over_ranks(self._calibration))
        ece, nll, brier = [round(value, _DIGITS) for value in calibrated] if calibrated else [None] * 3
        condition = Condition(
            top1_error=wrong / images,
            top5_error=wrong5 / images if self._classes > 5 else None,
            class_errors=[bad / count if count else None for count, bad, _, _ in rows],
            images=images,
            seconds=seconds,
            ece=ece,
            nll=nll,
            brier=brier,
        )
        return condition, broken


_Ready = tuple[Tensor, Tensor, Tensor]  # what goes into the network, labels, rows of the images


def prepared(
    batches: Iterator[Batch], prepare: Callable[[Batch], Tensor], device: torch.device
) -> Iterator[_Ready]:
    """Yield every batch as it goes into the network, on its device; a GPU prepares one ahead meanwhile.

    Args:
        batches: uint8 images, on the host or on `device`. What they yield may be kept by the data.
        prepare: from a batch on `device` to the network's input; runs in inference mode.
        device: the network's.
    """
    if device.type == "cuda":
        yield from _prepared_aside(batches, prepare, device)
        return
    for batch in batches:
        yield _ready(batch, prepare, device)


def _ready(batch: Batch, prepare: Callable[[Batch], Tensor], device: torch.device) -> _Ready:
    # Not around the loop: the data keeps what it decodes, and training may not use inference tensors.
    with torch.inference_mode():
        batch = batch.to(device)
        return prepare(batch), batch.labels, batch.index


def _prepared_aside(
    batches: Iterator[Batch], prepare: Callable[[Batch], Tensor], device: torch.device
) -> Iterator[_Ready]:
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)  # what the batches were made from may still be on its way

    def begin() -> tuple[_Ready, torch.cuda.Event] | None:
        """Queue the next batch on the side stream."""
        with torch.cuda.stream(side):
            batch = next(batches, None)
            if batch is None:
                return None
            ready = _ready(_pinned(batch, device), prepare, device)
            return ready, side.record_event()

    pending, consumed = begin(), None
    while pending is not None:
        ready, event = pending
        main.wait_event(event)
        for tensor in ready:
            tensor.record_stream(main)  # allocated on the side stream, freed only after main has used it
        yield ready
        # The consumer has queued its work on main. Two batches in flight are enough; without this wait the
        # host would run ahead and fill the memory with batches that wait for the network.
        before, consumed = consumed, main.record_event()
        if before is not None:
            before.synchronize()
        del ready
        pending = begin()


def _pinned(batch: Batch, device: torch.device) -> Batch:
    """Return the batch in page-locked memory, from where copies run beside computing; or as it is."""
    # By type: "cuda" and "cuda:0" are the same device but not equal.
    if batch.images.device.type == device.type:
        return batch
    return Batch(*(tensor.pin_memory() for tensor in batch))


class Progress:
    """One bar for all conditions.

    Args:
        rich: the library's display, with one task.
        images: how many a condition has.
    """

    def __init__(self, rich: Any, images: int) -> None:
        self.rich, self.task, self.images, self.done = rich, rich.tasks[0].id, images, 0

    def begin(self, title: str) -> None:
        """Say which condition begins."""
        self.rich.update(self.task, description=title)

    def advance(self, images: int) -> None:
        """Count images that are done."""
        self.rich.advance(self.task, images)

    def finish(self) -> None:
        """Count the condition: unreadable images were not counted, and the bar still ends full."""
        self.done += 1
        self.rich.update(self.task, done=self.done, completed=self.done * self.images)


@contextmanager
def progress_bar(conditions: int, images: int, what: str = "conditions") -> Iterator[Progress]:
    """Show conditions done, images per second and the time left on standard error.

    Args:
        conditions: how many there are to do.
        images: how many each has.
        what: they are called.
    """
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as RichTask
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: RichTask) -> Text:
            return Text(f"{task.speed:,.0f} images/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}/{task.fields[conditions]} {task.fields[what]}"),
        Speed(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich:
        rich.add_task("", total=conditions * images, done=0, conditions=conditions, what=what)
        yield Progress(rich, images)


def tracking_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms with running statistics."""
    return [unit for unit in model.modules() if isinstance(unit, _BatchNorm) and unit.track_running_stats]


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms with running statistics; none is an `InputError`."""
    norms = tracking_norms(model)
    if not norms:
        raise InputError(
            f"adapt=bn: the {type(model).__name__} has no batch norm with running statistics; leave adapt out"
        )
    return norms


@contextmanager
def adapted_norms(
    model: nn.Module, call: Callable[[Tensor], Any], images: Tensor, prior: float
) -> Iterator[None]:
    """Have the batch norms' statistics mixed with those of `images`, then restore them.

    mean = N / (N + n) mean_source + n / (N + n) mean_target, variances alike; n images, prior weight N. The
    statistics of a norm are of what the norms before it, taking this batch's own, let through.

    Args:
        model: in evaluation mode.
        call: runs it.
        images: (n, 3, H, W), what the network takes.
        prior: N >= 0; 0 replaces the statistics.

    Raises:
        InputError: too few images for a variance.

    Source: Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation",
        NeurIPS 2020, equation 3.
    """
    norms = batch_norms(model)
    kept = [(norm.momentum, {k: v.clone() for k, v in norm.named_buffers()}) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = len(images) / (prior + len(images))
            norm.train()
        try:
            with torch.no_grad():
                call(images)
        except ValueError as error:  # one value of a channel has no variance
            raise InputError(f"adapt=bn: {one_line(error)}; give more images (--adapt-images)") from error
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.eval()
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
