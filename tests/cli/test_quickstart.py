import pytest

from pushpull.cli import train as command
from pushpull.errors import InputError
from pushpull.evaluation import Results

RECIPE = """
model: {name: resnet8}
data: {name: digits, fraction: 0.05}
preprocessing: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
augment: {flip: false}
epochs: 1
batch_size: 16
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_it_trains_evaluates_compares_and_continues_after_a_kill(config, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "out"
    options = {"output": str(folder), "config": config, "seeds": [3, 4], "limit": 20}
    train, started = command.train, []

    def killed_at_the_third(recipe, run, **keywords):
        started.append((recipe.model.stem, recipe.seed))
        if len(started) == 3:
            raise KeyboardInterrupt
        return train(recipe, run, **keywords)

    monkeypatch.setattr(command, "train", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        command.quickstart_command(**options)
    command.quickstart_command(**options)
    assert started == [("plain", 3), ("pp3", 3), ("plain", 4), ("plain", 4), ("pp3", 4)]

    printed = capsys.readouterr().out
    begun = [line for line in printed.splitlines() if line.endswith(" ...")]
    assert begun[0] == "[1/4] plain     seed 3  training 1 epochs ...", "said before it is done"
    assert begun[-1] == "writing the page ..."
    assert "DEMONSTRATION, NOT EVIDENCE" in printed
    assert "resnet8 pp3" in printed
    results = Results.load(folder / "pp3" / "seed4")
    assert results.data["images"] == 20
    assert results.complete
    assert {path.name for path in folder.iterdir()} >= {"index.html", "comparison.md", "comparison.csv"}
    page = (folder / "index.html").read_text()
    assert "demonstration, not evidence" in page
    assert "push kernels" in page
    assert "bootstrap over the test images" in page
    assert f"Open {folder / 'index.html'}" in printed


def test_mistakes_stop_before_anything_is_trained(config, tmp_path):
    for options in ({"stem": "plain"}, {"seeds": []}, {"seeds": [1, 1]}):
        with pytest.raises(InputError, match="give a push-pull stem"):
            command.quickstart_command(str(tmp_path / "out"), config, **options)
    with pytest.raises(InputError, match="did you mean"):
        command.quickstart_command(str(tmp_path / "out"), config, stem="pq3")
    assert not (tmp_path / "out").exists()
