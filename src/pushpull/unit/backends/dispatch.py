"""Which way the unit may be computed: as one operator, or as plain operations that tools take apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _len_torch_dispatch_stack

P = ParamSpec("P")


def undisturbed(*values: object) -> bool:
    """Whether the tensors among the values are plain, on one device, and nothing exports or counts them.

    `torch.compile` does not disturb: it takes an operator as it is. Forward-mode differentiation,
    `torch.func`, `torch.export` and modes that see every operation (FlopCounterMode) do.
    """
    if torch.jit.is_tracing() or _exporting() or _transformed():
        return False
    tensors = [t for t in values if isinstance(t, Tensor)]
    if not all(type(t) in (Tensor, torch.nn.Parameter) and t.layout == torch.strided for t in tensors):
        return False
    if any(t.device != tensors[0].device for t in tensors):
        return False  # PyTorch's own operations say what is wrong, or take a number from the CPU
    if torch.compiler.is_compiling():
        return True
    return not _len_torch_dispatch_stack() and not any(map(_carries_more, tensors))


def gradient_undisturbed(of_y: Tensor) -> bool:
    """Whether a gradient may come from an operator, which has none itself and cannot be batched."""
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        return True
    return not _len_torch_dispatch_stack() and not _carries_more(of_y)


# Older versions cannot tell export from compilation: there both get plain operations.
_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def constant_when_compiled(function: Callable[P, bool]) -> Callable[P, bool]:
    """Let a compiler call the function once, while it looks at the program, instead of looking into it.

    As `torch.compiler.assume_constant_result`, which imports the compiler for it: a second more for everyone.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_when_compiled
def _transformed() -> bool:
    return bool(torch._C._are_functorch_transforms_active())


def _carries_more(t: Tensor) -> bool:
    """Whether the tensor is a batch of gradients in disguise, or has a tangent."""
    batched = torch._C._functorch.is_legacy_batchedtensor(t)
    return batched or forward_ad.unpack_dual(t).tangent is not None
