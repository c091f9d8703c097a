"""Preparing batches: what comes out on a CPU, and that streams are for GPUs alone."""

import torch

from pushpull.data import Batch
from pushpull.evaluation import passes
from pushpull.evaluation.passes import prepared

CPU = torch.device("cpu")


def batches(log):
    for number in range(3):
        log.append(f"batch {number}")
        images = torch.full((2, 3, 4, 4), number, dtype=torch.uint8)
        yield Batch(images, torch.tensor([number, number]), torch.tensor([0, 1]))


def test_batches_come_prepared_one_at_a_time_and_in_order(monkeypatch):
    monkeypatch.setattr(passes, "_prepared_aside", None)  # would raise if it were taken
    log = []

    def prepare(batch):
        assert torch.is_inference_mode_enabled()
        log.append(f"prepare {int(batch.images[0, 0, 0, 0])}")
        return batch.images.float() + 0.5

    for number, (images, labels, _) in enumerate(prepared(batches(log), prepare, CPU)):
        assert not torch.is_inference_mode_enabled()
        log.append(f"network {number}")
        assert images.unique().tolist() == [number + 0.5]
        assert labels.tolist() == [number, number]
    assert log == [f"{step} {n}" for n in range(3) for step in ("batch", "prepare", "network")]


def test_no_batch_at_all():
    assert list(prepared(iter(()), lambda batch: batch.images, CPU)) == []


def test_a_gpu_takes_the_other_path(monkeypatch):
    asked = []
    monkeypatch.setattr(passes, "_prepared_aside", lambda *arguments: iter(asked.append(arguments) or ()))
    assert list(prepared(iter(()), None, torch.device("cuda:1"))) == []
    assert asked[0][2] == torch.device("cuda:1")


class Stream:
    """Stands for a CUDA stream or event: writes down what is asked of it."""

    def __init__(self, name, log):
        self.name, self.log, self.events = name, log, 0

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for {event.name}")

    def record_event(self):
        self.events += 1
        return Stream(f"{self.name}{self.events}", self.log)

    def synchronize(self):
        self.log.append(f"host waits for {self.name}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None


def test_the_order_of_work_on_a_gpu(monkeypatch):
    """Batch n + 1 is queued after network n, and the host is never more than two networks ahead."""
    log = []
    main, side = Stream("main", log), Stream("side", log)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)

    def prepare(batch):
        log.append(f"prepare {int(batch.images[0, 0, 0, 0])}")
        return batch.images

    for number, _ in enumerate(passes._prepared_aside(batches([]), prepare, CPU)):
        log.append(f"network {number}")
    assert log == [
        "side waits for main",
        "prepare 0",
        "main waits for side1",
        "network 0",
        "prepare 1",
        "main waits for side2",
        "network 1",
        "host waits for main1",
        "prepare 2",
        "main waits for side3",
        "network 2",
        "host waits for main2",
    ]
