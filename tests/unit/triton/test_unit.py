"""`push_pull_conv2d` and `push_pull_stem` by kernels, against the oracle of two convolutions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.backends.registry import lookup_backend
from torch.utils.checkpoint import checkpoint

from oracles.push_pull import push_pull_oracle
from pushpull.unit.backends.plain import per_filter
from pushpull.unit.functional import push_pull_conv2d, push_pull_stem
from support import assert_near
from unit.triton.made import fresh

CASES: list[dict[str, Any]] = [
    {"stride": 2, "padding": 3, "avg_kernel_size": 3},
    {"padding": "same", "groups": 2, "avg_kernel_size": 5, "alpha": 0.7, "offset": "mean"},
    {"stride": (3, 2), "avg_kernel_size": 0, "alpha": "scalar"},
]


def leaves(device: torch.device, groups: int = 1, alpha: Any = "channel") -> dict[str, Any]:
    shapes = {"x": (2, 4, 11, 13), "weight": (6, 4 // groups, 5, 4), "bias": (6,)}
    if isinstance(alpha, str):
        shapes["alpha"] = (6,) if alpha == "channel" else ()
    made: dict[str, Any] = {
        name: (fresh(*shape) / 4).to(device, torch.float32).requires_grad_() for name, shape in shapes.items()
    }
    return made if "alpha" in made else {**made, "alpha": alpha}


def tensors(given: dict[str, Any]) -> list[Tensor]:
    return [t for t in given.values() if isinstance(t, Tensor)]


def signs_certain(e: dict[str, Any], **options: Any) -> Tensor:
    """Where no sign hangs on the last bits: |P| and |Q| are the rectified responses of W plus those of -W."""
    push, pull = torch.zeros(()), torch.zeros(())
    for sign in (1, -1):
        signed = {"x": e["x"], "weight": sign * e["weight"], **options}
        rectified = push_pull_oracle(**signed, alpha=0.0)
        push, pull = push + rectified, pull + rectified - push_pull_oracle(**signed, alpha=1.0)
    return (push > 1e-4) & (pull > 1e-4)


@pytest.mark.parametrize(("case", "last"), [(0, False), (0, True), (1, True), (2, False)])
def test_equals_two_convolutions(case: int, last: bool, device: torch.device) -> None:
    options = dict(CASES[case])
    given = leaves(device, options.get("groups", 1), options.pop("alpha", "channel"))
    e = {k: v.detach().double().requires_grad_() if isinstance(v, Tensor) else v for k, v in given.items()}
    x = given["x"].contiguous(memory_format=torch.channels_last) if last else given["x"]
    y = push_pull_conv2d(**{**given, "x": x}, **options)
    assert y.grad_fn is not None
    assert "pushpull_inhibit" in y.grad_fn.name()
    wanted = push_pull_oracle(**e, **options)
    assert_near(y, wanted)
    assert y.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    of_y = (fresh(*y.shape).to(device) * signs_certain(e, **options)).float()
    got = torch.autograd.grad(y, tensors(given), of_y)
    right = torch.autograd.grad(wanted, tensors(e), of_y.double())
    for one, other in zip(got, right, strict=True):
        assert_near(one, other)
    # Without the image's gradient the box comes from a kernel too.
    some = {**given, "x": x.detach()}
    again = push_pull_conv2d(**some, **options)
    assert_near(again, wanted)
    for one, other in zip(torch.autograd.grad(again, tensors(some)[1:], of_y), right[1:], strict=True):
        assert_near(one, other)


def test_the_stem_equals_its_steps(device: torch.device) -> None:
    given = leaves(device)
    del given["bias"]
    scale, shift = (fresh(6).to(device, torch.float32) for _ in range(2))
    with torch.no_grad():
        y = push_pull_stem(**given, scale=scale, shift=shift, stride=2, padding=3)
        e = {k: v.detach().double() for k, v in given.items()}
        z = push_pull_oracle(**e, stride=2, padding=3) * per_filter(scale.double()) + per_filter(shift)
        wanted = F.max_pool2d(F.relu(z), 3, 2, 1)
    assert_near(y, wanted)
    trained = push_pull_stem(**given, scale=scale, shift=shift, stride=2, padding=3)
    assert trained.requires_grad
    assert_near(trained, wanted)


def test_compiles_once_for_all_sizes(device: torch.device) -> None:
    given = leaves(device)
    rest = {k: v for k, v in given.items() if k != "x"}

    def loss(x: Tensor) -> Tensor:
        return push_pull_conv2d(x, **rest, stride=2, padding=3).square().sum()

    seen: set[str] = set()

    def backend(graph: torch.fx.GraphModule, examples: Any) -> Any:
        seen.update(str(node.target) for node in graph.graph.nodes)
        return lookup_backend("aot_eager")(graph, examples)

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in ((2, 4, 9, 7), (3, 4, 6, 8)):
            x = fresh(*size).to(device, torch.float32)
            pairs = zip(
                torch.autograd.grad(compiled(x), tensors(rest)),
                torch.autograd.grad(loss(x), tensors(rest)),
                strict=True,
            )
            assert all(torch.equal(one, other) for one, other in pairs)
    assert {"pushpull.inhibit.default", "pushpull.box_mean.default"} <= seen
    torch._dynamo.reset()


def test_export_keeps_plain_operations(device: torch.device) -> None:
    class Unit(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return push_pull_conv2d(x, weight, padding=1)

    given = leaves(device)
    program = torch.export.export(Unit(), (given["x"].detach(), given["weight"].detach()))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert targets
    assert all(target.startswith("aten.") for target in targets)


def test_checkpoints_transforms_and_autocast(device: torch.device) -> None:
    given = leaves(device)
    x, weight = given["x"], given["weight"]
    unit = lambda x, weight: push_pull_conv2d(x, weight, stride=2)  # noqa: E731
    y = unit(x, weight)
    right = torch.autograd.grad(y.sum(), [x, weight])
    again = torch.autograd.grad(checkpoint(unit, x, weight, use_reentrant=False).sum(), [x, weight])
    assert all(torch.equal(a, b) for a, b in zip(again, right, strict=True))
    assert_near(torch.func.vmap(unit, (0, None))(x[:, None], weight)[:, 0], y)
    assert_near(torch.func.grad(lambda w: unit(x, w).sum())(weight), right[1])
    with torch.autocast(device.type, torch.bfloat16):
        half = unit(x, weight)
    assert half.dtype == torch.bfloat16
    assert_near(half, y)
    assert torch.isfinite(torch.autograd.grad(half.float().sum(), weight)[0]).all()
