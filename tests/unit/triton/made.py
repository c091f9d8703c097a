"""Fresh numbers for each run, and what the kernels must give for them in double precision."""

import os
from typing import Any

import torch
from torch import Tensor

from pushpull.unit.backends import triton as kernels
from pushpull.unit.backends.plain import inhibited, mean, per_filter
from support import assert_near

# Printed where a test fails: PUSHPULL_TEST_SEED repeats a run.
SEED = int(os.environ.get("PUSHPULL_TEST_SEED", int.from_bytes(os.urandom(4), "little")))
print(f"PUSHPULL_TEST_SEED={SEED}")
_GENERATOR = torch.Generator().manual_seed(SEED)


# What `torch.library.opcheck` asks; how a compiler takes the operators is in test_unit.py, on real programs.
REGISTRATION = ("test_schema", "test_autograd_registration", "test_faketensor")


def fresh(*shape: int) -> Tensor:
    return torch.randn(shape, generator=_GENERATOR, dtype=torch.float64)


def laid_out(t: Tensor, last: bool) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def inputs(
    shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype, **chosen: Any
) -> dict[str, Any]:
    """What `kernels.inhibited` takes; a number for alpha, None for the bias."""
    n, c, h, w = shape
    groups, alpha = chosen.get("groups", 1), chosen.get("alpha")
    given: dict[str, Any] = {
        "push": laid_out(fresh(n, c, h, w).to(device, dtype), chosen.get("last", False)),
        "contrast": fresh(c).to(device, torch.float32),
        "box": fresh(n, groups, h, w).to(device, torch.float32),
        "alpha": fresh(c).to(device, torch.float32) if alpha is None else alpha,
        "bias": fresh(c).to(device, torch.float32) if chosen.get("bias", True) else None,
    }
    for value in given.values():
        if isinstance(value, Tensor):
            value.requires_grad_()
    return given


def exact(given: dict[str, Any]) -> dict[str, Any]:
    """The same numbers in double precision, as leaves."""
    return {k: v.detach().double().requires_grad_() if isinstance(v, Tensor) else v for k, v in given.items()}


def expected(e: dict[str, Any], side: int) -> Tensor:
    return inhibited(e["push"], e["contrast"], spread(e), e["alpha"], e["bias"], side)


def spread(e: dict[str, Any]) -> Tensor:
    """The box for every channel."""
    return e["box"].repeat_interleave(e["push"].shape[1] // e["box"].shape[1], dim=1)


def cotangent(e: dict[str, Any], side: int) -> Tensor:
    """Fresh numbers, zero where a sign hangs on the last bits: there no gradient is the right one."""
    push = e["push"].detach()
    pull = per_filter(e["contrast"].detach()) * spread(e).detach() - mean(push, side)
    return fresh(*push.shape).to(push.device) * ((push.abs() > 1e-4) & (pull.abs() > 1e-4))


def assert_like_double_precision(given: dict[str, Any], side: int) -> None:
    """Values and all gradients; sums over the batch may be large, and are compared by their own scale."""
    e = exact(given)
    y = kernels.inhibited(**given, side=side)
    wanted = expected(e, side)
    assert y.dtype == given["push"].dtype
    assert y.stride() == torch.empty_like(y, memory_format=_format(given["push"])).stride()
    assert_near(y, wanted)
    of_y = cotangent(e, side).to(y.dtype)
    names = [k for k, v in given.items() if isinstance(v, Tensor)]
    got = torch.autograd.grad(y, [given[k] for k in names], of_y)
    right = torch.autograd.grad(wanted, [e[k] for k in names], of_y.double())
    for name, one, other in zip(names, got, right, strict=True):
        assert one.dtype == given[name].dtype, name
        assert_near(one, other)


def _format(push: Tensor) -> torch.memory_format:
    last = torch.channels_last
    return (
        last
        if push.is_contiguous(memory_format=last) and not push.is_contiguous()
        else (torch.contiguous_format)
    )
