"""The corruptions' benchmarks on a tiny selection: they run without shared files or peers, and write JSON."""

import json
import sys

from torch.testing import assert_close

from pushpull.corruptions import CORRUPTIONS


def few(tmp_path):
    return ["--corruptions", "contrast", "--data", str(tmp_path), "--output", str(tmp_path / "out.json")]


def test_the_fidelity_table_runs_by_oracle(program, tmp_path, capsys):
    options = [*few(tmp_path), "--scales", "tiny", "--severities", "2", "--images", "2"]
    assert program("corruption_fidelity").main([*options, "--sheet", str(tmp_path / "sheets")]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    (row,) = record["rows"]
    assert (row["corruption"], row["against"], row["rule"], row["passed"]) == (
        "contrast",
        "oracle",
        "pixels",
        True,
    )
    assert record["out_of_bounds"] == []
    assert record["machine"]["cores"] >= 1
    assert (tmp_path / "sheets/tiny/contrast.png").stat().st_size > 1000
    assert "1 of 1 within bounds" in capsys.readouterr().out


def test_what_is_out_of_bounds_is_named_and_fails(program, tmp_path, capsys, monkeypatch):
    fidelity = program("corruption_fidelity")
    darker = lambda self, name, severity, scale, clean: clean // 2  # noqa: E731
    monkeypatch.setattr(sys.modules["fidelity_rows"].Bench, "ours", darker)
    options = [*few(tmp_path), "--scales", "tiny", "--severities", "2", "--images", "2"]
    assert fidelity.main(options) == 1
    assert json.loads((tmp_path / "out.json").read_text())["out_of_bounds"] == ["tiny contrast 2"]
    assert "OUT OF BOUNDS: tiny contrast 2" in capsys.readouterr().out


def test_the_speed_table_runs_without_peers(program, tmp_path, capsys):
    options = [*few(tmp_path), "--sizes", "32", "64", "--batches", "1", "2", "--repeats", "3", "--no-peers"]
    assert program("corruptions").main(options) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert {row["size"] for row in record["rows"]} == {32, 64}
    assert all(row["fastest_ms"] <= row["ms"] <= row["slowest_ms"] for row in record["rows"])
    output = capsys.readouterr().out
    assert "not judged, 15 of the 15" in output
    assert "ns a pixel" in output


def test_targets_are_judged_against_the_faster_peer(program):
    summary = program("corruption_summary")
    row = {summary.PACKAGE: 20.0, summary.ORIGINAL: 12.0, summary.JUDGED: 2.0}
    times = {name: dict(row) for name in CORRUPTIONS}
    del times["glass_blur"][summary.PACKAGE]
    times["glass_blur"][summary.ORIGINAL] = 1000.0
    times["pixelate"][summary.JUDGED] = 14.0
    assert summary.ratios(times)["snow"] == 6
    slower, mean, glass, others = summary.cpu_lines(times)
    assert slower["met"]  # 1.17 times as slow as the native peer
    assert glass["figure"] == 500
    assert_close(mean["figure"], (6**13 * 500 * 12 / 14) ** (1 / 15))
    assert_close(others["figure"], 14 * 12 / (13 * 2 + 14))
    times["snow"][summary.JUDGED] = 12.1
    assert summary.cpu_lines(times)[0]["figure"] == "snow"


def test_without_a_gpu_its_targets_are_not_measured(program):
    (line,) = program("corruption_summary").gpu_lines({}, {})
    assert line == {"what": "GPU: not measured (no GPU)", "figure": None, "target": None, "met": None}


def test_a_network_s_difference_is_judged_with_its_spread(program):
    judged = program("fidelity_network")._judged
    differences = {"mean": [-0.7, 0.05], "noise": [1.4, 0.1], "blur": [1.8, 0.4], "digital": [0.0, 0.1]}
    assert judged(differences) == (["mean"], ["blur"])
