"""Weights from files: all or nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pushpull import InputError
from pushpull.errors import MissingFileError
from pushpull.models import load_weights, resnet8

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
        ("w.pth", Danger(), "could not be read as weights"),
        ("w.pth", [1, 2], "holds no state dict"),
        ("w.pth", {}, "holds no state dict"),
        ("w.pth", {"epoch": 3}, "holds no state dict"),
        ("w.npz", b"1234", "is not a .safetensors, .pth or .pt file"),
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
