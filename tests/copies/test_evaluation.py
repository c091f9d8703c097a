"""A copy on disk gives the errors that evaluation has with the same images made in memory."""

import pytest
import torch
from torch import nn

from copies.made import CLASSES, QUICK
from pushpull import evaluate
from pushpull.copies import write_corrupted
from pushpull.data import ImageSplit


@pytest.mark.parametrize(
    ("form", "quality"),
    [("parquet", None), ("folder", 50), ("npy", 50), ("webdataset", None), ("webdataset", 50)],
)
def test_errors_on_disk_are_those_in_memory(tmp_path, form, quality):
    images = torch.randint(0, 256, (60, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )
    split = ImageSplit.from_tensors(images, torch.arange(60) * 7 % 3, CLASSES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.LayerNorm(3072), nn.Linear(3072, 3))
    options = {name: QUICK[name] for name in ("corruptions", "seed")} | {"jpeg_quality": quality}
    write_corrupted(split, tmp_path / "copy", format=form, **options)
    made = evaluate(network, split, progress=False, **options)
    read = evaluate(
        network, split, corrupted=tmp_path / "copy", progress=False, corruptions=QUICK["corruptions"]
    )
    for name in QUICK["corruptions"]:
        for severity in (1, 2, 3, 4, 5):
            one, other = made.corrupted[name][severity], read.corrupted[name][severity]
            assert one.top1_error == other.top1_error
            assert one.class_errors == other.class_errors
    assert len({tuple(one.class_errors) for by in made.corrupted.values() for one in by.values()}) > 3
