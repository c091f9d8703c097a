"""A table of seconds on digits, and its finished folder."""

import shutil

import pytest

from pushpull.cli.reproduce import reproduce_command

TABLE = """
title: Digits
recipe:
  model: {name: resnet8}
  data: {name: digits, fraction: 0.05}
  preprocessing: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  augment: {flip: false}
  epochs: 2
  batch_size: 16
  accelerator: cpu
rows:
  - {name: baseline}
  - {name: PP3, twin: baseline, model: {stem: pp3}}
  - {name: BlurPool, twin: baseline, on_request: true, model: {stem: blurpool}}
seeds: [0]
limit: 10
"""


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "digits-table.yaml"
    path.write_text(TABLE)
    return str(path)


@pytest.fixture(scope="session")
def whole(table, tmp_path_factory):
    """The table's folder, made without interruption; nobody changes it."""
    folder = tmp_path_factory.mktemp("whole")
    reproduce_command(table, output=str(folder), quiet=True)
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of that folder, to be changed."""
    return shutil.copytree(whole, tmp_path / "copied")
