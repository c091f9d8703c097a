"""Weights from files: all or nothing."""

import pickle
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pushpull import InputError
from pushpull.errors import MissingFileError
from pushpull.models import load_weights, resnet8
from pushpull.models.loading import save_weights
from pushpull.models.network import load_network

State = dict[str, Tensor]


def network(seed: int, stem: str = "pp3") -> nn.Module:
    torch.manual_seed(seed)
    return resnet8(stem=stem)


def same(left: State, right: State) -> bool:
    return set(left) == set(right) and all(torch.equal(left[key], right[key]) for key in left)


WRITERS: dict[str, tuple[str, Callable[[State, Path], None]]] = {
    "safetensors": ("w.safetensors", save_file),
    "pth": ("w.pth", torch.save),
    "state_dict": ("w.pt", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
    "model": ("w.pth", lambda state, path: torch.save({"model": state}, path)),
    "parallel": ("w.pth", lambda state, path: torch.save({f"module.{k}": v for k, v in state.items()}, path)),
    "compiled": (
        "w.safetensors",
        lambda state, path: save_file({f"_orig_mod.module.{k}": v for k, v in state.items()}, path),
    ),
    "lightning": (
        "w.ckpt",
        lambda state, path: torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}}, path),
    ),
    "archive": ("w.pth.tar", lambda state, path: torch.save({"state_dict": state, "best_acc1": 3.0}, path)),
    "arguments": (
        "w.pth",
        lambda state, path: torch.save(
            {"model_state_dict": state, "args": Namespace(lr=1), "acc": np.float64(0.5), "at": path}, path
        ),
    ),
    "old": (
        "w.pth",
        lambda state, path: torch.save({k: v for k, v in state.items() if "num_batches" not in k}, path),
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_formats(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    source, target = network(0), network(1)
    write(source.state_dict(), tmp_path / name)
    assert not same(source.state_dict(), target.state_dict())
    assert load_weights(target, tmp_path / name) is target
    assert same(source.state_dict(), target.state_dict())


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numbers_of_numpy_1_and_2_stand_beside_weights(core: str, tmp_path: Path) -> None:
    source, target = network(0), network(1)
    written, path = tmp_path / "here.pth", tmp_path / "there.pth"
    torch.save({"model": source.state_dict(), "best": np.float64(0.5), "epoch": np.int64(3)}, written)
    own = np.float64(0).__reduce__()[0].__module__
    with zipfile.ZipFile(written) as here, zipfile.ZipFile(path, "w") as there:
        for info in here.infolist():
            content = here.read(info)
            if info.filename.endswith("data.pkl"):
                name = b"c%s\nscalar\n"
                assert name % own.encode() in content
                content = content.replace(name % own.encode(), name % f"numpy.{core}.multiarray".encode())
            there.writestr(info, content)
    load_weights(target, path)
    assert same(source.state_dict(), target.state_dict())


class Danger:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1 + 1",))


def broken(path: Path, content: object) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"not weights at all", "could not be read as weights"),
        ("w.safetensors", b"", "could not be read as weights"),
        ("w.pth", b"PK\x03\x04 cut off", "could not be read as weights"),
        ("w.pth", Danger(), "holds objects of builtins.eval, which are not loaded"),
        ("w.pth", [1, 2], "holds no state dict"),
        ("w.pth", {}, "holds no state dict"),
        ("w.pth", {"epoch": 3}, "holds no state dict"),
        ("w.npz", b"1234", "is not a file of weights; give one that ends in .safetensors, .pth"),
    ],
)
def test_broken_files(name: str, content: object, message: str, tmp_path: Path) -> None:
    path = broken(tmp_path / name, content)
    model = network(0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_weights(model, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(model.state_dict(), before)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(MissingFileError, match=f"{path} is not a file"):
            load_weights(network(0), path)


def changed(state: State, change: str) -> State:
    state = dict(state)
    if change == "shape":
        state["fc.weight"] = torch.zeros(11, 64)
    elif change == "missing":
        del state["fc.bias"]
    else:
        state["head.bias"] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("shape", r"it has fc.weight \(11, 64\) instead of \(10, 64\); nothing was loaded"),
        ("missing", "it lacks fc.bias;"),
        ("unknown", "it has unknown head.bias;"),
    ],
)
def test_weights_of_another_network_change_nothing(change: str, message: str, tmp_path: Path) -> None:
    path, model = tmp_path / "w.safetensors", network(1)
    save_file(changed(network(0).state_dict(), change), path)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(model, path)
    assert same(model.state_dict(), before)


