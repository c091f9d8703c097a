"""`fuse_stem`: the same results in fewer steps, or a refusal that says why."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from oracles.push_pull import push_pull_oracle
from pushpull import PushPullConv2d, create_model, fuse_stem, replace_first_conv
from pushpull.errors import InputError
from pushpull.unit.functional import push_pull_stem
from pushpull.unit.fusion import FusedStem
from support import assert_near, random_tensor


def fresh_statistics(model: nn.Module) -> nn.Module:
    """Batch norms as after training: scales of both signs."""
    for i, norm in enumerate(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        for j, t in enumerate((norm.running_mean, norm.weight, norm.bias)):
            if t is not None:
                t.data = 0.5 * random_tensor(*t.shape, seed=100 * i + j, dtype=torch.float32)
        norm.running_var = 0.5 + random_tensor(norm.num_features, seed=i, dtype=torch.float32).abs()
    return model.eval()


def stem(**options: bool) -> nn.Sequential:
    unit = PushPullConv2d(3, 8, 7, 2, 3, trainable_alpha=True, **options)
    with torch.no_grad():
        unit.get_parameter("alpha").uniform_(-1, 2)
        if unit.bias is not None:
            unit.bias.normal_()
    whole = nn.Sequential(unit, nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    fresh_statistics(whole)
    return whole


def images(*shape: int) -> Tensor:
    return random_tensor(*shape, dtype=torch.float32)


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("shape", [(3, 3, 37, 42), (1, 3, 224, 224), (0, 3, 16, 16)])
def test_the_function_equals_its_steps_in_double_precision(k: int, shape: tuple[int, ...]) -> None:
    x, weight = images(*shape), 0.2 * random_tensor(6, 3, 7, 7, seed=1, dtype=torch.float32)
    scale, shift, alpha = (random_tensor(6, seed=s, dtype=torch.float32) for s in (2, 3, 4))
    for last in (False, True):
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        y = push_pull_stem(x, weight, scale, shift, 2, 3, alpha=alpha, avg_kernel_size=k)
        if not len(x):
            assert y.shape == (0, 6, 4, 4)
            continue
        assert y.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        exact = push_pull_oracle(
            x.double(), weight.double(), alpha=alpha.double(), avg_kernel_size=k, stride=2, padding=3
        )
        z = exact * scale.double()[:, None, None] + shift.double()[:, None, None]
        assert_near(y, F.max_pool2d(F.relu(z), 3, 2, 1))


def test_the_function_has_gradients_and_rounds_once_under_autocast() -> None:
    x, weight = images(2, 3, 20, 20), random_tensor(4, 3, 3, 3, dtype=torch.float32).requires_grad_()
    ones, zeros = torch.ones(4), torch.zeros(4)
    y = push_pull_stem(x, weight, ones, zeros)
    (got,) = torch.autograd.grad(y.sum(), weight)
    exact = F.max_pool2d(F.relu(push_pull_oracle(x, weight)), 3, 2, 1)
    assert_near(got, torch.autograd.grad(exact.sum(), weight)[0])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = push_pull_stem(x, weight, ones, zeros)
    assert half.dtype == torch.bfloat16
    assert_near(half, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 8, 8)}, r"a stem takes batches \(N, C_in, H, W\): x\[None\]"),
        ({"scale": torch.ones(5)}, r"scale has shape \(5,\); it must be a tensor \(4,\)"),
        ({"scale": 1.0}, r"scale is 1.0; it must be a tensor \(4,\)"),
        ({"avg_kernel_size": 2}, "avg_kernel_size=2 must be 0"),
    ],
)
def test_arguments_that_do_not_fit(change: dict[str, object], message: str) -> None:
    given = {"x": torch.zeros(1, 3, 8, 8), "weight": torch.zeros(4, 3, 3, 3)}
    given |= {"scale": torch.ones(4), "shift": torch.zeros(4)}
    with pytest.raises(InputError, match=message):
        push_pull_stem(**(given | change))  # type: ignore[arg-type]


def resnet_of_torchvision() -> nn.Module:
    model = torchvision.models.resnet18(num_classes=7)
    replace_first_conv(model, avg_kernel_size=5, trainable_alpha=True)
    return model


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: create_model("resnet18", stem="pp3", num_classes=7), "conv1"),
        (resnet_of_torchvision, "conv1"),
        (lambda: create_model("torchvision:densenet121", stem="pp0", num_classes=7), "features.conv0"),
    ],
    ids=["ours", "torchvision", "densenet"],
)
def test_networks_give_the_same(make: Callable[[], nn.Module], name: str) -> None:
    torch.manual_seed(0)
    model = fresh_statistics(make())
    before = copy.deepcopy(model)
    fused = fuse_stem(model)
    assert model.get_submodule(name) is fused
    x = images(2, 3, 64, 61)
    with torch.inference_mode():
        wanted = before(x)
        assert_near(model(x) / wanted.abs().max(), wanted / wanted.abs().max())
    # Exported, it is plain operations again.
    with torch.no_grad():
        program = torch.export.export(model, (x,))
        assert_near(program.module()(x), model(x))


def test_a_bias_goes_into_the_shift_and_the_unit_stays() -> None:
    whole = stem()
    unit, before = whole[0], copy.deepcopy(whole)
    bias = unit.bias.clone()
    fused = fuse_stem(whole)
    assert set(fused.state_dict()) == {"unit.weight", "unit.alpha", "scale", "shift"}
    assert torch.equal(unit.bias, bias)
    with torch.no_grad():
        assert_near(whole(images(2, 3, 30, 40)), before(images(2, 3, 30, 40)))
    again = copy.deepcopy(whole)
    assert_near(again(images(1, 3, 30, 30)), before(images(1, 3, 30, 30)))
    again.load_state_dict(whole.state_dict())
    with pytest.raises(InputError, match="a fused stem does not train: call eval"):
        whole.train()(images(1, 3, 30, 30))


def test_in_half_precision() -> None:
    whole = stem().bfloat16()
    before = copy.deepcopy(whole).float()
    fuse_stem(whole)
    with torch.no_grad():
        y = whole(images(2, 3, 30, 30).bfloat16())
        assert y.dtype == torch.bfloat16
        assert_near(y, before(images(2, 3, 30, 30).bfloat16().float()))


def test_compiled_it_is_the_same() -> None:
    whole = stem()
    before = copy.deepcopy(whole)
    fuse_stem(whole)
    compiled = torch.compile(whole, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.inference_mode():
        assert_near(compiled(images(2, 3, 30, 33)), before(images(2, 3, 30, 33)))


class Skips(nn.Module):
    """Uses the unit's response twice."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.stem, self.way = stem(), way

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        unit, norm, relu, pool = self.stem
        response = unit(x)
        if self.way == "unused":
            return pool(relu(norm(x.new_zeros(1, 8, 4, 4))))
        if self.way == "function":
            return pool(F.relu(norm(response)))
        y = pool(relu(norm(response)))
        if self.way == "returned":
            return y, response
        if self.way == "twice":
            return pool(y)
        return y.mean() + response.detach().mean()


