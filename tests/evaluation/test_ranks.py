"""Two processes count as one, and so do three."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pushpull.copies import write_corrupted
from pushpull.data import DataConfig, ImageSplit, Preprocessing, load_data
from pushpull.errors import InputError
from pushpull.evaluation import Results, conditions, evaluate
from pushpull.evaluation.ranks import (
    from_all_ranks,
    from_first_rank,
    on_all_ranks,
    rank,
    sum_over_ranks,
    world_size,
)


class Brightness(nn.Module):
    """Ten classes by mean brightness."""

    def forward(self, x):
        return -(x.mean(dim=(1, 2, 3))[:, None] * 10 - torch.arange(10) - 0.5).abs()


def images():
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.rand(21, 1, 1, 1, generator=generator) * 250).to(torch.uint8).expand(21, 3, 32, 32)
    return ImageSplit.from_tensors(pixels.contiguous(), torch.arange(21) % 10)


def run(folder):
    return evaluate(
        Brightness(),
        images(),
        corruptions="brightness,contrast",
        severities=(1, 5),
        preprocessing=Preprocessing(),
        output=folder,
        save_predictions=folder is not None,
        batch_size=4,
        progress=False,
    )


def of_shards(folder, output, workers=0):
    """Clean images and a corrupted set in tars, streamed."""
    data = DataConfig(f"{folder}/shards", unreadable_limit=0.1, memory_limit_gib=0.0)
    options = {"preprocessing": Preprocessing(), "batch_size": 4, "workers": workers, "progress": False}
    options["severities"] = (5,)
    made = evaluate(
        Brightness(), data, corruptions="brightness", scale="cifar", output=f"{output}/made", **options
    )
    read = evaluate(Brightness(), data, corrupted=f"{folder}/copy", output=f"{output}/read", **options)
    return made, read


def worker(number, folder):
    torch.set_num_threads(1)
    world = int(os.environ["RANKS_OF_TEST"])
    meeting = f"file://{folder}/rendezvous{world}"
    dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=world)
    try:
        of_shards(folder, f"{folder}/of{world}", workers=int(world == 2))
        if world == 2:
            two(number, folder)
    finally:
        dist.destroy_process_group()


def two(number, folder):
    assert (rank(), world_size()) == (number, 2)
    assert from_all_ranks(number) == [0, 1]
    results = run(f"{folder}/two")
    assert results == Results.load(f"{folder}/two")
    assert run(f"{folder}/two").clean == results.clean
    unreadable(folder)
    # An error of rank 0 stops every rank: rank 1 alone would see another file, or none.
    with pytest.raises(InputError, match="cannot be written"):
        run(f"{folder}/rendezvous2/x" if number == 0 else f"{folder}/fine")


def skipping(folder, limit):
    data = load_data(DataConfig(f"{folder}/clean", unreadable_limit=limit))
    options = {"corruptions": (), "preprocessing": Preprocessing(), "progress": False}
    return evaluate(Brightness(), data, **options)


def unreadable(folder):
    """The limit is of all images: a rank that has the only broken one of 20 has 1 of 10."""
    with pytest.warns() if rank() == 0 else nullcontext():
        found = skipping(folder, 0.05)
    assert (found.clean.images, len(found.data["skipped"])) == (19, 1)
    with pytest.raises(InputError, match=r"1 unreadable of 20 images of .*more than the 0 that"):
        skipping(folder, 0.04)
    # A rank that has stopped stops the other, which waits for it.
    with pytest.raises(InputError, match="only one"):
        on_all_ranks(one_fails)


def one_fails():
    if rank() == 1:
        raise InputError("only one")


class Killing(Brightness):
    """Kills its own process in rank 1."""

    def forward(self, x):
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def until_killed(number, folder):
    """Evaluate where rank 1 dies; the other one says which."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/killed", rank=number, world_size=2)
    evaluate(Killing(), images(), corruptions=(), preprocessing=Preprocessing(), batch_size=4, progress=False)


def errors(results):
    measured = [results.clean, *(c for by in results.corrupted.values() for c in by.values())]
    return [(c.top1_error, c.top5_error, c.class_errors, c.images) for c in measured]


def start(world, folder):
    # Not torch.multiprocessing: its children cannot import a test module by name.
    commands = [[sys.executable, __file__, str(number), str(folder)] for number in range(world)]
    said = os.environ | {"RANKS_OF_TEST": str(world)}
    children = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=said) for command in commands
    ]
    try:
        outputs = [child.communicate(timeout=300)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0] * world, outputs


def timeless(path):
    """Return a results file without what tells when, and how long."""
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.strip().startswith(('"seconds"', '"created"'))]
    assert len(kept) < len(lines)
    assert json.loads(path.read_text())["corrupted"]
    return kept


@pytest.mark.filterwarnings("ignore:skipped")
def test_two_and_three_processes_give_the_results_of_one(tmp_path):
    from data.made import encoded, image_folder, picture, tar  # the children find no other test module

    image_folder(tmp_path / "clean", dict.fromkeys("0123456789", 2), size=(32, 32))
    (tmp_path / "clean" / "0" / "000.png").write_bytes(b"")
    for number in range(3):
        members = {}
        for image in range(7):
            content = encoded(picture(35 * image + 10 * number, (32, 32)))
            members |= {f"{image}.cls": (3 * image + number) % 10, f"{image}.png": content}
        if number == 1:
            members["4.png"] = b""
        tar(tmp_path / "shards" / f"test-{number}.tar", members)
    source = DataConfig(str(tmp_path / "shards"), unreadable_limit=0.1)
    write_corrupted(
        source,
        tmp_path / "copy",
        format="webdataset",
        corruptions="brightness",
        severities=5,
        scale="cifar",
        shard_images=5,
    )
    for world in (2, 3):
        start(world, tmp_path)
    assert errors(Results.load(tmp_path / "two")) == errors(run(tmp_path / "one"))
    of_two, of_one = (tmp_path / name / "predictions.parquet" for name in ("two", "one"))
    assert of_two.read_bytes() == of_one.read_bytes()
    alone = of_shards(tmp_path, tmp_path / "of1")
    assert errors(alone[0])[1:] == errors(alone[1])[1:]
    assert alone[0].data["skipped"] == [f"{tmp_path}/shards/test-1.tar: 4.png"]
    for kind in ("made", "read"):
        one = timeless(tmp_path / "of1" / kind / "results.json")
        for world in (2, 3):
            assert timeless(tmp_path / f"of{world}" / kind / "results.json") == one


def test_a_rank_that_is_killed_is_named(tmp_path):
    commands = [[sys.executable, __file__, str(number), str(tmp_path), "killed"] for number in range(2)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        outputs = [child.communicate(timeout=60)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [1, -signal.SIGKILL], outputs
    last = outputs[0].splitlines()[-1]
    assert f"PeerEndedError: rank 1 (process {children[1].pid}) ended before the others" in last


def test_more_processes_than_images_are_refused(monkeypatch):
    monkeypatch.setattr(conditions, "world_size", lambda: 22)
    with pytest.raises(InputError, match="21 images for 22 processes"):
        run(None)


def test_without_processes_there_is_one_rank():
    values = torch.tensor([1, 2])
    assert (rank(), world_size()) == (0, 1)
    assert sum_over_ranks(values) is values
    assert from_all_ranks("x") == ["x"]
    assert from_first_rank(lambda: 3) == 3


if __name__ == "__main__":
    (until_killed if sys.argv[3:] else worker)(int(sys.argv[1]), sys.argv[2])
