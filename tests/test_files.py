"""Files written whole or not at all."""

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pushpull.data import StreamDataset, load_data
from pushpull.errors import InputError, MissingFileError
from pushpull.files import (
    InUseError,
    atomic_path,
    folder_lock,
    read_json,
    writable_folder,
    write_json,
    write_text,
)
from pushpull.files.registry import load_plugin


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(TypeError), atomic_path(path) as temporary, temporary.open("w") as file:
        file.writelines(["half of the n", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("x")
        # Writers that choose a format by the ending (matplotlib) must see it.
        assert (temporary.parent, temporary.suffix) == (path.parent, ".csv")
        assert not path.exists()
    assert path.read_text() == "x"
    assert os.listdir(path.parent) == ["a.csv"]


def test_others_may_read_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_text(tmp_path / "a.txt", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_text_is_utf8(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "Größe ± 1")
    assert path.read_bytes() == "Größe ± 1".encode()


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"b": [1, 0.1, None], "a": "é"}
    path = write_json(tmp_path / "a.json", value)
    assert read_json(path) == value
    assert list(read_json(str(path))) == ["b", "a"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xfe"])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not valid JSON") as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_json_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "a.json", tmp_path):
        with pytest.raises(MissingFileError, match="does not exist") as caught:
            read_json(path)
        assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A file in the folder's place stops root too, which permissions do not.
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt"):
        with pytest.raises(InputError, match="cannot be written") as caught:
            write_text(path, "x")
        assert str(path.parent) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_text(tmp_path, "x")


def test_trying_a_folder_leaves_nothing(tmp_path):
    assert writable_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        writable_folder(tmp_path / "file" / "b")
    (tmp_path / "there").mkdir()
    writable_folder(tmp_path / "there" / "new")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_new_process_has_the_plugins_of_the_one_that_starts_it(tmp_path, monkeypatch):
    monkeypatch.setattr("pushpull.files.registry._loaded", {})
    path = tmp_path / "my_transform.py"
    path.write_text(
        "from torchvision.transforms.functional import pil_to_tensor\n"
        "class Transform:\n"
        "    def __call__(self, image, index):\n"
        "        return pil_to_tensor(image)\n"
    )
    dataset = StreamDataset(load_data("digits").test.subset([3]), load_plugin(path).Transform())
    read = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[0].image.shape)"
    done = subprocess.run(
        [sys.executable, "-c", read], input=pickle.dumps(dataset), capture_output=True, check=True
    )
    assert done.stdout == b"torch.Size([3, 32, 32])\n"


HOLD = """
import sys
from pathlib import Path
from pushpull.files import folder_lock
with folder_lock(Path(sys.argv[1]) / "run", Path(sys.argv[1]) / "run.lock"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):  # the first who asks must not wipe out what the second is told
            with (
                pytest.raises(InUseError, match=rf"run \(process {holder.pid} since \d{{4}}-") as caught,
                folder_lock(tmp_path / "run", tmp_path / "run.lock"),
            ):
                pass
            assert "\n" not in str(caught.value)
    finally:
        holder.kill()
        holder.communicate()
    with folder_lock(tmp_path / "run", tmp_path / "run.lock"):
        assert os.listdir(tmp_path) == ["run.lock"]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be locked"), folder_lock(tmp_path / "file" / "run"):
        pass
