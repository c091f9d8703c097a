"""The unit through torch.export and ONNX, with every size left open."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from pushpull import create_model, load_network
from pushpull.data import Framing, Preprocessing
from pushpull.export.card import Card
from pushpull.export.exporting import ExportOptions, export_model
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
