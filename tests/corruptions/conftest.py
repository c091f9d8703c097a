"""Fixtures of the corruptions' tests."""

import pytest

from pushpull.corruptions import textures


@pytest.fixture
def no_photographs(monkeypatch, tmp_path):
    """Hide any photographs of frost that this machine has: frost is drawn."""
    monkeypatch.delenv(textures.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(textures, "PACKAGE", "a_package_that_is_not_there")
