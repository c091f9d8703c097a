"""A table is written of all that is done, whatever happens to single runs."""

import json
import shutil
from pathlib import Path

import pytest

from pushpull.errors import InputError
from pushpull.evaluation import Results
from pushpull.files.registry import load_plugin
from pushpull.reports import read_table, reproduce
from pushpull.reports.reproduction import shortened
from pushpull.reports.table_runs import Clock


def again(table: str, folder: Path, **options) -> dict:
    """Call the command, and return what table.json holds."""
    reproduce(table, output=str(folder), quiet=True, **options)
    return written(folder)


def written(folder: Path) -> dict:
    return json.loads((folder / "table.json").read_text())


def run_folder(folder: Path, slug: str) -> Path:
    return folder / "runs" / slug / "seed0"


@pytest.fixture
def no_time(monkeypatch):
    """Every sitting ends before its first step."""
    monkeypatch.setattr(Clock, "over", lambda self: True)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("results.json", "{", "is not valid JSON"),
        ("recipe.yaml", None, "holds a run without its recipe.yaml"),
    ],
)
def test_one_failing_run_does_not_end_the_table(copied, table, capsys, file, text, message):
    broken = run_folder(copied, "baseline") / file
    broken.unlink()
    if text is not None:
        broken.write_text(text)
    (run_folder(copied, "pp3") / "results.json").unlink()
    with pytest.raises(InputError, match=r"1 of 2 runs failed \(baseline seed 0\)"):
        again(table, copied)
    printed = capsys.readouterr().out
    assert "[1/2] baseline seed 0: failed: " in printed
    assert "[2/2] PP3 seed 0: clean error" in printed  # the next is tried, and done
    value = written(copied)
    assert [row["name"] for row in value["rows"]] == ["PP3"]
    assert (value["complete"], value["missing"]) == (False, ["baseline seed 0"])
    assert message in value["problems"]["baseline seed 0"]
    text = (copied / "table.md").read_text()
    assert "**Not complete:** 1 runs are missing (baseline seed 0)." in text
    assert message in text


def test_a_loss_that_is_no_number_is_said_with_the_runs_name(table, tmp_path, capsys):
    path = tmp_path / "diverging.yaml"
    text = Path(table).read_text().replace("{name: baseline}", "{name: baseline, optim: {max_lr: 1.0e+25}}")
    path.write_text(text)
    with pytest.raises(InputError, match=r"1 of 1 runs failed \(baseline seed 0\)"):
        again(str(path), tmp_path, rows=["baseline"])
    assert "baseline seed 0: failed: the training loss is" in capsys.readouterr().out
    assert "the training loss is" in (tmp_path / "table.md").read_text()


def with_textures(folder: Path, textures: str) -> None:
    path = folder / "results.json"
    value = json.loads(path.read_text())
    value["corruption"]["frost_textures"] = textures
    path.write_text(json.dumps(value))


def test_results_with_other_frost_are_left_out_by_name(copied, table):
    with_textures(run_folder(copied, "pp3"), "/elsewhere/frost")
    with pytest.raises(InputError, match=r"1 of 2 runs failed \(PP3 seed 0\)"):
        again(table, copied)
    value = written(copied)
    assert [row["name"] for row in value["rows"]] == ["baseline"]
    assert not value["complete"]
    reason = value["problems"]["PP3 seed 0"]
    assert (
        "cannot be compared with baseline seed 0: frost textures is '/elsewhere/frost', not 'procedural'"
        in reason
    )
    assert reason.endswith(f"remove {run_folder(copied, 'pp3') / 'results.json'}")


def test_other_frost_is_refused_before_work(copied, table, capsys):
    with_textures(run_folder(copied, "baseline"), "/elsewhere/frost")
    (run_folder(copied, "pp3") / "results.json").unlink()
    with pytest.raises(
        InputError, match=r"measured with textures '/elsewhere/frost', but 'procedural' would be used now"
    ):
        again(table, copied)
    assert "PP3 seed 0" not in capsys.readouterr().out


