"""The unit through torch.export and ONNX, with every size left open."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from export.made import CLASSES, PREPROCESSING, make_run
from pushpull import create_model, load_network
from pushpull.data import Framing, Preprocessing
from pushpull.errors import InputError
from pushpull.export.exporting import ExportOptions, export_model
from pushpull.export.formats import Card, load_program, read_card
from pushpull.unit.layers import PushPullConv2d
from support import assert_near, random_tensor

SIZES = [(1, 3, 21, 26), (5, 3, 32, 32), (3, 3, 19, 34)]
UNITS: list[dict[str, Any]] = [
    {"kernel_size": 7, "stride": 2, "padding": 3, "avg_kernel_size": 5},
    {"kernel_size": 7, "stride": 4, "padding": 2, "avg_kernel_size": 0},
    {"kernel_size": 7, "stride": 2, "padding": 3, "avg_kernel_size": 3, "offset": "mean"},
    {"kernel_size": 4, "stride": 3, "dilation": 2, "padding_mode": "reflect", "padding": 2},
    {"kernel_size": 3, "stride": 2, "padding": "tf_same", "trainable_alpha": True, "weight_eps": 1e-6},
    {"kernel_size": 3, "padding": "same", "groups": 3, "padding_mode": "circular"},
]


def made(options: dict[str, Any]) -> PushPullConv2d:
    unit = PushPullConv2d(3, 6, **options)
    for i, parameter in enumerate(unit.parameters()):
        parameter.data = random_tensor(*parameter.shape, seed=i, dtype=torch.float32) / 4
    return unit.eval()


def exported(unit: PushPullConv2d) -> ExportedProgram:
    """Open in number, height and width; torch would raise if a size were bound to what it saw."""
    open_sizes = {0: Dim("n", min=1), 2: Dim("h", min=16), 3: Dim("w", min=16)}
    return torch.export.export(unit, (torch.zeros(2, 3, 24, 29),), dynamic_shapes=(open_sizes,))


def images(size: tuple[int, ...]) -> Tensor:
    return random_tensor(*size, dtype=torch.float32)


@pytest.mark.parametrize("options", UNITS)
def test_exports_with_open_sizes_and_back(options: dict[str, Any]) -> None:
    unit = made(options)
    program = exported(unit)
    for size in SIZES:
        assert_near(program.module()(images(size)), unit(images(size)))


def test_program_survives_a_file_and_trains_on() -> None:
    unit = made(UNITS[0])
    file = io.BytesIO()
    torch.export.save(exported(unit), file)
    file.seek(0)
    module = torch.export.load(file).module()
    x = images(SIZES[0])
    ours = torch.autograd.grad(module(x).square().sum(), module.get_parameter("weight"))
    expected = torch.autograd.grad(unit(x).square().sum(), unit.weight)
    assert_near(ours[0], expected[0])
    assert torch.equal(torch.export.unflatten(exported(unit)).get_parameter("weight"), unit.weight)


@pytest.mark.filterwarnings("ignore")  # the exporter's, on its own internals
@pytest.mark.parametrize("options", [UNITS[0], UNITS[3]])
def test_onnx_with_open_sizes(options: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    unit = made(options)
    file = io.BytesIO()
    torch.onnx.export(exported(unit), dynamo=True, input_names=["x"], verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for size in SIZES:
        (got,) = session.run(None, {"x": images(size).numpy()})
        assert_near(torch.from_numpy(got), unit(images(size)))


def test_weights_keep_a_strength_that_is_not_the_stems_own(tmp_path) -> None:
    model = create_model("resnet8", stem="pp3", input_style="cifar", num_classes=2, alpha=0.25).eval()
    card = Card("resnet8", "pp3", "mine", ["a", "b"], Preprocessing(), Framing(), (32, 32), "cifar")
    export_model(model, tmp_path / "model.safetensors", card, ExportOptions("safetensors"))
    again = load_network(tmp_path / "model.safetensors").model.eval()
    images = torch.rand(2, 3, 32, 32)
    assert again.conv1.alpha == 0.25
    assert torch.equal(again(images), model(images))


def _own() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = (
        torch.nn.Conv2d(3, 4, 3, 2),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    )
    return torch.nn.Sequential(*layers)


def test_a_network_is_exported_without_a_card(tmp_path) -> None:
    run = load_network(make_run(tmp_path / "run"))
    assert export_model(run, tmp_path / "run.pt2").same_class == 4
    card = read_card(load_program(tmp_path / "run.pt2").metadata, "run.pt2")
    assert (card.classes, card.preprocessing.mean, card.size) == (CLASSES, PREPROCESSING.mean, (32, 32))
    images = torch.rand(2, 3, 24, 32)
    export_model(_own(), tmp_path / "own.pt2", images=images)
    loaded = load_program(tmp_path / "own.pt2")
    card = read_card(loaded.metadata, "own.pt2")
    assert (card.classes, card.size, card.texts["model"]) == (list("01234"), (24, 32), "Sequential")
    assert_near(loaded.run(images), _own()(images))


def test_a_network_of_an_unknown_size_needs_images_or_a_card(tmp_path) -> None:
    with pytest.raises(InputError, match=r"the size of the images is not known; give images .*, or a Card"):
        export_model(_own(), tmp_path / "own.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("clone", [True, False])
def test_what_is_said_without_onnx_fits_how_the_package_came(clone, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if not clone:
        monkeypatch.setattr("pushpull.errors.__file__", str(tmp_path / "site-packages/pushpull/errors.py"))
    command = r"pip install -e '\.\[onnx\]' in the clone" if clone else r"pip install 'pushpull-net\[onnx\]'"
    with pytest.raises(InputError, match=f"onnxruntime; {command}, or choose exported-program"):
        ExportOptions("onnx")
