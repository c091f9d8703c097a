"""The gate: a converted network starts as the plain one and becomes the unit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests.support import assert_near, random_tensor
from torch import nn

from pushpull import InputError, PushPullConv2d, finish_gate, fuse_stem, gate_at, replace_first_conv, set_gate
from pushpull.unit.gate import gates

X = random_tensor(2, 3, 13, 14)
OPTIONS = [
    {"stride": 2, "padding": 1, "alpha": 0.7},
    {"groups": 3, "out_channels": 6, "bias": False, "offset": "mean", "avg_kernel_size": 0},
    {"padding": 2, "dilation": 2, "padding_mode": "reflect", "trainable_alpha": True, "weight_eps": 1e-6},
]


def unit_of(options: dict[str, object], dtype: torch.dtype = torch.float64) -> PushPullConv2d:
    torch.manual_seed(0)
    unit = PushPullConv2d(
        **{"in_channels": 3, "out_channels": 4, "kernel_size": 3, "dtype": dtype, **options}
    )
    if unit.bias is not None:
        nn.init.normal_(unit.bias)
    return unit


def plain_response(unit: PushPullConv2d, x: torch.Tensor) -> torch.Tensor:
    x, weight, window = unit.prepared(x)
    bias = unit.bias
    return F.conv2d(x, weight, bias, window.stride, window.padding, window.dilation, window.groups)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("gate", [0.0, 0.3, 1.0])
def test_the_gate_mixes_the_plain_convolution_and_the_unit(options: dict[str, object], gate: float) -> None:
    unit = unit_of(options)
    whole = unit(X)
    set_gate(unit, gate)
    if gate == 1:
        set_gate(unit, 0.5)
        set_gate(unit, 1)
    assert_near(unit(X), gate * whole + (1 - gate) * plain_response(unit, X))
    assert_near(unit(X[0]), unit(X)[0])
    torch.autograd.gradcheck(unit, X[:1, :, :4, :5].clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_in_every_precision(dtype: torch.dtype) -> None:
    unit = unit_of(OPTIONS[0])
    set_gate(unit, 0.25)
    expected = unit(X)
    y = unit.to(dtype)(X.to(dtype))
    assert y.dtype == dtype
    assert_near(y, expected, torch.bfloat16 if dtype == torch.float16 else dtype)
    if dtype == torch.float32:
        with torch.autocast("cpu", torch.bfloat16):
            assert unit(X.float()).dtype == torch.bfloat16


def test_preserved_at_the_start_and_the_text_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).double().eval()
    before = model(X)
    done = replace_first_conv(model, start="preserve", alpha=2.0)
    assert_near(model(X), before)
    assert "The function is kept" in str(done)
    assert "gated" in repr(model)
    set_gate(model, 1)
    assert not torch.allclose(model(X), before)
    with pytest.raises(InputError, match="start='half' is not one of unit, preserve"):
        replace_first_conv(nn.Sequential(nn.Conv2d(3, 4, 3)), start="half")


def test_saved_half_way_it_loads_half_way_into_either_kind(tmp_path) -> None:
    model, plain = (nn.Sequential(unit_of(OPTIONS[0])) for _ in range(2))
    set_gate(model, 0.5)
    save_file(model.state_dict(), tmp_path / "half.safetensors")
    for other in (plain, copy.deepcopy(model)):
        set_gate(other, 1)
        other.load_state_dict(load_file(tmp_path / "half.safetensors"))
        assert float(other[0].gate) == 0.5
        assert torch.equal(other(X), model(X))
    set_gate(model, 1)
    finished = nn.Sequential(unit_of(OPTIONS[0]))
    finished.load_state_dict(model.state_dict())
    assert finished[0].gate is None, "at 1 nothing is left of the gate"


def test_finished_it_is_the_unit_and_nothing_else() -> None:
    model = nn.Sequential(unit_of(OPTIONS[0]))
    keys, expected = list(model.state_dict()), model(X)
    set_gate(model, 0.5)
    with pytest.raises(InputError, match=r"the gate is at 0\.5: without it"):
        finish_gate(model)
    set_gate(model, 1)
    assert torch.equal(model(X), expected)
    finish_gate(model)
    assert list(model.state_dict()) == keys


def test_fusing_takes_the_gate_away_at_1_only() -> None:
    unit = unit_of({"padding": 1})
    model = nn.Sequential(unit, nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)).double().eval()
    set_gate(model, 0.5)
    with pytest.raises(InputError, match=r"has a gate at 0\.5, not at 1"):
        fuse_stem(model)
    set_gate(model, 1)
    expected = model(X)
    assert_near(fuse_stem(model)(X), expected)
    assert not any("gate" in key for key in model.state_dict())


def test_a_compiler_takes_the_gate_as_a_tensor_and_compiles_once() -> None:
    model = nn.Sequential(unit_of(OPTIONS[0], torch.float32))
    set_gate(model, 0.0)
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=counting, fullgraph=True)
    x = X.float()
    for gate in (0.0, 0.25, 0.5, 1.0):
        set_gate(model, gate)
        assert_near(compiled(x), model(x))
    assert len(graphs) == 1


def test_averages_of_a_model_follow_its_gate() -> None:
    model = nn.Sequential(unit_of(OPTIONS[0]))
    set_gate(model, 0)
    average = torch.optim.swa_utils.AveragedModel(model)
    set_gate(model, 0.75)
    average.update_parameters(model)
    assert float(average.module[0].gate) == 0.75
    assert_near(average(X), model(X))


def test_a_plain_loop_moves_it_to_1() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 11 * 12, 2)).double()
    replace_first_conv(model, start="preserve")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    seen = []
    for step in range(8):
        set_gate(model, gate_at(step, 8))
        seen.append(float(model[0].gate))
        F.cross_entropy(model(X), torch.tensor([0, 1])).backward()
        optimizer.step()
    assert seen == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert [gate_at(step, 4, 0) for step in (0, 1)] == [1, 1]


@pytest.mark.parametrize(("steps", "share"), [(1, 0.5), (2, 0.5), (4, 1), (100, 0.999), (1, 1)])
def test_the_last_step_has_it_at_1(steps: int, share: float) -> None:
    assert gate_at(steps - 1, steps, share) == 1
    assert steps == 1 or gate_at(0, steps, share) == 0


def test_gates_of_other_types_and_places_are_read_together() -> None:
    model = nn.Sequential(unit_of({}, torch.float32), unit_of({}, torch.bfloat16), unit_of({}))
    for unit, gate in zip(model[:2], (0.25, 0.5), strict=True):
        set_gate(unit, gate)
    assert gates(model) == [0.25, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: set_gate(nn.Sequential(nn.Conv2d(3, 4, 3)), 0), "has no push-pull unit, so no gate"),
        (lambda: finish_gate(nn.ReLU()), "has no push-pull unit, so no gate"),
        *((lambda g=g: set_gate(unit_of({}), g), "must be a number from 0") for g in (-0.1, 1.1, "x", True)),
        (lambda: gate_at(0, 10, 2), "share=2 of the steps must be from 0 to 1"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_the_gate_moves_with_the_model() -> None:
    unit = unit_of(OPTIONS[1])
    set_gate(unit, 0.5)
    assert unit.to("meta").gate.device.type == "meta"
    assert list(unit.state_dict()) == ["weight", "gate"]
