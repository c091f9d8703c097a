"""Replacing a convolution: what is kept, what is refused, and that nothing changes when it is."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.layers.cond_conv2d import CondConv2d
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import DeformConv2d

from pushpull import InputError, PushPullConv2d, replace_first_conv
from pushpull.models import resnet8

IMAGE = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


def small(conv: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(
        conv or nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 3)
    )


def structure(model: nn.Module) -> list[object]:
    return [(n, id(m), m.training) for n, m in model.named_modules(remove_duplicate=False)]


def test_the_unit_takes_over_the_very_parameters() -> None:
    model = small(nn.Conv2d(3, 4, (3, 5), (2, 1), (1, 2), (1, 1), padding_mode="reflect"))
    model.to(torch.bfloat16, memory_format=torch.channels_last)
    old = model[0]
    old.weight.requires_grad_(False)
    weight, bias = old.weight, old.bias
    done = replace_first_conv(model, alpha=0.5, avg_kernel_size=5)
    new = model[0]
    assert isinstance(new, PushPullConv2d)
    assert (done.old, done.new, done.name, done.names) == (old, new, "0", ("0",))
    assert new.weight is weight
    assert new.bias is bias
    assert not new.weight.requires_grad
    assert new.weight.is_contiguous(memory_format=torch.channels_last)
    assert (new.kernel_size, new.stride, new.padding, new.dilation) == ((3, 5), (2, 1), (1, 2), (1, 1))
    assert (new.padding_mode, new.alpha, new.avg_kernel_size, new.weight_eps) == ("reflect", 0.5, 5, None)
    assert model(IMAGE.bfloat16()).dtype == torch.bfloat16


def test_the_text_says_what_and_that_the_function_changes() -> None:
    text = str(replace_first_conv(small()))
    assert text.count("\n") == 1
    for part in ("0: Conv2d(3, 4", "PushPullConv2d(3, 4", "the function is not", "18 % to 37 %"):
        assert part in text


def test_train_flags_buffers_and_random_state_are_untouched() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.mean.copy_(x.mean((0, 2, 3)))
            self.seen = self.seen + 1
            return x + torch.rand(())

    model = nn.Sequential(Counting(), *small())
    model.train()
    model[2].eval()
    model[1].eval()
    seen = model[0].seen
    state, before = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    new = replace_first_conv(model).new
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, False, False, True, True]
    assert model[1] is new
    assert model[0].seen is seen
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_hooks_move_over_and_their_handles_still_remove_them() -> None:
    model, calls = small(), []
    old = model[0]
    handles = [
        old.register_forward_hook(lambda *_: calls.append("after")),
        old.register_forward_pre_hook(lambda *_, **__: calls.append("before"), with_kwargs=True),
        old.register_full_backward_hook(lambda *_: calls.append("backward")),
    ]
    replace_first_conv(model)
    assert calls == []
    model(IMAGE.clone().requires_grad_()).sum().backward()
    assert calls == ["before", "after", "backward"]
    old(IMAGE)
    assert len(calls) == 3
    for handle in handles:
        handle.remove()
    model(IMAGE)
    old(IMAGE)
    assert len(calls) == 3


def test_the_first_that_runs_not_the_first_registered() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(8, 2, 3)
            self.stem = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.stem(x))

    assert replace_first_conv(Reversed()).name == "stem"


def test_one_that_runs_first_on_something_else_does_not_count() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.ones(1, 3, 8, 8))
            self.mix = nn.Conv2d(3, 3, 3, padding=1)
            self.stem = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.stem(x + self.mix(self.table).mean())

    assert replace_first_conv(Positions()).name == "stem"


def test_a_shared_convolution_is_replaced_in_all_its_places() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.ModuleDict({"left": nn.Sequential(conv), "right": conv, "tail": nn.Conv2d(3, 2, 3)})
    model.forward = lambda x: model["tail"](model["right"](model["left"](x)))
    done = replace_first_conv(model)
    assert done.names == ("left.0", "right")
    assert model["left"][0] is model["right"] is done.new
    assert "also right" in str(done)


def test_a_convolution_that_is_run_from_a_plain_list_is_replaced_there_too() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
            self._steps = {"first": [self.stem], "then": (self.head, 1)}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._steps["then"][0](self._steps["first"][0](x))

    model = Listed()
    assert replace_first_conv(model).new is model._steps["first"][0]


def test_an_image_may_be_folded_into_channels_before() -> None:
    model = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3), nn.Conv2d(4, 2, 3))
    assert replace_first_conv(model).name == "1"


def test_layers_behind_it_may_be_lazy() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    assert replace_first_conv(model).name == "0"
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 2)


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    model[1].weight = model[0].weight
    replace_first_conv(model)
    assert model[1].weight is model[0].weight


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text = nn.Conv1d(4, 4, 3)
        self.stem = nn.Conv2d(5, 8, 3)

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.text(tokens.add_(1)).mean() + self.stem(pixels)


@pytest.mark.parametrize("kind", [tuple, dict])
def test_example_inputs_of_several_arguments(kind: type) -> None:
    values = {"pixels": torch.zeros(1, 5, 9, 9), "tokens": torch.zeros(1, 4, 7)}
    example = values if kind is dict else tuple(values.values())
    assert replace_first_conv(Two(), example_input=example).name == "stem"
    assert not any(value.any() for value in values.values())


def test_channels_and_sizes_are_found_without_an_example() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late = nn.Conv2d(3, 8, 3)
            self.stem = nn.Conv2d(6, 3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[-1] == 384, "384 pixels only"
            return self.late(self.stem(x))

    assert replace_first_conv(Strict()).name == "stem"


@pytest.mark.parametrize(
    ("stem", "kind"),
    [
        ("pp3", "push-pull unit already"),
        ("pp3_balanced", "push-pull unit already"),
        ("strisciuglio", "StrisciuglioConv2d"),
    ],
)
def test_a_push_pull_layer_tells_the_channels_though_it_is_no_conv2d(stem: str, kind: str) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), resnet8(stem=stem))  # the first layer alone takes three
    with pytest.raises(InputError, match=rf"'1\.conv1' is a {kind}"):
        replace_first_conv(model)


def test_a_model_that_does_not_run_asks_for_an_example_or_a_name() -> None:
    with pytest.raises(
        InputError, match=r"does not run \(TypeError.*example_input= or name=.*candidates: stem"
    ):
        replace_first_conv(Two())
    assert replace_first_conv(Two(), name="stem").name == "stem"


def test_an_example_with_the_wrong_channels_is_refused() -> None:
    with pytest.raises(InputError, match="takes 3 channels, not 4"):
        replace_first_conv(small(), example_input=torch.zeros(1, 4, 8, 8))
    with pytest.raises(InputError, match="no floating-point tensor"):
        replace_first_conv(small(), example_input=torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_convolutions_that_are_no_conv2d_are_not_stepped_over() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deform, self.next = DeformConv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.next(self.deform(x, x.new_zeros(len(x), 18, x.shape[2] - 2, x.shape[3] - 2)))

    with pytest.raises(InputError, match="'deform' is a DeformConv2d"):
        replace_first_conv(Deformed())

    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.routed, self.next = CondConv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.next(self.routed(x, x.new_ones(len(x), 4)))

    with pytest.raises(InputError, match="'routed' is a CondConv2d"):
        replace_first_conv(Conditional())


def test_a_convolution_that_is_no_module_is_not_stepped_over() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.ones(4, 3, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, self.kernel)

    model = nn.Sequential(nn.Sequential(Functional()), nn.Conv2d(4, 2, 3))
    with pytest.raises(InputError, match=r"function conv2d in Functional '0\.0'.*candidates: 1"):
        replace_first_conv(model)
    assert replace_first_conv(model, name="1").name == "1"


@pytest.mark.parametrize(("conv", "name"), [(nn.Conv2d(3, 4, 1), "1x1"), (nn.Conv2d(3, 4, 4, 4), "patches")])
def test_replaced_when_named(conv: nn.Conv2d, name: str) -> None:
    model = small(conv)
    assert replace_first_conv(model, name="0").old is conv, name
    assert isinstance(model[0], PushPullConv2d)


def test_unknown_names_list_the_candidates() -> None:
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4)})
    with pytest.raises(InputError, match=r"name='sten'.*did you mean 'stem'.*candidates: stem"):
        replace_first_conv(model, name="sten")
    with pytest.raises(InputError, match=r"'norm' is a BatchNorm2d.*candidates: stem"):
        replace_first_conv(model, name="norm")
    with pytest.raises(InputError, match="name=''"):
        replace_first_conv(model, name="")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 4, 3), "the model itself is a Conv2d"),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "the Sequential has no convolution"),
        (nn.Sequential(nn.Conv1d(3, 4, 3)), "'0' is a Conv1d .*no 2-D convolution that can be replaced"),
        (nn.DataParallel(small()), "DataParallel: replace in model.module"),
        (nn.Sequential(type("DistributedDataParallel", (nn.Module,), {})()), "'0' in the model is wrapped"),
        (torch.compile(small()), "replace in model._orig_mod"),
        ("resnet50", "is a str"),
    ],
)
def test_models_in_which_nothing_can_be_replaced(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace_first_conv(model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_in_place_and_scripted_models_are_refused() -> None:
    model = small()
    model.compile()
    with pytest.raises(InputError, match="replace first, then call compile"):
        replace_first_conv(model)
    with pytest.raises(InputError, match="scripted"):
        replace_first_conv(torch.jit.script(small()))


def test_optimizers_go_on_with_the_state_they_had() -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(IMAGE).sum().backward()
    optimizer.step()
    momentum = optimizer.state[model[0].weight]["momentum_buffer"]
    replace_first_conv(model, optimizers=[optimizer])
    before = model[0].weight.detach().clone()
    model(IMAGE).square().sum().backward()
    optimizer.step()
    assert optimizer.state[model[0].weight]["momentum_buffer"] is momentum
    assert not torch.equal(model[0].weight, before)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("named", [False, True])
def test_a_trained_alpha_joins_the_optimizer_that_holds_the_weight(named: bool) -> None:
    model = small()
    first, rest = list(model[0].named_parameters()), list(model[1:].named_parameters())
    if not named:
        first, rest = [p for _, p in first], [p for _, p in rest]
    other = torch.optim.SGD(rest, lr=0.5)
    holder = torch.optim.AdamW([{"params": first, "lr": 0.2, "weight_decay": 0.3}], betas=(0.8, 0.9))
    scheduler = torch.optim.lr_scheduler.StepLR(holder, 1)
    new = replace_first_conv(model, alpha=0.5, trainable_alpha=True, optimizers=(other, holder)).new
    alpha = dict(new.named_parameters())["alpha"]
    assert torch.equal(alpha, torch.full((4,), 0.5))
    assert len(other.param_groups) == 1
    group = holder.param_groups[1]
    assert len(group["params"]) == 1
    assert group["params"][0] is alpha
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.2, 0.0, (0.8, 0.9))
    assert group["initial_lr"] == 0.2
    assert scheduler.get_last_lr() == [0.2]
    assert holder.param_groups[0]["weight_decay"] == 0.3
    if named:
        assert group["param_names"] == ["0.alpha"]
    model(IMAGE).square().sum().backward()
    holder.step()
    assert not torch.equal(alpha, torch.full((4,), 0.5))


def test_a_single_optimizer_will_do_and_one_without_the_weight_will_not() -> None:
    model = small()
    lonely = torch.optim.SGD(model[3].parameters(), lr=0.1)
    before = structure(model)
    with pytest.raises(InputError, match=r"no optimizer holds the weight.*'0\.alpha'"):
        replace_first_conv(model, trainable_alpha=True, optimizers=lonely)
    assert structure(model) == before
    assert len(lonely.param_groups) == 1


@pytest.mark.parametrize("options", [{"avg_kernel_size": 2}, {"alpha": -1.0}, {"alpha": float("nan")}])
def test_options_out_of_range_change_nothing(options: dict[str, float]) -> None:
    model = small()
    before = structure(model)
    with pytest.raises(InputError):
        replace_first_conv(model, **options)
    assert structure(model) == before


def test_replacing_draws_no_random_number_and_works_on_the_meta_device_by_name() -> None:
    state = torch.get_rng_state()
    with torch.device("meta"):
        model = small()
    done = replace_first_conv(model, name="0", trainable_alpha=True)
    assert done.new.alpha.is_meta
    assert torch.equal(torch.get_rng_state(), state)


def test_the_result_is_an_ordinary_model() -> None:
    model = small()
    replace_first_conv(model, trainable_alpha=True)
    assert list(model.state_dict())[:3] == ["0.weight", "0.bias", "0.alpha"]
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(IMAGE), model.eval()(IMAGE))
    with pytest.raises(InputError, match="already"):
        replace_first_conv(model)


@pytest.mark.parametrize(
    ("name", "place"), [("repvgg_a0", "stem.conv_kxk.conv"), ("mobileone_s0", "stem.conv_kxk.0.conv")]
)
def test_of_parallel_convolutions_the_largest_kernel_is_meant_and_stays(name: str, place: str) -> None:
    model = timm.create_model(name).eval()
    assert replace_first_conv(model).name == place
    x = torch.rand(2, 3, 64, 64)
    with pytest.warns(UserWarning, match="stem .* stays as it is: reparameterize"):
        folded = timm.utils.reparameterize_model(model)
    with torch.no_grad():
        before, after = model(x), folded.eval()(x)
    assert sum(isinstance(m, PushPullConv2d) for m in folded.modules()) == 1
    assert (after - before).abs().max() < 1e-5 * before.abs().max()
    assert not any(hasattr(m, "conv_1x1") and m.conv_1x1 is not None for m in folded.stages.modules())


def test_one_by_one_branches_beside_larger_kernels_on_other_images_do_not_count() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 8, 3))
    with pytest.raises(InputError, match="a 1x1 convolution"):
        replace_first_conv(model)


def test_feature_extraction_and_fx_take_the_unit_as_one_step() -> None:
    model = torchvision.models.resnet18().eval()
    replace_first_conv(model)
    x = torch.rand(1, 3, 64, 64)
    extract = create_feature_extractor(model, {"conv1": "first", "layer1": "block"})
    with torch.no_grad():
        torch.testing.assert_close(extract(x)["first"], model.conv1(x))
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))
