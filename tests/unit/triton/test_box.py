"""The averaged box by kernels, against plain operations in double precision."""

import pytest
import torch

from pushpull.unit.backends import triton as kernels
from pushpull.unit.backends.plain import Window, box_mean
from support import assert_near
from unit.triton.made import REGISTRATION, fresh

# The image; kernel, stride, padding, dilation, groups, side of the mean.
CASES: list[tuple[tuple[int, int, int, int], Window]] = [
    ((2, 3, 35, 37), Window((7, 7), (2, 2), (3, 3), (1, 1), 1, 3)),
    ((1, 4, 9, 12), Window((2, 3), (1, 3), (0, 0), (3, 2), 2, 5)),
    ((3, 2, 6, 5), Window((4, 1), (1, 1), (2, 0), (1, 1), 1, 0)),
    ((1, 1, 1, 1), Window((1, 1), (1, 1), (0, 0), (1, 1), 1, 3)),
    ((0, 3, 8, 8), Window((3, 3), (1, 1), (1, 1), (1, 1), 3, 3)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_equals_plain_operations(case: int, dtype: torch.dtype, device: torch.device) -> None:
    shape, window = CASES[case]
    last = fresh(*shape).to(device, dtype).to(memory_format=torch.channels_last)
    expected = box_mean(last.double(), window) if len(last) else None
    push = window.convolve(last, last.new_zeros(window.groups, shape[1] // window.groups, *window.kernel))
    # Every second pixel of a wider image, upside down: any layout will do.
    strange = last.flip(2).repeat_interleave(2, dim=3)[..., ::2].flip(2)
    for x in (last, strange):
        found = kernels.box_mean(x, push, window)
        assert found.dtype == torch.float32
        assert found.shape == (shape[0], window.groups, *push.shape[2:])
        if expected is not None:
            assert_near(found, expected)


def test_the_operator_is_registered_as_pytorch_wants(device: torch.device) -> None:
    x = fresh(2, 2, 5, 6).to(device, torch.float32)
    given = (x, [2, 3], [3, 3], [2, 2], [0, 1], [1, 1], 2, 1)
    torch.library.opcheck(torch.ops.pushpull.box_mean.default, given, test_utils=REGISTRATION)
