"""What only a GPU shows: large batches, the other device, a captured graph, networks in half precision."""

import copy

import pytest
import torch

from pushpull import PushPullConv2d, create_model, fuse_stem
from pushpull.unit.backends import triton as kernels
from support import assert_near
from unit.triton.conftest import INTERPRETED

pytestmark = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a GPU")


def test_more_elements_than_32_bits_count() -> None:
    # The last image begins behind 2**31 elements.
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB")
    unit = PushPullConv2d(3, 64, 3, padding=1, device="cuda", dtype=torch.bfloat16)
    x = torch.randn(34, 3, 1024, 1024, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        y = unit(x)
        assert y.numel() > 2**31
        assert torch.equal(y[-1:], unit(x[-1:]))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_on_a_device_that_is_not_the_current_one() -> None:
    unit = PushPullConv2d(3, 8, 7, 2, 3)
    x = torch.randn(2, 3, 40, 40)
    other = copy.deepcopy(unit).to("cuda:1")
    with torch.cuda.device(0):
        y = other(x.to("cuda:1"))
        y.sum().backward()
    assert y.device.index == 1
    assert_near(y.cpu(), unit(x), torch.bfloat16)


def test_captured_in_a_graph() -> None:
    unit = PushPullConv2d(3, 8, 7, 2, 3, device="cuda")
    x = torch.randn(2, 3, 40, 40, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        expected = unit(x)
        with torch.cuda.graph(graph):
            y = unit(x)
    graph.replay()
    assert torch.equal(y, expected)


def test_networks_train_and_fuse_in_half_precision() -> None:
    model = (
        create_model("resnet18", stem="pp3_alpha", num_classes=5).cuda().to(memory_format=torch.channels_last)
    )
    x = torch.randn(4, 3, 64, 64, device="cuda").to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        loss = torch.compile(model)(x).square().mean()
    loss.backward()
    assert kernels.fit(x)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    before = copy.deepcopy(model)
    fuse_stem(model)
    with torch.inference_mode():
        wanted = before(x)
        # Convolutions may be in TF32, which has the bits of bfloat16 and three more.
        assert_near(model(x) / wanted.abs().max(), wanted / wanted.abs().max(), torch.bfloat16)
        assert model.bfloat16()(x.bfloat16()).isfinite().all()
