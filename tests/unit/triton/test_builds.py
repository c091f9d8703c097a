"""The kernels compile for a GPU, which needs none: the interpreter does not check types and loops."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unit.triton.conftest import INTERPRETED

pytestmark = pytest.mark.skipif(INTERPRETED, reason="what is to be interpreted cannot be compiled")
_TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.uint8: "*u8"}
_AMPERE = 80


def launched(monkeypatch: pytest.MonkeyPatch, call: Callable[[Any], None]) -> list[tuple[Any, ...]]:
    """What the launcher would run: (kernel, arguments, constants, warps)."""
    from pushpull.unit.backends.triton import launch

    runs: list[tuple[Any, ...]] = []

    def record(
        kernel: Any, programs: int, on: Tensor, arguments: list[Any], *more: int, **options: Any
    ) -> None:
        warps = options.pop("num_warps", 4)
        runs.append((kernel, [*arguments, *more], options, warps))

    monkeypatch.setattr(launch, "_run", record)
    call(launch)
    return runs


def build(kernel: Any, arguments: list[Any], constants: dict[str, Any], warps: int) -> Any:
    """Compile as a first call does: ones and None are constants, multiples of 16 are known as such."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    signature, fixed, hints = {}, {}, {}
    for place, value in enumerate([*arguments, *constants.values()]):
        name = [*names[: len(arguments)], *constants][place]
        if place >= len(arguments) or value is None or (isinstance(value, int) and value == 1):
            signature[name], fixed[(names.index(name),)] = "constexpr", value
            continue
        signature[name] = _type(value)
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            hints[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed, attrs=hints)
    return triton.compile(source, target=GPUTarget("cuda", _AMPERE, 32), options={"num_warps": warps})


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return _TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


# A first layer in bfloat16; grouped filters, odd sizes; an image of more than 2**31 elements.
@pytest.mark.parametrize(
    ("shape", "dtype", "last", "groups", "side"),
    [
        ((256, 64, 112, 112), torch.bfloat16, True, 1, 3),
        ((3, 70, 9, 13), torch.float32, False, 2, 5),
        ((1, 64, 8192, 8192), torch.float16, True, 2, 0),
    ],
)
def test_every_kernel_compiles(
    shape: tuple[int, ...], dtype: torch.dtype, last: bool, groups: int, side: int, monkeypatch: Any
) -> None:
    pytest.importorskip("triton", minversion="3.3")
    n, c, h, w = shape
    kind = torch.channels_last if last else torch.contiguous_format
    place: dict[str, Any] = {"device": "meta", "dtype": dtype}
    push, y, of_push, of_y = (torch.empty(shape, memory_format=kind, **place) for _ in range(4))
    signs = torch.empty_like(push, dtype=torch.uint8)
    small = torch.empty((n, c, (h + 1) // 2, (w + 1) // 2), memory_format=kind, **place)
    filters = torch.empty(c, device="meta")
    box = torch.empty(n, groups, h, w, device="meta")
    x = torch.empty(n, 3 * groups, 2 * h, 2 * w, **place)
    taps = ((7, 7), (2, 2), (3, 3), (1, 1))
    k = max(side, 1)

    def call(launch: Any) -> None:
        launch.inhibited(push, filters, box, filters, filters, 1.0, k, True, y, signs)
        launch.gradients(of_y, signs, push, filters, box, filters, 1.0, k, of_push)
        launch.gradients(of_y, signs, None, filters, box, None, 1.0, k, of_push)
        launch.box_gradient(of_y, signs, filters, None, 1.0, box)
        launch.box_mean(x, *taps, k, box)
        launch.pooled(push, filters, box, None, filters, filters, 1.0, k, small)

    runs = launched(monkeypatch, call)
    assert len(runs) == 7
    for run in runs:
        built = build(*run)
        # What every GPU since Volta gives a program without asking.
        assert built.metadata.shared <= 48 * 1024, run[0]
        assert built.asm["cubin"]
