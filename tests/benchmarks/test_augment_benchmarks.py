"""The augmentations' benchmark and sheets on a tiny selection, without shared files."""

import json

import pytest
import torch
from PIL import Image

from augment.made import pictures
from oracles.prime import reference_batch
from pushpull.augment import AUGMENTATIONS
from pushpull.errors import InputError


def test_the_rates_are_measured_beside_the_peers_and_written(program, tmp_path, capsys, monkeypatch):
    benchmark = program("augment")
    monkeypatch.setattr(benchmark, "_RATES", (("cifar", 16, 4, 4),))
    output = tmp_path / "out.json"
    options = ["--data", str(tmp_path), "--output", str(output), "--repeats", "3", "--parts", "rate"]
    benchmark.main([*options, "--names", "augmix", "prime"])
    record = json.loads(output.read_text())
    assert [row["name"] for row in record["rates"] if row["device"] == "cpu"] == ["augmix", "prime"]
    for row in record["rates"]:
        median, slowest, fastest = row["images_per_s"]["ours"]
        assert slowest <= median <= fastest
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- augment benchmark -->\nold\n<!-- end of augment benchmark -->\nafter\n")
    benchmark.main(["--output", str(output), "--markdown", str(page)])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| prime | 4 of 16 px |" in text
    assert "the authors' formulation" in capsys.readouterr().out
    page.write_text("no marks")
    with pytest.raises(InputError, match="has no lines"):
        benchmark.main(["--output", str(output), "--markdown", str(page)])


def test_a_step_is_measured_over_the_step_without(program, tmp_path, monkeypatch):
    benchmark = program("augment")
    monkeypatch.setattr(benchmark, "_STEPS", (("resnet8", "cifar", 16, 4, "cpu", None),))
    output = tmp_path / "out.json"
    options = ["--data", str(tmp_path), "--output", str(output), "--repeats", "3", "--parts", "step"]
    benchmark.main([*options, "--names", "prime"])
    rows = {row["name"]: row for row in json.loads(output.read_text())["steps"]}
    assert list(rows) == ["none", "prime", "prime + JSD"]
    assert rows["none"]["ratio"] == 1
    assert rows["prime + JSD"]["ratio"] > 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is measured")
def test_without_a_gpu_its_rows_say_so(program):
    benchmark = program("augment")
    options = benchmark._options(["--names", "prime"])
    rows = [row for step in benchmark._STEPS if step[4] == "cuda" for row in benchmark._steps(options, *step)]
    assert {row["why"] for row in rows} == {"not measured (no GPU)"}
    assert [row["target"] for row in rows] == [1.25, None, 1.25, None, 1.1, None]


def test_the_sheet_shows_every_augmentation(program, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(AUGMENTATIONS, "darker", raising=False)  # of a doctest
    sheets = program("augment_sheets")
    picture = tmp_path / "mine.png"
    Image.new("RGB", (40, 30), (90, 20, 200)).save(picture)
    sheets.main(["--sizes", "16", "--draws", "3", "--images", str(picture), "--output", str(tmp_path)])
    with Image.open(tmp_path / "augment-cifar-16-mine.png") as sheet:
        left, top = sheets._LABEL_PX, sheets._HEAD_PX
        assert sheet.size == (left + 4 * 99, top + 9 * 99)
        assert sheet.getpixel((left + 5, top + 5)) == (90, 20, 200)
        rows = [sheet.crop((0, top + 99 * row, left - 9, top + 99 * (row + 1))) for row in range(9)]
        assert len({row.tobytes() for row in rows}) == 9  # each has its name
        assert all(row.getpixel((0, 50)) == (255, 255, 255) for row in rows)  # and none is cut
        assert sheet.crop((left, 0, left + 99, top)).getextrema()[0] == (0, 255)


def test_the_batch_wide_reference_is_prime_in_kind():
    """The oracle that rates are held against: bounded, and as far from the images on average as ours."""
    from pushpull.augment import augment_batch

    images = pictures(64, 32, 32)
    generator = torch.Generator().manual_seed(0)
    setting = {"cut_max": 100, "colour_max": 100, "temperature": 0.01, "band": None}
    theirs = torch.stack(
        [reference_batch(images[i : i + 1] / 255, generator=generator, **setting)[0] for i in range(64)]
    )
    ours = augment_batch(images / 255, "prime", index=range(64), scale="cifar")
    assert theirs.min() >= 0
    assert theirs.max() <= 1
    apart = [(x - images / 255).square().mean((1, 2, 3)).sqrt() for x in (theirs, ours)]
    difference = apart[0].mean() - apart[1].mean()
    error = ((apart[0].var() + apart[1].var()) / 64).sqrt()
    assert difference.abs() < 4 * error
