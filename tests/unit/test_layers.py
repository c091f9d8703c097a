"""`PushPullConv2d`: the function with its options, as a drop-in for `nn.Conv2d`."""

import copy
import inspect
import io
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from oracles.push_pull import push_pull_oracle
from pushpull.errors import InputError
from pushpull.unit.functional import push_pull_conv2d
from pushpull.unit.layers import PADDING_MODES, PushPullConv2d
from support import assert_near, random_tensor
from unit_options import options, tensors

# No option has its default's value; a test holds this table to the signature.
OTHER: dict[str, Any] = {
    "stride": (2, 1),
    "padding": (2, 1),
    "dilation": (1, 2),
    "groups": 2,
    "bias": False,
    "padding_mode": "reflect",
    "device": "cpu",
    "dtype": torch.float64,
    "alpha": 2.5,
    "trainable_alpha": True,
    "avg_kernel_size": 5,
    "offset": "mean",
    "weight_eps": 1e-3,
}


def unit(*args: Any, seed: int = 0, **kwargs: Any) -> PushPullConv2d:
    """A float64 unit whose bias and trained alpha are random too, of both signs."""
    module = PushPullConv2d(*args, **{"dtype": torch.float64, **kwargs})
    for i, parameter in enumerate(module.parameters()):
        parameter.data = random_tensor(*parameter.shape, seed=seed + i, dtype=parameter.dtype)
    return module


def trained(module: PushPullConv2d) -> nn.Parameter:
    """The parameter itself; `strength` is what acts."""
    return module.get_parameter("alpha")


