"""Where compiled kernels are kept: in the user's cache, or nowhere."""

import threading
import time
from pathlib import Path

import pytest

from pushpull.random import native

if not native.installed():
    pytest.skip("numba is not installed", allow_module_level=True)

import numba


@pytest.fixture
def folder(monkeypatch):
    """Forget the folder that this process keeps its kernels in, and any that was named for it."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    native._folder.cache_clear()
    yield native._folder
    native._folder.cache_clear()


def double(x):
    return 2 * x


def test_kernels_are_kept_in_the_users_cache(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.kernel(double)(3) == 6
    assert Path(folder()).parent == tmp_path / "pushpull" / "kernels"
    assert list(tmp_path.rglob("*.nbc"))
    assert numba.config.CACHE_DIR == ""


def test_without_a_folder_to_write_to_none_are_kept(folder, monkeypatch, tmp_path):
    """Not beside the sources either, where kernels of other sources with the same dates would be taken."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert folder() is None
    kernel = native.kernel(double)
    assert kernel(3) == 6
    assert kernel.stats.cache_path is None


def test_kernels_are_code_and_not_kept_where_anyone_may_write(folder, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert folder() is None


def test_threads_that_declare_kernels_at_once_leave_numbas_setting(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    njit, declared = numba.njit, []

    def slow_njit(**how):
        time.sleep(0.02)
        return njit(**how)

    monkeypatch.setattr(numba, "njit", slow_njit)
    threads = [
        threading.Thread(target=lambda: declared.append(native.kernel(double)), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    assert numba.config.CACHE_DIR == ""
    assert [Path(kernel.stats.cache_path).is_relative_to(tmp_path) for kernel in declared] == [True] * 3
