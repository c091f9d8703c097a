"""Fuse a network's stem for inference: unit, batch norm, relu and max-pool become one module."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from pushpull.errors import InputError, one_line
from pushpull.unit.functional import respond_pooled
from pushpull.unit.layers import PushPullConv2d
from pushpull.unit.tracing import SIZES_PX, called, undisturbed_model

__all__ = ["FusedStem", "fuse_stem"]

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_REMEDY = "the model runs as well without fusing, and nothing was changed"


class FusedStem(nn.Module):
    """A push-pull unit, batch norm, relu and 3x3/2 max-pool as one step, for inference.

    y = max_pool(relu(scale * unit(x) + shift)), by `unit.functional.push_pull_stem`: on a GPU all that
    follows the convolution is one kernel, on a CPU it is done a few images at a time.

    Shapes: x (N, C_in, H, W), floating point, any range -> (N, C_out, H_out, W_out), a quarter of the pixels.

    Args:
        unit: the unit; its bias goes into the shift.
        norm: its batch norm, with running statistics. They, its weight and the unit's bias become constants.

    Raises:
        InputError: a batch norm without running statistics or for another number of channels; `forward` in
            training mode.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, unit: PushPullConv2d, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> None:
        super().__init__()
        if norm.num_features != unit.out_channels:
            raise InputError(f"norm has {norm.num_features} channels; the unit has {unit.out_channels}")
        scale, shift = _folded(unit, norm)
        self.unit = copy.copy(unit)
        self.unit._parameters = {**unit._parameters, "bias": None}
        self.unit._buffers = {**unit._buffers, "gate": None}
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the stem's response to x; `InputError` in training mode."""
        if self.training:
            raise InputError("a fused stem does not train: call eval(), or train the model before fuse_stem")
        x, weight, window = self.unit.prepared(x)
        return respond_pooled(x, weight, self.scale, self.shift, self.unit.strength, window)


def fuse_stem(model: nn.Module, example_input: Any = None) -> FusedStem:
    """Fuse the unit at the beginning of a model with what follows it, in place, for inference.

    The model is run once to see what the unit's response goes through: it must be exactly an
    `nn.BatchNorm2d`, an `nn.ReLU` and an `nn.MaxPool2d` (3, stride 2, padding 1), each a module of its own,
    and nothing else may use what lies between. The results stay the same to rounding. State-dict keys change:
    save weights before.

    Args:
        model: in eval mode, before it is wrapped or compiled.
        example_input: what the model takes: a tensor, a tuple (positional arguments) or a dict (keyword
            arguments); None tries images of usual sizes.

    Returns:
        The module that now stands in the place of the unit; identities stand in the other places.

    Raises:
        InputError: the pattern is not there; the message says what is, and the model is as before.

    >>> layers = [PushPullConv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    >>> model = nn.Sequential(*layers).eval()
    >>> fuse_stem(model) is model[0]
    True
    """
    unit = _first_unit(model)
    calls, result = _watched(model, unit, example_input)
    names = {id(module): name for name, module in model.named_modules()}
    chain = _stem_of(calls, unit, result, names)
    for module in chain:
        _check_fusable(module, calls, names[id(module)])
    _, norm, rectifier, pool = chain
    fused = FusedStem(unit, norm)
    places: dict[int, nn.Module] = {id(unit): fused, id(norm): nn.Identity(), id(pool): nn.Identity()}
    # A relu that serves other places too stays: behind the fused stem it changes nothing.
    if sum(who is rectifier for who, _, _ in calls) == 1:
        places[id(rectifier)] = nn.Identity()
    for parent in [*model.modules()]:
        parent._modules.update({k: places[id(c)] for k, c in parent._modules.items() if id(c) in places})
    return fused


_Call = tuple[nn.Module | str, list[Tensor], list[Tensor]]
"""A module without submodules, or a function outside of those, its tensors, and those it made of them."""


class _Watch(TorchFunctionMode):
    """Notes what the model calls, in order. The tensors are kept: no other can then look like one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.depth:
            self.note(getattr(func, "__name__", str(func)), (args, kwargs), result)
        return result

    def note(self, who: nn.Module | str, inputs: Any, outputs: Any) -> None:
        made = _tensors(outputs)
        if made:
            self.calls.append((who, _tensors(inputs), made))

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.depth += 1

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.depth -= 1
        self.note(module, (args, kwargs), output)


def _tensors(values: Any) -> list[Tensor]:
    return [v for v in tree_leaves(values) if isinstance(v, Tensor)]


def _first_unit(model: nn.Module) -> PushPullConv2d:
    """The unit to fuse, of a model that can be fused at all."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; it must be a torch.nn.Module")
    if isinstance(model, PushPullConv2d):
        raise InputError("the model itself is a push-pull unit: nothing follows it that could be fused")
    units = [module for module in model.modules() if isinstance(module, PushPullConv2d)]
    if not units:
        raise InputError(
            f"the {type(model).__name__} has no push-pull unit; pushpull.replace_first_conv puts one in"
        )
    if any(isinstance(module, FusedStem) for module in model.modules()):
        raise InputError("the model has a fused stem already")
    if any(module.training for module in model.modules()):
        raise InputError("the model is in training mode; a fused stem is for inference: call model.eval()")
    return units[0]


