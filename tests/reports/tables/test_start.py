"""What happens to what an output folder holds already: nothing that is somebody's is deleted unseen."""

import hashlib
from dataclasses import replace

import pytest

from pushpull.errors import InputError
from pushpull.reports.tables.runs import Run, runs_of
from pushpull.reports.tables.spec import read_table
from pushpull.reports.tables.start import Start, start_of


@pytest.fixture
def run(copied, table) -> Run:
    """The finished baseline."""
    [run] = runs_of([read_table(table).rows[0]], [0], copied)
    return run


def of_other_recipe(run: Run) -> Run:
    return replace(run, recipe=replace(run.recipe, epochs=1))


def digests(run: Run) -> dict[str, str]:
    files = (path for path in run.folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("lost", [(), ("last.ckpt",), ("last.ckpt", "results.json"), ("model.safetensors",)])
def test_a_run_of_another_recipe_is_refused_and_stays(run, lost):
    for name in lost:
        (run.folder / name).unlink()
    before = digests(run)
    with pytest.raises(InputError, match=r"made with other settings \(epochs\)") as caught:
        start_of(of_other_recipe(run))
    assert str(caught.value).endswith(f"; give another --output, or remove {run.folder}")
    assert digests(run) == before


def test_what_holds_neither_weights_nor_results_is_written_over(run):
    for name in ("last.ckpt", "results.json", "model.safetensors"):
        (run.folder / name).unlink()
    assert start_of(of_other_recipe(run)) == Start(resume=False)


def test_a_run_without_its_recipe_is_refused(run):
    (run.folder / "recipe.yaml").unlink()
    with pytest.raises(InputError, match=rf"without its recipe\.yaml; .*remove {run.folder}"):
        start_of(run)


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (("last.ckpt", "results.json"), "no last.ckpt to go on from: trained again from the start"),
        (("model.safetensors",), "model.safetensors is gone: trained again from the start"),
    ],
)
def test_the_rest_of_the_same_run_starts_again_and_says_so(run, lost, why):
    for name in lost:
        (run.folder / name).unlink()
    assert start_of(run) == Start(False, why)


@pytest.mark.parametrize("left", [0, 1000, 5000, 200_000])
def test_a_checkpoint_that_a_kill_left_half_written(run, left):
    path = run.folder / "last.ckpt"
    path.write_bytes(path.read_bytes()[:left])
    start = start_of(run)
    assert not start.resume
    assert "last.ckpt is not readable, as after a kill" in start.why
    with pytest.raises(InputError, match="other settings"):  # not another recipe's
        start_of(of_other_recipe(run))


def test_a_checkpoint_that_cannot_be_opened_now_is_kept(run, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError("not now")

    monkeypatch.setattr("torch.load", refused)
    monkeypatch.setattr("pushpull.reports.tables.start.file_digest", refused)
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read \(not now\)"):
        start_of(run)
