"""Every reader of files, given what nobody would write: it succeeds or raises `InputError`, and nothing else.

FUZZ_EXAMPLES=10000 python -m pytest tests/test_fuzz.py tries so many of each; without it, as many as take
some 20 s in all, the same ones each time.
"""

import copy
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from data.made import shard, table
from pushpull.copies.manifest import differences, found_manifest, remove_copy
from pushpull.data import load_data
from pushpull.data.decode import image_size, open_rgb
from pushpull.data.published import open_published
from pushpull.data.subsets import read_class_list
from pushpull.errors import InputError
from pushpull.evaluation.results import Condition, Results
from pushpull.files.yaml import types_of
from pushpull.models import create_model
from pushpull.models.loading import epochs_left
from pushpull.models.network import load_network
from pushpull.reports.table_file import read_table
from pushpull.training.recipe import Recipe, read_recipe

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")


def fuzzed(usual: int) -> Callable[..., Any]:
    """Return the settings of a test that tries so many examples unless the environment says how many."""
    return settings(
        max_examples=int(EXAMPLES or usual),
        derandomize=EXAMPLES is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def refuses_or_reads(read: Callable[[Path], Any], content: bytes | str, name: str) -> None:
    """Write a file called `name` in a new folder and have it read."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
        try:
            read(path)
        except InputError as error:
            said = str(error)
        else:
            said = ""
    assert "\n" not in said


ODD = st.sampled_from(
    [
        "",
        "\0",
        "~nobody/x",
        "1e999",
        "-1",
        "0",
        "null",
        "nan",
        "!!float x",
        "&a [*a]",
        "[" * 60,
        "9" * 5000,
        "\ud800",
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -(10**30), 10**400, 1e308])
PLAIN = st.none() | st.booleans() | NUMBERS | ODD | st.text(max_size=8)
KEYS = st.sampled_from(
    [*(field.name for field in fields(Recipe)), *(k.rpartition(".")[2] for k in types_of(Recipe))]
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Return a copy of JSON's values with a few of them, wherever they are, replaced or removed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place, at = value, None
        while isinstance(place, dict | list) and place and (at is None or draw(st.booleans())):
            above = place
            at = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
            place = above[at]
        if at is None:
            return draw(VALUES)
        if draw(st.booleans()):
            above[at] = draw(VALUES)
        else:
            del above[at]
    return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes with some replaced, cut off, doubled or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 8)))
        data[start:end] = draw(st.binary(max_size=8) | st.just(bytes(data[start:end]) * 2))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


RECIPE = {
    "model": {"name": "resnet8", "stem": "pp3", "alpha": 0.5},
    "data": {"name": "digits", "fraction": 0.5},
    "preprocessing": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "size": 32},
    "augment": {"crop": 32, "padding": 4},
    "optim": {"max_lr": 0.1},
    "loss": {"jsd": 0.0},
    "epochs": 3,
}
TABLE = {"title": "t", "recipe": RECIPE, "seeds": [0, 1], "limit": 9, "classes": 10, "notes": ["n"]}
TABLE["rows"] = [{"name": "a"}, {"name": "b", "twin": "a", "model": {"stem": "pp5"}, "on_request": True}]


def dumped(value: Any) -> str:
    return yaml.dump(value, allow_unicode=True)


@fuzzed(150)
@given(
    changed(RECIPE).map(dumped)
    | VALUES.map(dumped)
    | damaged(dumped(RECIPE).encode())
    | st.binary(max_size=40)
)
def test_recipes(content: bytes | str) -> None:
    refuses_or_reads(read_recipe, content, "recipe.yaml")


@fuzzed(60)
@given(changed(TABLE).map(dumped) | damaged(dumped(TABLE).encode()))
def test_tables(content: bytes | str) -> None:
    refuses_or_reads(read_table, content, "table.yaml")


def _results() -> dict[str, Any]:
    condition = Condition(0.5, None, [0.5, None], 4, 1.0)
    return Results(
        model={
            "label": "a",
            "name": "a",
            "stem": None,
            "source": None,
            "parameters": 1,
            "seed": 0,
            "weights_sha256": None,
        },
        data={
            "name": "d",
            "label": "d",
            "split": "test",
            "images": 4,
            "image_size": [32, 32],
            "classes": ["a", "b"],
            "skipped": [],
            "limit": None,
            "note": None,
        },
        preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3, "size": None},
        corruption={"scale": "cifar", "seed": 0, "source": "in memory", "frost_textures": "procedural"},
        versions={"torch": "2"},
        device="cpu",
        created="2026-01-01",
        clean=condition,
        corrupted={"fog": {1: condition, 2: condition}},
        complete=True,
    ).to_json()


RESULTS = _results()


def as_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # a number of thousands of digits
        return "1" * 5000


@fuzzed(300)
@given(changed(RESULTS).map(as_json) | damaged(json.dumps(RESULTS).encode()) | st.binary(max_size=40))
def test_results(content: bytes | str) -> None:
    refuses_or_reads(lambda path: Results.load(path).errors(), content, "results.json")


MANIFEST = {
    "kind": "corrupted copy 1",
    "complete": True,
    "form": "npy",
    "source": "d",
    "label": "d",
    "note": None,
}
MANIFEST |= {
    "split": "test",
    "role": "test",
    "images": 4,
    "skipped": [],
    "image_size": [32, 32],
    "limit": None,
}
MANIFEST |= {"framing": {"resize": None, "crop": None}, "sha256": "0", "source_sha256": "1", "seed": 0}
MANIFEST |= {"corruptions": ["fog"], "severities": [1, 2], "scale": "cifar", "jpeg_quality": None}
MANIFEST |= {"frost_textures": "procedural", "shard_images": 4, "versions": {"torch": "2"}}


def _gone_on_with(path: Path) -> None:
    found = found_manifest(path.parent)
    assert found is not None
    list(differences(found, MANIFEST))
    remove_copy(path.parent, found)


@fuzzed(150)
@example(json.dumps(MANIFEST | {"label": "\ud800"}))
@given(
    st.sampled_from(["npy", "folder", "parquet"]).flatmap(
        lambda form: changed(MANIFEST | {"form": form}).map(as_json) | damaged(json.dumps(MANIFEST).encode())
    )
)
def test_manifests_of_copies(content: bytes | str) -> None:
    refuses_or_reads(_gone_on_with, content, "manifest.json")


STATE = create_model("resnet8", stem="pp3", input_style="cifar", num_classes=2).state_dict()
NOTES = {"model": "resnet8", "stem": "pp3", "input_style": "cifar", "alpha": "null", "classes": '["a", "b"]'}
NOTES["preprocessing"] = '{"mean": [0, 0, 0], "std": [1, 1, 1], "size": null}'


@fuzzed(50)
@given(
    st.dictionaries(
        st.sampled_from(sorted(NOTES)),
        VALUES.map(as_json) | st.text(st.characters(codec="utf-8"), max_size=9),
        max_size=3,
    )
)
def test_notes_of_weights(notes: dict[str, str]) -> None:
    def read(path: Path) -> None:
        save_file(STATE, path, NOTES | notes)
        load_network(path)

    refuses_or_reads(read, b"", "model.safetensors")


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


ARRAYS = st.sampled_from(["u1", "i8", "f4", "?", "U3", "c8", "M8[s]"]).flatmap(
    lambda kind: st.lists(st.integers(0, 12), max_size=4).map(lambda shape: _npy(np.zeros(shape, kind)))
)


@fuzzed(150)
@given(damaged(_npy(np.arange(20) % 4)) | ARRAYS)
def test_labels_of_arrays(content: bytes) -> None:
    def read(path: Path) -> None:
        np.save(path.with_name("fog.npy"), np.zeros((20, 32, 32, 3), np.uint8))
        found = open_published(path.parent)
        found.split("fog", 1)

    refuses_or_reads(read, content, "labels.npy")


def _encoded(form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((np.arange(16 * 16 * 3) % 251).astype(np.uint8).reshape(16, 16, 3)).save(stream, form)
    return stream.getvalue()


PICTURES = [_encoded(form) for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")]


@fuzzed(300)
@given(st.sampled_from(PICTURES).flatmap(damaged) | st.binary(max_size=64))
def test_images(content: bytes) -> None:
    def read(path: Path) -> None:
        image_size(content, "bytes")
        open_rgb(path, str(path))

    refuses_or_reads(read, content, "image")


def _in_folder(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def _looked_at(path: Path) -> None:
    for part in load_data(str(path.parent)).test, load_data(str(path.parent)).train:
        for row in range(len(part) if part else 0):
            assert part is not None
            part.image(row)


SHARD = _in_folder(lambda path: shard(path, [0, 2, 1]))
ROWS = _in_folder(lambda path: table([0, 2, 1], ["a", "b", "c"]).to_parquet(path))


@fuzzed(100)
@given(damaged(SHARD) | st.binary(max_size=600))
def test_tar_shards(content: bytes) -> None:
    refuses_or_reads(_looked_at, content, "test-0.tar")


@fuzzed(60)
@given(damaged(ROWS) | st.binary(max_size=40))
def test_tables_of_images(content: bytes) -> None:
    refuses_or_reads(_looked_at, content, "test.parquet")


@fuzzed(150)
@given(st.lists(st.text(max_size=6)).map("\n".join) | st.binary(max_size=40))
def test_lists_of_classes(content: bytes | str) -> None:
    refuses_or_reads(read_class_list, content, "classes.txt")


@fuzzed(150)
@given(changed({"done": 1, "of": 3}).map(as_json) | damaged(b'{"done": 1, "of": 3}') | st.binary(max_size=20))
def test_notes_of_epochs(content: bytes | str) -> None:
    refuses_or_reads(lambda path: epochs_left(path.parent), content, "epochs.json")


def test_the_examples_unchanged_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dumped(RECIPE))
    (tmp_path / "table.yaml").write_text(dumped(TABLE))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    assert read_recipe(tmp_path / "recipe.yaml").epochs == 3
    assert len(read_table(tmp_path / "table.yaml").rows) == 2
    assert Results.load(tmp_path).clean_error == 0.5
    with pytest.raises(InputError):
        read_recipe(tmp_path / "results.json")
