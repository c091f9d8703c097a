"""The unit where PyTorch's tools take a model apart, wrap it, count it or average it."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize, prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from pushpull import parameter_groups
from pushpull.unit.layers import PushPullConv2d
from support import assert_near, random_tensor

STEM = {"stride": 2, "padding": 3, "bias": True}


def network(seed: int = 0) -> nn.Sequential:
    """A stem with a trained strength, and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unit = PushPullConv2d(3, 8, 7, **STEM, trainable_alpha=True)
        return nn.Sequential(unit, nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def images(seed: int = 0) -> Tensor:
    return random_tensor(4, 3, 17, 20, seed=seed, dtype=torch.float32)


def step(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The gradients of one step, by the parameter's name."""
    model.zero_grad()
    model(x).square().sum().backward()
    return {name.removeprefix("module."): p.grad.clone() for name, p in model.named_parameters()}


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel_has_the_same_gradients() -> None:
    model = network()
    wrapped = DistributedDataParallel(copy.deepcopy(model))
    expected, got = step(model, images()), step(wrapped, images())
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert_near(got[name], gradient)


RANK = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from pushpull import PushPullConv2d
rank, rendezvous, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
torch.manual_seed(rank)  # DDP sends rank 0's weights to all
model = DistributedDataParallel(PushPullConv2d(3, 4, 3, trainable_alpha=True))
x = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(7))[3 * rank : 3 * rank + 3]
model(x).square().mean().backward()
state = {k: v.detach() for k, v in model.module.named_parameters()}
torch.save([state, {k: p.grad for k, p in model.module.named_parameters()}], f"{out}{rank}")
dist.destroy_process_group()
"""


def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RANK]
    places = [str(tmp_path / "rendezvous"), str(tmp_path / "rank")]
    ranks = [subprocess.Popen([*command, str(rank), *places]) for rank in range(2)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    (state, of_one), (_, of_other) = (torch.load(tmp_path / f"rank{r}", weights_only=True) for r in range(2))
    whole = PushPullConv2d(3, 4, 3, trainable_alpha=True)
    whole.load_state_dict(state)
    x = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(7))
    whole(x).square().mean().backward()
    for name, parameter in whole.named_parameters():
        assert torch.equal(of_one[name], of_other[name])
        assert parameter.grad is not None
        assert_near(of_one[name], parameter.grad)


def test_activation_checkpointing_has_the_same_gradients() -> None:
    model, again = network(), network()
    y = checkpoint(again, images(), use_reentrant=False)
    assert isinstance(y, Tensor)
    y.square().sum().backward()
    for parameter, gradient in zip(again.parameters(), step(model, images()).values(), strict=True):
        assert parameter.grad is not None
        assert_near(parameter.grad, gradient)


def test_averaged_models_average_weights_and_strengths() -> None:
    timm_ema = pytest.importorskip("timm.utils").ModelEmaV3
    model, other = network(0), network(1)
    with torch.no_grad():
        other.get_parameter("0.alpha").fill_(3.0)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    ema = timm_ema(model, decay=0.75)
    averaged.update_parameters(model)  # the first one copies
    averaged.update_parameters(other)
    ema.update(other)
    for twin in (averaged.module, ema.module):
        assert_near(twin.get_parameter("0.alpha"), torch.full((8,), 1.5))
        expected = 0.75 * model.get_parameter("0.weight") + 0.25 * other.get_parameter("0.weight")
        assert_near(twin.get_parameter("0.weight"), expected)
        assert torch.isfinite(twin.eval()(images())).all()


@pytest.mark.parametrize("groups", [1, 3])
def test_flop_counter_counts_the_one_convolution(groups: int) -> None:
    conv = nn.Conv2d(3, 12, 7, **STEM, groups=groups)
    unit = PushPullConv2d(3, 12, 7, **STEM, groups=groups)
    counts = []
    for module in (conv, unit):
        x = images().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            y = module(x)
        forward = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            y.sum().backward()
        counts.append((forward, y.shape))
    # 2 operations a tap, 4 images of 9 x 10 positions; sums, poolings and rectifications count for nothing.
    assert counts[0] == counts[1] == (2 * 4 * 9 * 10 * 12 * (3 // groups) * 49, (4, 12, 9, 10))


def test_flop_counter_counts_a_training_step() -> None:
    counts = []
    for module in (nn.Conv2d(3, 12, 7, **STEM), PushPullConv2d(3, 12, 7, **STEM)):
        with FlopCounterMode(display=False) as counter:
            module(images().requires_grad_()).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_a_plain_convolution_takes_the_weights_back() -> None:
    unit = network()[0]
    conv = nn.Conv2d(3, 8, 7, **STEM)
    conv.load_state_dict({k: v for k, v in unit.state_dict().items() if k != "alpha"}, strict=True)
    back = PushPullConv2d(3, 8, 7, **STEM)
    back.load_state_dict(conv.state_dict(), strict=True)
    assert torch.equal(back.weight, unit.weight)
    # With the pull kernel's constant at zero, no pooling and full strength the unit is the convolution.
    flat = PushPullConv2d(3, 8, 7, **STEM, avg_kernel_size=0)
    half = conv.weight.detach()[:, :, :, :3]
    opposed = torch.cat([half, torch.zeros(8, 3, 7, 1), -half], dim=3)
    flat.load_state_dict({"weight": opposed, "bias": conv.bias}, strict=True)
    conv.load_state_dict(flat.state_dict())
    assert_near(flat(images()), conv(images()))


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


@pytest.mark.parametrize("name", ["weight", "alpha"])
def test_pruning_and_parametrizations_act_on_weight_and_strength(name: str) -> None:
    x, pruned, halved = images(), network(), network()
    prune.l1_unstructured(pruned[0], name, 0.5)
    parametrize.register_parametrization(halved[0], name, Half())
    for model in (pruned, halved):
        expected = network()
        with torch.no_grad():
            getattr(expected[0], name).copy_(getattr(model[0], name))
        torch.testing.assert_close(model(x), expected(x))
        groups = parameter_groups(model, 0.1)
        assert [len(group["params"]) for group in groups if group["weight_decay"] == 0] == [1]
        assert all(gradient.isfinite().all() for gradient in step(model, x).values())
    prune.remove(pruned[0], name)
    assert [n for n, _ in pruned[0].named_parameters()].count(name) == 1


@pytest.mark.usefixtures("one_process")
@pytest.mark.filterwarnings("ignore:FSDP is switching")
@pytest.mark.parametrize("kind", ["fsdp2", "fsdp1", "fsdp1 with the original parameters"])
def test_sharded_networks_train_their_strength(kind: str) -> None:
    x, whole, sharded = images(), network(), network()
    if kind == "fsdp2":
        fully_shard(sharded)
    else:
        options = {"use_orig_params": "original" in kind, "device_id": torch.device("cpu")}
        sharded = FullyShardedDataParallel(sharded, **options)
    torch.testing.assert_close(sharded(x), whole(x))
    sharded(x).square().sum().backward()
    total = sum(float(p.grad.sum()) for p in sharded.parameters() if p.grad is not None)
    assert total == pytest.approx(sum(float(g.sum()) for g in step(whole, x).values()), rel=1e-3)