def changed(place: int, module: nn.Module) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        whole = stem()
        whole[place] = module.eval()
        return whole

    return make


def hooked() -> nn.Module:
    whole = stem()
    whole[1].register_forward_hook(lambda *_: None)
    return whole


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 3, "model is a int"),
        (lambda: PushPullConv2d(3, 4, 3).eval(), "the model itself is a push-pull unit"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), "has no push-pull unit; pushpull.replace_first"),
        (lambda: stem().train(), r"is in training mode; .* call model.eval\(\)"),
        (lambda: Skips("unused").eval(), "no batch norm module follows 'stem.0' .*, but nothing"),
        (lambda: Skips("function").eval(), "no relu module follows 'stem.1' .*, but the function relu"),
        (lambda: Skips("returned").eval(), "the model returns what goes into 'stem.1' "),
        (lambda: Skips("twice").eval(), "'stem.3' is called more than once"),
        (
            lambda: Skips("used").eval(),
            r"what goes into 'stem.1' \(BatchNorm2d\) is used by the function detach",
        ),
        (changed(1, nn.Identity()), r"no batch norm module follows '0' .*, but '1' \(Identity\)"),
        (changed(1, nn.BatchNorm2d(8, track_running_stats=False)), "'1' has no running statistics"),
        (changed(2, nn.GELU()), r"no relu module follows '1' \(BatchNorm2d\), but '2' \(GELU\)"),
        (changed(3, nn.MaxPool2d(2)), r"'3' is MaxPool2d\(.*, not a 3x3 max-pool of stride 2"),
        (hooked, "'1' has hooks"),
        (
            lambda: create_model("resnet8", stem="pp3", input_style="cifar").eval(),
            "no max-pool module follows",
        ),
    ],
)
def test_what_cannot_be_fused_is_refused_and_stays(make: Callable[[], nn.Module], message: str) -> None:
    model = make()
    before = list(model.modules()) if isinstance(model, nn.Module) else None
    with pytest.raises(InputError, match=message):
        fuse_stem(model)
    if before is not None:
        after = list(model.modules())
        assert len(after) == len(before)
        assert all(a is b for a, b in zip(after, before, strict=True))


def test_fused_twice_or_for_other_input() -> None:
    whole = stem()
    fuse_stem(whole, {"input": images(1, 3, 20, 20)})
    assert isinstance(whole[0], FusedStem)
    with pytest.raises(InputError, match="has a fused stem already"):
        fuse_stem(whole)
    with pytest.raises(InputError, match=r"the model does not run \(RuntimeError.*give example_input="):
        fuse_stem(nn.Sequential(stem(), nn.Flatten(), nn.Linear(5, 5)).eval())


def test_a_relu_that_serves_elsewhere_stays() -> None:
    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = stem()

        def forward(self, x: Tensor) -> Tensor:
            return self.stem[2](self.stem(x) - 1)

    model = Shares().eval()
    before = copy.deepcopy(model)
    fuse_stem(model)
    assert isinstance(model.stem[2], nn.ReLU)
    with torch.no_grad():
        assert_near(model(images(2, 3, 30, 30)), before(images(2, 3, 30, 30)))


def test_timm_networks_fuse_by_name() -> None:
    model = fresh_statistics(timm.create_model("pushpull_resnet18", num_classes=5))
    before = copy.deepcopy(model)
    fuse_stem(model)
    with torch.inference_mode():
        assert_near(model(images(1, 3, 64, 64)), before(images(1, 3, 64, 64)))
