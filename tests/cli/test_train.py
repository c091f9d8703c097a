from pushpull.cli import train as command
from pushpull.data import DataConfig
from pushpull.training import Recipe


def test_a_run_is_called_after_the_folder_of_its_data(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(command, "train", lambda recipe, folder, **_: called.append(str(folder)))
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path / "pictures")
    for name in (".", "../pictures/", "owner/pictures"):
        command.train_command(Recipe(data=DataConfig(name)))
    assert called == ["runs/pictures-resnet14-plain-seed0"] * 3