def run(module: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of x and of the parameters against a fixed cotangent."""
    x = x.clone().requires_grad_()
    y = module(x)
    cotangent = random_tensor(*y.shape, seed=5, dtype=y.dtype)
    return [y, *torch.autograd.grad(y, [x, *module.parameters()], cotangent)]


def assert_same_run(got: nn.Module, expected: nn.Module, x: Tensor) -> None:
    for one, other in zip(run(got, x), run(expected, x), strict=True):
        assert_near(one, other)


def test_the_table_has_every_option() -> None:
    parameters = inspect.signature(PushPullConv2d).parameters
    defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    assert defaults.keys() == OTHER.keys()
    assert not [k for k in defaults if OTHER[k] == defaults[k]]


@pytest.mark.parametrize("bias", [True, False])
def test_class_equals_function(bias: bool) -> None:
    module = unit(4, 6, (3, 2), **{**OTHER, "bias": bias})
    x = random_tensor(2, 4, 9, 10, seed=3)
    w = module.weight
    mean = w.mean((1, 2, 3), keepdim=True)
    w = (w - mean) / ((w - mean).square().mean((1, 2, 3), keepdim=True) + 1e-3).sqrt()
    alpha = trained(module).abs()
    padded = F.pad(x, (1, 1, 2, 2), mode="reflect")
    options = {"stride": (2, 1), "dilation": (1, 2), "groups": 2, "alpha": alpha}
    options |= {"avg_kernel_size": 5, "offset": "mean"}
    assert_near(module(x), push_pull_conv2d(padded, w, module.bias, **options))


# Torch warns that it may copy x for "same" with an even kernel, as `nn.Conv2d` does.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@settings(max_examples=150, deadline=None)
@given(options(), st.sampled_from(PADDING_MODES))
def test_equals_two_convolutions_in_every_padding_mode(o: dict[str, Any], padding_mode: str) -> None:
    leaves = tensors(o)
    shared = {k: o[k] for k in ("stride", "padding", "dilation", "groups")} | {"padding_mode": padding_mode}
    strength = {"float": 1.7, "scalar": 0.0, "channel": 1.0}[o["alpha"]]
    module = PushPullConv2d(
        o["channels"] * o["groups"], o["filters"], o["kernel"], **shared, bias=o["bias"], dtype=torch.float64,
        alpha=strength, trainable_alpha=o["alpha"] == "channel", avg_kernel_size=o["avg_kernel_size"],
        offset=o["offset"],
    )  # fmt: skip
    state = {k: v.detach() for k, v in leaves.items() if k in module.state_dict()}
    module.load_state_dict(state, strict=True)
    acting = leaves["alpha"].abs() if "alpha" in state else strength
    x, weight, bias = leaves["x"], leaves["weight"], leaves.get("bias")
    shared |= {"avg_kernel_size": o["avg_kernel_size"], "offset": o["offset"]}
    expected = push_pull_oracle(x, weight, bias, alpha=acting, **shared)
    got = module(x)
    assert_near(got, expected)
    cotangent = random_tensor(*expected.shape, seed=o["seed"] + 9)
    names, own = list(state), dict(module.named_parameters())
    ours = torch.autograd.grad(got, [x, *(own[k] for k in names)], cotangent)
    theirs = torch.autograd.grad(expected, [x, *(leaves[k] for k in names)], cotangent)
    for one, other in zip(ours, theirs, strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("case", list(itertools.product((7, 8, 224), (1, 2, 4), (1, 3, 6), (1, 2))))
def test_tf_same_has_timms_geometry(case: tuple[int, int, int, int]) -> None:
    conv2d_same = pytest.importorskip("timm.layers").Conv2dSame
    size, stride, kernel, dilation = case
    conv = conv2d_same(2, 3, kernel, stride=stride, dilation=dilation).double()
    module = PushPullConv2d(
        2, 3, kernel, stride, "tf_same", dilation, dtype=torch.float64, alpha=0.0, avg_kernel_size=0
    )
    module.load_state_dict(conv.state_dict())
    x = random_tensor(1, 2, size, size + 3)
    push = conv(x) - conv.bias.reshape(-1, 1, 1)
    assert push.shape[-2:] == (-(-size // stride), -(-(size + 3) // stride))
    assert_near(module(x), push.relu() + conv.bias.reshape(-1, 1, 1))


def test_weight_eps_standardises_as_timm() -> None:
    conv = pytest.importorskip("timm.layers").StdConv2d(3, 5, 3, stride=2, padding=1, bias=True, eps=1e-6)
    module = PushPullConv2d(3, 5, 3, 2, 1, alpha=0.0, weight_eps=1e-6)
    module.load_state_dict(conv.state_dict())
    x = random_tensor(2, 3, 12, 11, dtype=torch.float32)
    bias = conv.bias.reshape(-1, 1, 1)
    assert_near(module(x), (conv(x) - bias).relu() + bias)


def test_state_dict_is_that_of_a_convolution() -> None:
    conv = nn.Conv2d(4, 6, (3, 5), groups=2)
    module = PushPullConv2d(4, 6, (3, 5), groups=2)
    assert list(module.state_dict()) == ["weight", "bias"]
    assert list(PushPullConv2d(4, 6, 3, bias=False).state_dict()) == ["weight"]
    assert list(PushPullConv2d(4, 6, 3, trainable_alpha=True).state_dict()) == ["weight", "bias", "alpha"]
    module.load_state_dict(conv.state_dict(), strict=True)
    assert torch.equal(module.weight, conv.weight)
    assert module.bias is not None
    assert torch.equal(module.bias, conv.bias)
    conv.load_state_dict(module.state_dict(), strict=True)
    assert not isinstance(module, nn.Conv2d)


def test_start_values() -> None:
    module = PushPullConv2d(16, 64, 5, alpha=1.5, trainable_alpha=True)
    # Variance 2 / fan-out = 2 / (64 * 25) over 25,600 numbers: the standard error of the ratio is 0.4 %.
    assert module.weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.03)
    assert module.bias is not None
    assert not module.bias.any()
    assert trained(module).tolist() == [1.5] * 64
    trained(module).data.zero_()
    module.reset_parameters()
    assert trained(module).tolist() == [1.5] * 64


def test_fixed_alpha_is_a_checked_number() -> None:
    module = unit(2, 3, 3, alpha=0.5)
    x = random_tensor(1, 2, 6, 6)
    assert module.alpha == 0.5
    assert isinstance(module.alpha, float)
    assert not module.trainable_alpha
    module.alpha = 2
    assert_near(module(x), push_pull_conv2d(x, module.weight, module.bias, alpha=2.0))
    for wrong in (-1, float("nan"), float("inf"), True, "1", torch.ones(3)):
        with pytest.raises(InputError, match="alpha="):
            module.alpha = wrong
    assert module.alpha == module.strength == 2.0


def test_trained_alpha_is_a_parameter_like_any_other() -> None:
    model = nn.Sequential(unit(2, 3, 3, trainable_alpha=True))
    assert model.get_parameter("0.alpha") is dict(model.named_parameters())["0.alpha"] is model[0].alpha
    with pytest.raises(InputError, match=r"alpha=2\.0 cannot be set: it is a trained parameter"):
        model[0].alpha = 2
    replaced = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    model[0].alpha = replaced
    assert model.get_parameter("0.alpha") is replaced


def test_trained_alpha_never_acts_below_zero() -> None:
    module = unit(2, 3, 3, trainable_alpha=True)
    parameter = trained(module)
    parameter.data.fill_(1.0)
    x = random_tensor(4, 2, 8, 8)
    (slope,) = torch.autograd.grad(module(x).sum(), parameter)
    assert (slope < 0).all()
    # Downhill on minus the output: a step that carries the parameter far below zero.
    parameter.grad = -slope
    torch.optim.SGD([parameter], lr=1e6).step()
    assert (parameter < -1e5).all()
    assert isinstance(module.strength, Tensor)
    assert torch.equal(module.strength, parameter.abs())
    assert_near(module(x), push_pull_conv2d(x, module.weight, module.bias, alpha=parameter.detach().abs()))


def test_trained_alpha_leaves_zero() -> None:
    module = unit(2, 3, 3, trainable_alpha=True)
    trained(module).data.zero_()
    assert isinstance(module.strength, Tensor)
    (slope,) = torch.autograd.grad(module.strength.sum(), trained(module))
    assert slope.tolist() == [1.0, 1.0, 1.0]


def test_trained_alpha_is_inhibition_a_channel() -> None:
    module = unit(2, 3, 3, trainable_alpha=True)
    parameter = trained(module)
    parameter.data = torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64)
    x = random_tensor(2, 2, 8, 8)
    (got,) = torch.autograd.grad(module(x).sum(), parameter)
    # dy/d|alpha| = -relu(Q): what alpha = 1 takes from alpha = 0, summed a channel; the sign is alpha's.
    without, with_ = (
        push_pull_oracle(x, module.weight, module.bias, alpha=a, avg_kernel_size=3) for a in (0.0, 1.0)
    )
    assert_near(got, (with_ - without).sum((0, 2, 3)) * torch.tensor([1.0, -1.0, 1.0]))


@pytest.mark.parametrize("trainable_alpha", [False, True])
def test_copies_are_equal_and_apart(trainable_alpha: bool) -> None:
    module = unit(4, 6, 3, 2, 1, padding_mode="circular", alpha=0.7, trainable_alpha=trainable_alpha)
    x = random_tensor(1, 4, 9, 9)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for twin in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert repr(twin) == repr(module)
        assert_same_run(twin, module, x)
        twin.weight.data.zero_()
        assert module.weight.all()


def test_functional_call_takes_other_parameters() -> None:
    module, other = (unit(4, 6, 3, trainable_alpha=True, seed=seed) for seed in (0, 50))
    x = random_tensor(1, 4, 9, 9)
    assert torch.equal(functional_call(module, dict(other.named_parameters()), x), other(x))


def test_to_and_meta_device() -> None:
    module = unit(4, 6, 3, 2, "tf_same", trainable_alpha=True)
    x = random_tensor(2, 4, 9, 9)
    single = copy.deepcopy(module).to(torch.float32)
    assert_near(single(x.float()), module(x))
    assert trained(single).dtype == torch.float32
    meta = PushPullConv2d(4, 6, 3, 2, 1, device="meta", trainable_alpha=True)
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    y = meta(torch.empty(2, 4, 9, 9, device="meta"))
    assert (y.shape, y.device.type) == ((2, 6, 5, 5), "meta")
    real = meta.to_empty(device="cpu")
    real.reset_parameters()
    assert real(torch.zeros(1, 4, 9, 9)).tolist() == torch.zeros(1, 6, 5, 5).tolist()


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_shape_and_memory_format_are_those_of_a_convolution(padding_mode: str) -> None:
    shared = {"stride": 2, "padding": 1, "padding_mode": padding_mode}
    conv, module = nn.Conv2d(4, 6, 3, **shared), PushPullConv2d(4, 6, 3, **shared)
    rows = torch.zeros(2, 4, 9, 8)
    for x in (rows, rows.contiguous(memory_format=torch.channels_last), rows[:0], rows[0]):
        assert module(x).shape == conv(x).shape
        assert module(x).stride() == conv(x).stride()


def test_autocast() -> None:
    module = unit(3, 8, 7, 2, 3, trainable_alpha=True, dtype=torch.float32)
    module.weight.data /= 12
    x = random_tensor(2, 3, 24, 24, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.bfloat16
    assert_near(y, module(x))


# aot_eager traces forward and backward as inductor does, without minutes of C++ compilation.
@pytest.mark.parametrize(
    "changed",
    [
        {"stride": 2, "padding": 3, "trainable_alpha": True},
        {"padding": "same", "dilation": 2, "groups": 2, "padding_mode": "circular", "weight_eps": 1e-6},
    ],
)
def test_compiles_as_one_graph(changed: dict[str, Any]) -> None:
    module = unit(4, 6, 3, **changed)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert_same_run(compiled, module, random_tensor(2, 4, 12, 13))


def test_exports() -> None:
    module = unit(4, 6, 3, 2, 1, trainable_alpha=True)
    x = random_tensor(2, 4, 9, 8)
    program = torch.export.export(module, (x,))
    assert_near(program.module()(x), module(x))


def test_repr() -> None:
    plain = PushPullConv2d(3, 8, 3)
    assert repr(plain) == "PushPullConv2d(3, 8, kernel_size=(3, 3), alpha=1.0, avg_kernel_size=3)"
    assert repr(PushPullConv2d(4, 6, (3, 2), **OTHER)) == (
        "PushPullConv2d(4, 6, kernel_size=(3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2, "
        "padding_mode=reflect, bias=False, trainable_alpha=True, avg_kernel_size=5, "
        "offset=mean, weight_eps=0.001)"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *[({"kernel_size": k}, "kernel_size=") for k in (0, -1, 2.5, True, (3, 3, 3), None)],
        *[({"stride": s}, "stride=") for s in (0, 1.5, None)],
        *[({"dilation": d}, "dilation=") for d in (0, 1.5, None)],
        *[({"padding": p}, "padding=") for p in (-1, 1.5, True, None)],
        ({"padding": "sme"}, "did you mean 'same'?"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"padding_mode": "zero"}, "did you mean 'zeros'?"),
        *[({"in_channels": c}, f"in_channels={c!r} must be a positive integer") for c in (0, 1.5, True)],
        *[({"out_channels": c}, f"out_channels={c!r} must be a positive integer") for c in (0, -6, "6")],
        ({"groups": 0}, "groups=0 must be a positive integer"),
        ({"groups": 3}, "in_channels=4 must be divisible by groups=3"),
        ({"groups": 4}, "out_channels=6 must be divisible by groups=4"),
        *[({"avg_kernel_size": k}, f"avg_kernel_size={k!r}") for k in (2, -1, 3.0, True)],
        *[({"offset": o}, f"offset={o!r} must be one of") for o in ("min", 1.5, -0.1, True, None, math.nan)],
        *[({"alpha": a}, "alpha=") for a in (-0.1, float("nan"), float("inf"), True, "1", None)],
        ({"alpha": torch.ones(6, 1)}, "must be a finite number of at least 0"),
        *[({"weight_eps": e}, f"weight_eps={e!r}") for e in (0, -1e-6, True, "1", float("inf"))],
    ],
)
def test_errors_of_the_constructor(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        PushPullConv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **changed})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "shape", "message"),
    [
        ({"padding": 8, "padding_mode": "reflect"}, (1, 4, 8, 9), "wider than the image (8, 9) can fill"),
        ({"padding": 9, "padding_mode": "circular"}, (1, 4, 8, 9), "wider than the image (8, 9) can fill"),
        ({"padding": 1, "padding_mode": "replicate"}, (8, 9), "x has shape (8, 9)"),
        ({"padding": "tf_same"}, (9,), "x has shape (9,)"),
        ({"padding": "tf_same"}, (1, 3, 8, 9), "x has 3 channels"),
        ({}, (1, 4, 2, 9), "is larger than the image (2, 9)"),
    ],
)
def test_errors_of_the_image(changed: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        PushPullConv2d(4, 6, 3, **changed)(torch.zeros(shape))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mode", "padding"), [("reflect", (7, 8)), ("circular", (8, 9))])
def test_padding_may_be_as_wide_as_the_image_fills(mode: str, padding: tuple[int, int]) -> None:
    shared = {"padding": padding, "padding_mode": mode}
    module = unit(4, 6, 3, **shared)
    x = random_tensor(1, 4, 8, 9)
    assert_near(module(x), push_pull_oracle(x, module.weight, module.bias, **shared))
