"""The fused stem by kernels, against plain operations in double precision."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pushpull.unit.backends import triton as kernels
from pushpull.unit.backends.plain import per_filter
from support import assert_near
from unit.triton.made import REGISTRATION, exact, expected, fresh, inputs

CASES: list[tuple[torch.dtype, tuple[int, int, int, int], int, dict[str, Any]]] = [
    (torch.float32, (1, 6, 7, 13), 3, {}),
    (torch.bfloat16, (1, 66, 4, 5), 3, {"last": True, "alpha": 1.0}),
    (torch.float16, (1, 6, 3, 3), 5, {"groups": 2, "alpha": -0.5}),
    (torch.float32, (1, 1, 1, 1), 0, {"last": True}),
    (torch.float32, (0, 2, 5, 5), 3, {}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_equals_plain_operations(case: int, device: torch.device) -> None:
    dtype, shape, side, chosen = CASES[case]
    given = inputs(shape, device, dtype, bias=False, **chosen)
    del given["bias"]
    e = exact({**given, "bias": None})
    scale, shift = (fresh(shape[1]).to(device, torch.float32) for _ in range(2))
    with torch.no_grad():
        y = kernels.pooled(**given, scale=scale, shift=shift, side=side)
        z = expected(e, side) * per_filter(scale.double()) + per_filter(shift.double())
        wanted = F.max_pool2d(F.relu(z), 3, 2, 1) if len(z) else z.new_empty(y.shape)
    assert y.dtype == dtype
    assert_near(y, wanted)
    last = torch.channels_last if chosen.get("last") else torch.contiguous_format
    assert y.is_contiguous(memory_format=last)


def test_what_is_not_a_number_stays(device: torch.device) -> None:
    given = inputs((1, 2, 5, 8), device, torch.float32, bias=False)
    del given["bias"]
    with torch.no_grad():
        given["push"][0, 1, 2, 4] = torch.nan
        ones, zeros = (make(2, device=device) for make in (torch.ones, torch.zeros))
        y = kernels.pooled(**given, scale=ones, shift=zeros, side=3)
        z = F.max_pool2d(F.relu(expected(exact({**given, "bias": None}), 3)), 3, 2, 1)
    assert torch.equal(y.isnan(), z.isnan())
    assert y.isnan().sum() == 9


def test_the_operator_is_registered_as_pytorch_wants(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pushpull.unit.backends.triton import launch

    monkeypatch.setattr(launch, "_STRIP_ROWS", 1)
    given = inputs((1, 2, 2, 4), device, torch.float32)
    tensors = [given[name].detach() for name in ("push", "contrast", "box", "alpha", "bias", "bias")]
    torch.library.opcheck(
        torch.ops.pushpull.inhibit_pooled.default, (*tensors, 1.0, 1), test_utils=REGISTRATION
    )
