"""The next batch is made ready while the network works on the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pushpull.data import Batch


class Ready(NamedTuple):
    """What goes into the network, the labels, and the images' rows, all on its device."""

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not needed


def prepared(
    batches: Iterator[Batch], prepare: Callable[[Batch], Tensor], device: torch.device
) -> Iterator[Ready]:
    """Yield every batch prepared; on a GPU the next one is prepared while the consumer's work runs.

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


def _ready(batch: Batch, prepare: Callable[[Batch], Tensor], device: torch.device) -> Ready:
    # Not around the loop: the data keeps what it decodes, and training may not use inference tensors.
    with torch.inference_mode():
        batch = batch.to(device)
        return Ready(prepare(batch), batch.labels, batch.index)


def _prepared_aside(
    batches: Iterator[Batch], prepare: Callable[[Batch], Tensor], device: torch.device
) -> Iterator[Ready]:
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)  # what the batches were made from may still be on its way

    def begin() -> tuple[Ready, torch.cuda.Event] | None:
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