def test_lazy_layers_take_the_shapes_of_the_file(tmp_path: Path) -> None:
    first, second = (nn.Sequential(nn.Flatten(), nn.LazyLinear(2)) for _ in range(2))
    image = torch.rand(2, 3, 4, 4)
    first(image)
    save_weights(first, tmp_path / "w.safetensors", {})
    assert torch.equal(load_weights(second, tmp_path / "w.safetensors")(image), first(image))


def test_a_long_list_of_keys_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(
        InputError, match=r"lacks conv1.weight, bn1.weight, bn1.bias and \d+ more; has unknown a;"
    ):
        load_weights(network(0), path)


def test_a_plain_networks_weights_fit_its_twin_but_not_one_that_trains_alpha(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(network(0, "plain").state_dict(), path)
    load_weights(network(1, "pp5"), path)
    with pytest.raises(InputError, match=r"lacks conv1\.alpha"):
        load_weights(network(1, "pp5_alpha"), path)


@pytest.mark.parametrize("how", ["archive", "old", "pickle", "script"])
@pytest.mark.parametrize("name", ["whole.pth", "whole.pkl"])
def test_a_whole_network_in_a_file_is_named_and_not_run(how: str, name: str, tmp_path: Path) -> None:
    path, model = tmp_path / name, network(0)
    match how:
        case "archive" | "old":
            torch.save(model, path, _use_new_zipfile_serialization=how == "archive")
        case "pickle":
            path.write_bytes(pickle.dumps(model))
        case "script":
            with warnings.catch_warnings(action="ignore"):
                torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), path)
    held = "TorchScript" if how == "script" else r"pushpull\.models"
    remedy = r"save the state dict \(torch\.save\(model\.state_dict\(\), path\)\), or give FILE\.py:FUNCTION"
    for read in (lambda: load_weights(model, path), lambda: load_network(str(path))):
        with pytest.raises(InputError, match=rf"{name} holds objects of {held}.*{remedy}") as caught:
            read()
        assert not set("\n\x1b") & set(str(caught.value))
        assert "x1b" not in str(caught.value)


def test_a_damaged_file_of_weights_is_not_taken_for_a_whole_network(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(network(0).state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="it may be damaged"):
        load_weights(network(1), path)


def as_in_the_paper(state: State, strength: Tensor) -> State:
    renamed = {"conv1.push_conv.weight" if k == "conv1.weight" else k: v for k, v in state.items()}
    renamed.pop("conv1.alpha", None)
    return {**renamed, "conv1.pull_inhibition_strength": strength}


@pytest.mark.parametrize("strength", [torch.tensor(0.7), torch.tensor([0.7]), torch.full((16,), 0.7)])
def test_checkpoints_of_the_papers_code(strength: Tensor, tmp_path: Path) -> None:
    source, target = network(0, "pp3_alpha"), network(1, "pp3_alpha")
    torch.save(as_in_the_paper(source.state_dict(), strength), tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    expected = {**source.state_dict(), "conv1.alpha": torch.full((16,), 0.7)}
    assert same(target.state_dict(), expected)


def test_a_strength_of_the_papers_code_beside_a_fixed_one(tmp_path: Path) -> None:
    source, target = network(0), network(1)
    torch.save(as_in_the_paper(source.state_dict(), torch.ones(1)), tmp_path / "one.pth")
    load_weights(target, tmp_path / "one.pth")
    assert same(source.state_dict(), target.state_dict())
    torch.save(as_in_the_paper(source.state_dict(), torch.tensor(0.5)), tmp_path / "half.pth")
    with pytest.raises(InputError, match=r"strength \[0.5\], here it is fixed at 1.0"):
        load_weights(target, tmp_path / "half.pth")


def test_prefixes_that_the_network_itself_has_stay(tmp_path: Path) -> None:
    wrapped = nn.ModuleDict({"model": nn.Linear(2, 2)})
    torch.save(wrapped.state_dict(), tmp_path / "w.pth")
    assert load_weights(nn.ModuleDict({"model": nn.Linear(2, 2)}), tmp_path / "w.pth")


@pytest.mark.parametrize("count", [0, 1, 40])
def test_the_same_weights_give_the_same_bytes(tmp_path: Path, count: int) -> None:
    metadata = {f"key {number}": f'"\x00\x7f\u00e9\n{number}' for number in range(count)}
    for number in range(5):
        save_weights(network(0), tmp_path / f"{number}.safetensors", metadata)
    contents = {path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    assert len(contents) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        assert (file.metadata() or {}) == metadata
    assert int.from_bytes(contents.pop()[:8], "little") % 8 == 0
    target = network(1)
    load_weights(target, tmp_path / "0.safetensors")
    assert same(target.state_dict(), network(0).state_dict())