def test_corruptions_that_evaluate_added_to_one_run_do_not_part_it_from_the_others(copied, whole, table):
    folder = run_folder(copied, "pp3")
    results = Results.load(folder)
    for severity in range(1, 6):
        results = results.with_condition("speckle_noise", severity, results.clean)
    results.save(folder)
    assert again(table, copied)["rows"] == written(whole)["rows"]


def test_a_part_reports_the_whole_that_is_done(copied, whole, table):
    value = again(table, copied, rows=["PP3"])
    assert value["rows"] == written(whole)["rows"]
    assert value["complete"]
    assert (copied / "table.png").is_file()


def test_another_seed_stands_beside_those_of_the_table(copied, table):
    for value in (again(table, copied, rows=["baseline"], seeds=[1]), again(table, copied, rows=["PP3"])):
        assert [row["seeds"] for row in value["rows"]] == [[0, 1], [0]]  # found on disk the second time
        assert value["rows"][1]["paired_seeds"] == [0]


def test_what_was_not_asked_for_is_said(table, tmp_path, no_time):
    value = again(table, tmp_path, rows=["baseline"], minutes=1)
    assert (value["missing"], value["unasked"]) == (["baseline seed 0"], ["PP3 seed 0"])
    text = (tmp_path / "table.md").read_text()
    assert "1 of its runs are not done and were not asked for (PP3 seed 0)" in text


def test_what_was_trained_otherwise_is_named(copied, table):
    with pytest.raises(InputError, match="1 of 1 runs failed"):
        again(table, copied, rows=["baseline"], epochs=1)
    problems = written(copied)["problems"]
    assert problems.keys() == {"baseline seed 0", "PP3 seed 0"}
    assert all(r"made with other settings (epochs)" in reason for reason in problems.values())


def test_figures_of_an_earlier_table_are_removed(copied, table):
    shutil.rmtree(run_folder(copied, "pp3"))
    value = again(table, copied, rows=["baseline"])
    assert [row["name"] for row in value["rows"]] == ["baseline"]
    assert value["complete"]
    assert not list(copied.glob("table.[ps][nv]g"))


def test_rows_named_twice_are_one(table, tmp_path, no_time):
    assert again(table, tmp_path, rows=["PP3", "pp3"], minutes=1)["missing"] == ["PP3 seed 0"]


def test_epochs_change_the_usual_ones_only_and_the_title(table, tmp_path, no_time):
    path = tmp_path / "lengths.yaml"
    path.write_text(Path(table).read_text().replace("{name: PP3,", "{name: PP3, epochs: 7,"))
    value = again(str(path), tmp_path, epochs=3, minutes=1)
    assert {name: recipe["epochs"] for name, recipe in value["recipes"].items()} == {"baseline": 3, "PP3": 7}
    assert value["title"] == "Digits (--epochs 3)"
    assert again(str(path), tmp_path / "usual", epochs=2, minutes=1)["title"] == "Digits"


def test_a_dry_run_keeps_what_may_not_work(tmp_path, table):
    path = tmp_path / "t.yaml"
    path.write_text(Path(table).read_text().replace("epochs: 2", "epochs: 2\n  compile: true\n  workers: 3"))
    for row in shortened(read_table(path)).rows:
        assert (row.recipe.compile, row.recipe.workers, row.recipe.epochs) == (True, 3, 1)


def test_a_dry_run_of_another_number_of_images_is_no_old_one(tmp_path, table):
    dry = {"rows": ["baseline"], "output": str(tmp_path), "dry_run": True, "quiet": True}
    reproduce(table, **dry)
    with pytest.raises(InputError, match="1 of 1 runs failed"):
        reproduce(table, **dry, limit=3)
    value = written(tmp_path / "dry-run")
    assert not value["rows"]
    assert "data.images is 2 there, 3 now" in value["problems"]["baseline seed 0"]


def test_the_command_to_go_on_names_what_was_loaded_before(table, tmp_path, no_time):
    plugin = tmp_path / "my plugin.py"
    plugin.write_text("")
    load_plugin(plugin)
    value = again(table, tmp_path, rows=["baseline"], minutes=1)
    assert value["command"].endswith(f"--plugins '{plugin}'")
