"""The unit's benchmark on tiny images: every group has its rows, and a page takes the tables."""

import json

import pytest
import torch

from pushpull.errors import InputError

TINY = ["--size", "32", "--batch", "2", "--network-batch", "2", "--repeats", "1", "--threads", "1", "--cpu"]


def test_every_row_is_measured_or_says_why_not(program, tmp_path, capsys, monkeypatch):
    unit = program("unit")
    monkeypatch.setattr(unit, "limits", lambda *_: {"bytes_per_s": 1e10, "operations_per_s": 1e11})
    record = tmp_path / "unit-cpu.json"
    options = ["--networks", "resnet18", "--avg", "0", "5", "--formats", "channels_last", "--no-compile"]
    assert unit.main([*TINY, *options, "--output", str(record)]) == 0
    groups = json.loads(record.read_text())["groups"]
    assert [group["title"].split(",")[0] for group in groups][:2] == ["first layer"] * 2
    assert len(groups) == 5
    rows = {(row["what"], row["who"]): row for row in groups[0]["rows"]}
    assert len(rows) == 15
    assert rows["forward", "plain"]["ratio"] == rows["memory", "plain"]["ratio"] == 1
    assert rows["forward", "ours, eager"]["target"] == 2.2
    assert rows["forward", "ours, compiled"]["why"] == "not measured (not asked for)"
    assert rows["forward", "fused"]["why"] == "not measured (no GPU)"
    # x, 2 x 3 x 32 x 32, and the response, 2 x 64 x 16 x 16, in fp32 at 10 GB/s.
    assert rows["forward", "plain"]["floor"]["memory_ms"] == pytest.approx(0.01556, rel=1e-3)
    assert rows["memory", "published form"]["bytes"] > 2 * rows["memory", "plain"]["floor_bytes"]
    assert "not measured (no GPU)" in capsys.readouterr().out

    page = tmp_path / "speed.md"
    page.write_text("# Speed\n<!-- unit-cpu -->\nold\n<!-- end -->\nlast\n")
    monkeypatch.setattr(unit, "RESULTS", tmp_path)
    assert unit.main(["--markdown", str(page)]) == 0
    text = page.read_text()
    assert "| forward | ours, eager |" in text
    assert "old" not in text
    assert text.endswith("last\n")


def test_a_page_without_marks_is_refused(program, tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n")
    with pytest.raises(InputError, match="has no mark <!-- unit-cpu -->"):
        program("unit").main(["--markdown", str(page)])


@pytest.mark.parametrize("side", [0, 3])
def test_the_published_form_is_the_unit(program, side):
    contestants = program("unit_contestants")
    conv = torch.nn.Conv2d(3, 4, 7, 2, 3)
    unit = contestants.PushPullConv2d(3, 4, 7, 2, 3, avg_kernel_size=side)
    unit.load_state_dict(conv.state_dict())
    x = torch.randn(2, 3, 20, 20)
    torch.testing.assert_close(contestants.Published(conv, side)(x), unit(x))


def test_on_a_gpu_the_unit_as_it_is_is_the_fused_row(program, monkeypatch):
    contestants = program("unit_contestants")
    monkeypatch.setattr(contestants.Setting, "ours", contestants.FUSED)
    device = torch.device("cpu")
    setting = contestants.Setting(device, torch.float32, 2, 2, 32, 1, 1, "not asked for")
    group = contestants.layers(setting, "channels_last", 3, setting_limits())
    rows = {(row["what"], row["who"]): row for row in group["rows"]}
    assert "ms" in rows["forward", "ours, plain operations"]
    # x is 24,576 bytes and the response 131,072: it goes to memory, comes back, and y goes to memory.
    floors = [rows["forward", who]["floor"]["memory_ms"] for who in ("plain", "fused")]
    assert floors == pytest.approx([0.0155648, 0.0417792])
    assert contestants.kernels.DEVICES == ("cuda",)
    stem = contestants.stems(setting, "contiguous", setting_limits())
    (row,) = [r for r in stem["rows"] if r["who"] == "fused"]
    assert row["floor"]["memory_ms"] > 0


def setting_limits():
    return {"bytes_per_s": 1e10, "operations_per_s": 1e15}


def test_peak_memory_counts_what_is_held_at_once(program):
    def call():
        first = torch.ones(2**18)
        del first
        second = torch.ones(2**19)
        return second + second

    assert program("unit_contestants").peak_bytes(call, torch.device("cpu")) == 2**22
