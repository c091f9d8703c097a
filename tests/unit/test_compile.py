"""`torch.compile`: one graph, for all sizes."""

import os
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pushpull.models import create_model
from pushpull.unit.layers import PushPullConv2d
from support import assert_near, needs_operator, random_tensor, tells_export

# One image is another graph for torch, whatever the network.
SIZES = [(2, 3, 21, 26), (5, 3, 32, 32), (3, 3, 19, 34)]
UNITS: list[dict[str, Any]] = [
    {"kernel_size": 7, "stride": 2, "padding": 3, "avg_kernel_size": 5, "offset": "mean"},
    {"kernel_size": 4, "stride": 3, "dilation": 2, "padding_mode": "reflect", "padding": 2},
    {"kernel_size": 3, "stride": 2, "padding": "tf_same", "trainable_alpha": True, "weight_eps": 1e-6},
    {"kernel_size": 3, "padding": "same", "groups": 3, "avg_kernel_size": 0, "offset": 0.25},
]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of x and the parameters against a fixed cotangent."""
    x = x.clone().requires_grad_()
    y = model(x)
    return [y, *torch.autograd.grad(y, [x, *model.parameters()], random_tensor(*y.shape, dtype=y.dtype))]


def assert_compiles_once(model: nn.Module) -> None:
    """Forward and backward over all sizes equal the eager ones, in one graph."""
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in SIZES:
            x = random_tensor(*size)
            for got, expected in zip(gradients(compiled, x), gradients(model, x), strict=True):
                assert_near(got, expected)


@pytest.mark.parametrize("options", UNITS)
def test_unit_compiles_once_for_all_sizes(options: dict[str, Any]) -> None:
    if options["padding"] == "tf_same" and not tells_export:
        pytest.skip("torch 2.6 cannot solve the sizes of tf_same")
    assert_compiles_once(PushPullConv2d(3, 6, **options, dtype=torch.float64))


def test_network_compiles_once_for_all_sizes() -> None:
    model = create_model("resnet8", stem="pp3", input_style="cifar", num_classes=4)
    assert_compiles_once(model.double().eval())


@needs_operator
def test_the_unit_is_one_operator_to_a_compiler() -> None:
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    unit = PushPullConv2d(3, 6, 7, 2, 3, trainable_alpha=True)
    x = random_tensor(2, 3, 20, 20, dtype=torch.float32)
    torch.compile(unit, fullgraph=True, backend=backend)(x)
    assert "pushpull.unit_in_chunks.default" in seen
    assert not any("conv" in name for name in seen)
    # Transformed inside the compiled program, it is plain operations, which can be transformed.
    seen.clear()
    each = torch.compile(lambda x: torch.func.vmap(unit)(x[:, None]), fullgraph=True, backend=backend)
    assert_near(each(x)[:, 0], unit(x))
    assert not any("pushpull" in name for name in seen)


def test_static_sizes_compile_once_each() -> None:
    model = PushPullConv2d(3, 6, 7, 2, 3, dtype=torch.float64)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="aot_eager")
    for size in SIZES[:2]:
        x = random_tensor(*size)
        assert_near(compiled(x), model(x))
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_near(compiled(x + 1), model(x + 1))


@pytest.mark.skipif(
    shutil.which("g++") is None or "PUSHPULL_INDUCTOR" not in os.environ,
    reason="half a minute of C++ compilation: set PUSHPULL_INDUCTOR=1, with g++ installed",
)
def test_inductor_compiles_once_for_all_sizes() -> None:
    model = PushPullConv2d(3, 6, 7, 2, 3)
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in SIZES:
            x = random_tensor(*size, dtype=torch.float32)
            y = compiled(x)
            assert_near(y, model(x))
            pairs = [torch.autograd.grad(out.sum(), [*model.parameters()]) for out in (y, model(x))]
            for got, expected in zip(*pairs, strict=True):
                assert_near(got, expected)
