"""What happens to what an output folder holds already: nothing that is somebody's is deleted unseen."""

import hashlib
from dataclasses import replace

import pytest

from pushpull.errors import InputError
from pushpull.reports import read_table
from pushpull.reports.table_runs import Run, runs_of


@pytest.fixture
def run(copied, table) -> Run:
    """The finished baseline."""
    [run] = runs_of([read_table(table).rows[0]], [0], copied)
    return run


def of_other_recipe(run: Run) -> Run:
    return Run(run.row, replace(run.recipe, epochs=1), run.folder)


def digests(run: Run) -> dict[str, str]:
    files = (path for path in run.folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("lost", [(), ("last.ckpt",), ("last.ckpt", "results.json"), ("model.safetensors",)])
def test_a_run_of_another_recipe_is_refused_and_stays(run, lost):
    for name in lost:
        (run.folder / name).unlink()
    before = digests(run)
    with pytest.raises(InputError, match=r"made with other settings \(epochs\)") as caught:
        of_other_recipe(run).resumes()
    assert str(caught.value).endswith(f"; give another --output, or remove {run.folder}")
    assert digests(run) == before


def test_what_holds_neither_weights_nor_results_is_written_over(run):
    for name in ("last.ckpt", "results.json", "model.safetensors"):
        (run.folder / name).unlink()
    assert of_other_recipe(run).resumes() == (False, None)


def test_a_run_without_its_recipe_is_refused(run):
    (run.folder / "recipe.yaml").unlink()
    with pytest.raises(InputError, match=rf"without its recipe\.yaml; .*remove {run.folder}"):
        run.resumes()


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
    assert run.resumes() == (False, why)


@pytest.mark.parametrize("left", [0, 1000, 5000, 200_000])
def test_a_checkpoint_that_a_kill_left_half_written(run, left):
    path = run.folder / "last.ckpt"
    path.write_bytes(path.read_bytes()[:left])
    resumes, why = run.resumes()
    assert not resumes
    assert "last.ckpt is not readable, as after a kill" in why
    with pytest.raises(InputError, match="other settings"):  # not another recipe's
        of_other_recipe(run).resumes()


def test_a_checkpoint_that_cannot_be_opened_now_is_kept(run, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError("not now")

    monkeypatch.setattr("torch.load", refused)
    monkeypatch.setattr("pushpull.reports.table_runs.file_digest", refused)
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read \(not now\)"):
        run.resumes()
