"""The command for a GPU, tiny and on the CPU, so that it cannot rot: stages, failures, the limit, tables."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("right", "unit", "corruptions", "evaluation", "training", "science")


def command(*arguments):
    environment = {**os.environ, "PUSHPULL_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
    program = [sys.executable, str(ROOT / "benchmarks" / "gpu.py")]
    words = [*program, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=900, check=False)


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """One dry run of everything: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("gpu") / "out"
    return folder, command("--output", folder, "--dry-run")


def test_every_stage_leaves_its_file_and_a_line(dry):
    folder, done = dry
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(STAGES)
    records = {stage: json.loads((folder / f"{stage}.json").read_text()) for stage in STAGES}
    for record in records.values():
        assert record["errors"] == {}
        assert record["parts"]
        assert {"processor", "driver", "versions"} <= set(record["machine"])
        assert len(record["date"]) == 10
    assert records["right"]["parts"]["augmentations"]["failed"] == []
    rows = records["training"]["parts"]["training"]["settings"][0]["rows"]
    assert [row["row"] for row in rows] == ["plain", "PRIME"]
    assert records["evaluation"]["parts"]["resnet50"]["evaluation_images_per_second"] > 0


def test_what_comes_back_is_few_and_small(dry):
    folder, _ = dry
    files = list(folder.rglob("*"))
    assert all(path.is_file() for path in files)
    assert len(files) <= 8
    assert all(path.stat().st_size < 2**20 for path in files)
    with zipfile.ZipFile(folder / "science.zip") as archive:
        assert any(name.endswith("results.json") for name in archive.namelist())


@pytest.fixture
def gpu(program, monkeypatch):
    monkeypatch.setenv("PUSHPULL_OFFLINE", "1")
    return program("gpu")


def part(gpu, name, code):
    return gpu.Part(name, [sys.executable, "-c", code], lambda folder: None)


def test_a_stage_that_fails_is_recorded_and_the_next_begins(gpu, tmp_path, monkeypatch, capsys):
    broken = gpu.Stage(1, lambda *_: iter([part(gpu, "a", "raise ValueError('no such kernel')")]))
    whole = gpu.Stage(
        1, lambda *_: iter([gpu.Part("b", [sys.executable, "-c", ""], lambda _: {"settings": []})])
    )
    monkeypatch.setattr(gpu, "STAGES", {"unit": broken, "training": whole})
    assert gpu.main(["--output", str(tmp_path), "--dry-run"]) == 1
    record = json.loads((tmp_path / "unit.json").read_text())
    assert record["errors"]["a"].startswith("exit code 1: Traceback")
    assert record["errors"]["a"].endswith("ValueError: no such kernel")
    assert json.loads((tmp_path / "training.json").read_text())["errors"] == {}
    assert "unit: nothing; a: exit code 1: ValueError: no such kernel" in capsys.readouterr().out


def test_the_limit_is_kept_and_what_hangs_is_stopped(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_END_S", 0.0)
    monkeypatch.setattr(gpu, "_LEAST_S", 1.0)
    hangs = gpu.Stage(1, lambda *_: iter([part(gpu, "a", "import time; time.sleep(60)"), part(gpu, "b", "")]))
    monkeypatch.setattr(gpu, "STAGES", {"unit": hangs, "training": hangs})
    assert gpu.main(["--output", str(tmp_path), "--minutes", "0.05"]) == 1
    record = json.loads((tmp_path / "unit.json").read_text())
    assert record["errors"]["a"].startswith("stopped after")
    assert record["errors"]["b"] == "not begun: the stage's time was over"
    assert record["seconds"] < 3


def test_the_tables_take_the_files(dry, gpu, tmp_path):
    tables = sys.modules["gpu_tables"]
    folder, _ = dry
    for stage in STAGES:
        record = json.loads((folder / f"{stage}.json").read_text())
        record["machine"]["gpu"] = "a GPU"
        (tmp_path / f"{stage}.json").write_text(json.dumps({**record, "dry_run": False}))
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("speed.md", "corruptions.md", "augment.md"):
        (docs / name).write_text((ROOT / "docs" / name).read_text())
    tables.fill_pages(tmp_path, tmp_path)
    speed = (docs / "speed.md").read_text()
    assert "a GPU, driver None" in speed
    assert "tests passed, none failed" in speed
    assert "**resnet8 at 32 px, 32 images, batch 16, bf16**" in speed
    tables.fill_pages(tmp_path, folder)  # a dry run's are no figures
    assert (
        "Not measured yet: `python benchmarks/gpu.py --output DIR --stage unit`."
        in (docs / "speed.md").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--output is missing"),
        (["--output", "x", "--stage", "units"], "did you mean 'unit'"),
        (["--output", "x", "--minutes", "0"], "minutes=0 is not positive"),
    ],
)
def test_mistakes_are_one_line(arguments, text):
    done = command(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_docs_say_what_is_not_measured_by_the_command():
    for name in ("speed.md", "corruptions.md", "augment.md"):
        text = (ROOT / "docs" / name).read_text()
        assert "python benchmarks/gpu.py --output DIR" in text


def test_the_table_goes_on_from_its_archive_without_weights(dry, gpu, tmp_path, monkeypatch):
    """Another day, another machine: what was measured is not trained again."""
    folder, _ = dry
    (tmp_path / "data").mkdir()
    (tmp_path / "science.zip").write_bytes((folder / "science.zip").read_bytes())
    monkeypatch.setattr(gpu, "STAGES", {"science": gpu.STAGES["science"]})
    words = ["--output", str(tmp_path / "out"), "--data", str(tmp_path / "data"), "--dry-run"]
    assert gpu.main(words) == 0
    runs = tmp_path / "out-runs"
    assert list(runs.rglob("results.json"))
    assert not list(runs.rglob("model.safetensors"))
