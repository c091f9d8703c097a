"""Fetching the photographs of frost, from a folder or a silent port in the network's place."""

import hashlib
import re
import socket
import threading
import time

import pytest

from pushpull.corruptions import fetch_frost, textures
from pushpull.errors import InputError


@pytest.fixture
def source(no_photographs, monkeypatch, tmp_path):
    """A folder in the repository's place, whose files have the expected checksums."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in textures.SHA256:
        (folder / name).write_bytes(f"the picture {name}".encode())
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in textures.SHA256}
    monkeypatch.setattr(textures, "SHA256", sums)
    monkeypatch.setattr(textures, "ADDRESS", folder.as_uri() + "/")
    for variable in ("PUSHPULL_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def fresh():
    """A process that has not yet tried."""
    textures.fetch_unasked.cache_clear()
    yield
    textures.fetch_unasked.cache_clear()


def test_all_five_arrive_in_the_cache(source, tmp_path):
    folder = fetch_frost()
    assert folder == tmp_path / "pushpull" / "frost" == textures.cache_folder()
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in source.iterdir())
    assert all((folder / name).read_bytes() == (source / name).read_bytes() for name in names)


def test_what_is_there_is_not_fetched_again(source, monkeypatch):
    folder = fetch_frost()
    monkeypatch.setattr(textures, "ADDRESS", "file:///nowhere/")
    assert fetch_frost() == folder
    (folder / "frost3.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch_frost()


def test_a_damaged_file_is_replaced(source):
    folder = fetch_frost()
    (folder / "frost3.png").write_bytes(b"damaged")
    fetch_frost()
    assert (folder / "frost3.png").read_bytes() == (source / "frost3.png").read_bytes()


def test_another_picture_is_refused_and_nothing_written(source):
    (source / "frost4.jpg").write_bytes(b"another picture")
    with pytest.raises(InputError, match=r"frost4\.jpg is not the benchmark's photograph"):
        fetch_frost()
    assert not textures.cache_folder().exists()


def test_a_missing_file_is_named_in_one_line(source):
    (source / "frost5.jpg").unlink()
    with pytest.raises(InputError, match=r"frost5\.jpg cannot be downloaded") as caught:
        fetch_frost()
    assert "\n" not in str(caught.value)
    assert not textures.cache_folder().exists()


def test_a_cache_that_cannot_be_written(source, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be written"):
        fetch_frost()


@pytest.mark.parametrize("variable", ["PUSHPULL_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(("value", "forbids"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline(source, monkeypatch, variable, value, forbids):
    monkeypatch.setenv(variable, value)
    if forbids:
        with pytest.raises(InputError, match=f"{variable} is set"):
            fetch_frost()
    else:
        fetch_frost()
    assert textures.cache_folder().exists() is not forbids


def test_a_silent_network_costs_the_time_given_and_no_more(source, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(textures, "ADDRESS", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"did not send the photographs within 0\.3 s"):
            fetch_frost(0.3)
        assert time.monotonic() - started < 3


def test_a_name_that_hangs_is_given_up(source, monkeypatch):
    """Name resolution obeys no timeout: here it never ends."""
    released = threading.Event()
    monkeypatch.setattr(textures, "_get", lambda *_: released.wait(20))
    with pytest.raises(InputError, match="did not send"):
        fetch_frost(0.2)
    released.set()


def test_unasked_it_is_said_once_in_one_plain_line_with_the_remedy(source, fresh, capsys, recwarn):
    (source / "frost1.png").unlink()
    textures.fetch_unasked()
    said = capsys.readouterr().err.strip()
    assert said.startswith("pushpull: note: the benchmark's photographs of frost could not be fetched")
    assert "install imagecorruptions, or set PUSHPULL_FROST_DIR" in said
    assert not any(text in said for text in ("\n", ".py", "http"))
    textures.fetch_unasked()
    assert not capsys.readouterr().err
    assert not recwarn.list


def test_a_worker_does_not_wait_for_what_its_parent_has_not_got(source, fresh, monkeypatch, capsys):
    monkeypatch.delenv(textures._TRIED, raising=False)
    tried = []
    monkeypatch.setattr(textures, "_get", lambda name, *_: tried.append(name))
    monkeypatch.setattr(textures, "_UNASKED_SECONDS", 0.1)
    monkeypatch.setattr(textures.multiprocessing, "parent_process", lambda: "a parent that has not tried")
    textures.fetch_unasked()
    assert len(tried) == 5
    textures.fetch_unasked.cache_clear()
    textures.fetch_unasked()
    assert len(tried) == 5, "the variable is what a new worker inherits"
    monkeypatch.setattr(textures.multiprocessing, "parent_process", lambda: None)
    textures.fetch_unasked.cache_clear()
    textures.fetch_unasked()
    assert len(tried) == 10, "a process of its own tries, and says what it lacks"
    assert "could not be fetched" in capsys.readouterr().err


def test_checksums_are_of_sha_256():
    assert list(textures.SHA256) == [*("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in textures.SHA256.values())