def _watched(model: nn.Module, unit: PushPullConv2d, example_input: Any) -> tuple[list[_Call], Any]:
    """Run the model; return what it called, and its result."""
    shapes = [(1, unit.in_channels, size, size) for size in SIZES_PX]
    given = map(unit.weight.new_zeros, shapes) if example_input is None else [example_input]
    failures = []
    for example in given:
        watch = _Watch()
        leaves = [module for module in model.modules() if not module._modules]
        handles: list[Any] = []
        for leaf in leaves:
            handles.append(leaf.register_forward_pre_hook(watch.enter, prepend=True, with_kwargs=True))
            handles.append(leaf.register_forward_hook(watch.leave, with_kwargs=True))
        try:
            with undisturbed_model(model), watch:
                return watch.calls, called(model, example)
        # Whatever the model raises: another size may fit.
        except Exception as error:
            failures.append(one_line(error))
        finally:
            for handle in handles:
                handle.remove()
    raise InputError(f"the model does not run ({failures[0]}); give example_input=")


def _stem_of(calls: list[_Call], unit: nn.Module, result: Any, names: dict[int, str]) -> list[Any]:
    """Return unit, norm, relu and pool, or raise and say what the response goes through instead."""
    at = next((i for i, (who, _, _) in enumerate(calls) if who is unit), None)
    if at is None:
        raise InputError(f"{names[id(unit)]!r} is not called when the model runs; {_REMEDY}")
    chain: list[Any] = [unit]
    tensor = calls[at][2][0]
    for what, kinds in (("batch norm", _NORMS), ("relu", (nn.ReLU,)), ("max-pool", (nn.MaxPool2d,))):
        users = [i for i in range(at + 1, len(calls)) if _among(tensor, calls[i][1])]
        shown = [_shown(calls[i][0], names) for i in users]
        who, _, made = calls[users[0]] if users else (unit, [], [])
        if not users or type(who) not in kinds:
            found = shown[0] if users else "nothing"
            after = _shown(chain[-1], names)
            raise InputError(f"no {what} module follows {after}, but {found}; {_REMEDY}")
        if made[0] is not tensor and len(users) > 1:
            raise InputError(f"what goes into {shown[0]} is used by {shown[1]} too; {_REMEDY}")
        if _among(tensor, _tensors(result)):
            raise InputError(f"the model returns what goes into {shown[0]}; {_REMEDY}")
        at, tensor = users[0], made[0]
        chain.append(who)
    return chain


def _among(tensor: Tensor, others: list[Tensor]) -> bool:
    return any(tensor is other for other in others)


def _shown(who: nn.Module | str, names: dict[int, str]) -> str:
    if isinstance(who, str):
        return f"the function {who}"
    return f"{names[id(who)]!r} ({type(who).__name__})"


def _check_fusable(module: nn.Module, calls: list[_Call], name: str) -> None:
    """Raise where a module of the pattern does more than its part of it."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    if any(hooks) or "forward" in vars(module):
        raise InputError(f"{name!r} has hooks or a forward method of its own; {_REMEDY}")
    if isinstance(module, PushPullConv2d) and type(module) is not PushPullConv2d:
        raise InputError(f"{name!r} is a {type(module).__name__}, not a PushPullConv2d itself; {_REMEDY}")
    if isinstance(module, PushPullConv2d) and module.gate is not None and float(module.gate) != 1:
        raise InputError(f"{name!r} has a gate at {float(module.gate):g}, not at 1; {_REMEDY}")
    if not isinstance(module, nn.ReLU) and sum(who is module for who, _, _ in calls) > 1:
        raise InputError(f"{name!r} is called more than once; {_REMEDY}")
    if isinstance(module, nn.MaxPool2d):
        chosen = [module.kernel_size, module.stride, module.padding, module.dilation]
        sizes = [tuple(v) if isinstance(v, (tuple, list)) else (v, v) for v in chosen]
        if sizes != [(3, 3), (2, 2), (1, 1), (1, 1)] or module.ceil_mode or module.return_indices:
            raise InputError(f"{name!r} is {module}, not a 3x3 max-pool of stride 2 and padding 1; {_REMEDY}")
    if isinstance(module, _NORMS) and module.running_mean is None:
        raise InputError(f"{name!r} has no running statistics; {_REMEDY}")


@torch.no_grad()
def _folded(unit: PushPullConv2d, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> tuple[Tensor, Tensor]:
    """The batch norm as a factor and a summand per channel, the unit's bias in the summand."""
    if norm.running_mean is None or norm.running_var is None:
        raise InputError("norm has no running statistics; a fused stem needs them")

    def exact(t: Tensor | None, otherwise: float) -> Tensor:
        like = torch.full((unit.out_channels,), otherwise, dtype=torch.float64)
        return like if t is None else t.detach().cpu().double()

    scale = exact(norm.weight, 1.0) / torch.sqrt(exact(norm.running_var, 1.0) + norm.eps)
    shift = exact(norm.bias, 0.0) + scale * (exact(unit.bias, 0.0) - exact(norm.running_mean, 0.0))
    dtype = torch.promote_types(unit.weight.dtype, torch.float32)
    return scale.to(unit.weight.device, dtype), shift.to(unit.weight.device, dtype)
