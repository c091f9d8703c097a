"""Put the push-pull unit into any model, in the place of its first convolution."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map

from pushpull.errors import InputError, choice, listed
from pushpull.unit.gate import set_gate
from pushpull.unit.layers import (
    HANDLED,
    PushPullConv2d,
    check_replaceable,
    push_pull_twin,
)
from pushpull.unit.tracing import convolution_units, first_convolution

__all__ = ["Replacement", "replace_first_conv"]

_WRAPPERS = {
    "DistributedDataParallel": "replace in model.module before wrapping",
    "DataParallel": "replace in model.module",
    "FullyShardedDataParallel": "replace before sharding",
    "FSDPModule": "replace before sharding",
    "OptimizedModule": "replace in model._orig_mod (the model given to torch.compile), then compile",
}
_HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)
# Methods by which blocks fold their branches into one convolution: by the weights, whatever the layer does.
_FOLDING = ("reparameterize", "fuse", "switch_to_deploy")
_LISTED = 8


@dataclass(frozen=True)
class Replacement:
    """What `replace_first_conv` did; its text says so in two lines.

    Attributes:
        name: where the convolution was, as in `model.get_submodule(name)`.
        names: all places, where it was registered more than once.
        old: the convolution, out of the model now. It shares its parameters with `new`.
        new: the push-pull unit in its place.
    """

    name: str
    names: tuple[str, ...]
    old: nn.Module
    new: PushPullConv2d

    def __str__(self) -> str:
        also = f" (also {', '.join(self.names[1:])})" if len(self.names) > 1 else ""
        done = f"{self.name}{also}: {self.old} -> {self.new}\n"
        if self.new.gate is not None:
            return f"{done}The function is kept: train while pushpull.set_gate(model, g) goes from 0 to 1."
        return done + (
            "The weights are kept, the function is not: train or fine-tune before use (without, the error of "
            "a CIFAR ResNet-20 rose from 18 % to 37 % with avg_kernel_size=0 and to 44 % with 3)."
        )


def replace_first_conv(
    model: nn.Module,
    *,
    alpha: float = 1.0,
    trainable_alpha: bool = False,
    avg_kernel_size: int = 3,
    offset: str | float = "extrema",
    start: Literal["unit", "preserve"] = "unit",
    name: str | None = None,
    example_input: Any = None,
    optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
) -> Replacement:
    """Replace the first convolution that the image meets by a push-pull unit, in place.

    The unit takes over the very Parameter objects: device, dtype, memory format, `requires_grad`, tied
    weights and the optimizers' state live on; so do the train flag and hooks. The function changes, print
    the result; or, with `start="preserve"`, it is the same until `pushpull.set_gate` moves.

    Handled: `nn.Conv2d`, timm's `Conv2dSame`, `StdConv2d` and `StdConv2dSame`. Every other class is refused
    by name. A 1x1 convolution or a patch embedding (stride >= kernel) is replaced only where `name` says so.

    Args:
        model: the model before it is wrapped (DistributedDataParallel, FSDP) or compiled.
        alpha: inhibition strength, finite and >= 0; where a trained one starts.
        trainable_alpha: train one strength per channel.
        avg_kernel_size, offset: as in `PushPullConv2d`.
        start: "unit": the unit at once; "preserve": with a gate at 0, the plain convolution as it was.
        name: the convolution to replace; None finds it by running the model on NaN (see
            `tracing.first_convolution`). Of parallel ones (RepVGG) the largest kernel is meant; such a block
            is left as it is, with a warning, by tools that fold (`reparameterize`, `fuse`).
        example_input: what the model takes, for that run: a tensor, a tuple (positional arguments) or a dict
            (keyword arguments); None tries images of usual sizes.
        optimizers: one or several. None of them needs a change unless alpha trains: then it is added to the
            one that holds the weight, in a group of its own with the weight's options and weight decay 0.
            Make learning-rate schedulers afterwards: one made before counted the groups without it.

    Returns:
        What was replaced by what.

    Raises:
        InputError: nothing was replaced and nothing has changed; the message lists the candidates.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3))
    >>> done = replace_first_conv(model, alpha=0.5)
    >>> done.name, model[0] is done.new, model[0].weight is done.old.weight
    ('0', True, True)
    """
    choice("start", start, ("unit", "preserve"))
    unit, names = _chosen(model, name, example_input)
    pull: dict[str, Any] = {"avg_kernel_size": avg_kernel_size, "offset": offset}
    new = push_pull_twin(unit, alpha=alpha, trainable_alpha=trainable_alpha, **pull)
    if trainable_alpha:
        _train_alpha(optimizers, unit, new, f"{names[0]}.alpha")
    if start == "preserve":
        set_gate(new, 0)
    _put(model, unit, new)
    return Replacement(names[0], names, unit, new)


def replace_first_by(model: nn.Module, make: Callable[[nn.Conv2d], nn.Module]) -> nn.Module:
    """Replace the first convolution that the image meets by what `make` makes of it, in place; return that.

    Raises:
        InputError: as `replace_first_conv`, or what `make` raises; nothing has changed.
    """
    unit, _ = _chosen(model, None, None)
    new = make(unit)
    _put(model, unit, new)
    return new


def _put(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `old` is, with its hooks; blocks around it are not folded any more."""
    for hooks in _HOOKS:
        _move_hooks(hooks, old, new)
    new._is_full_backward_hook = old._is_full_backward_hook
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is old:
                parent._modules[key] = new
        for key, value in vars(parent).items():  # plain lists and the like, which no module registers
            if key != "_modules" and any(leaf is old for leaf in tree_leaves(value)):
                vars(parent)[key] = tree_map(lambda leaf: new if leaf is old else leaf, value)
    for path, block in model.named_modules():
        for method in _FOLDING:
            if callable(getattr(block, method, None)) and any(inner is new for inner in block.modules()):
                setattr(block, method, partial(_kept, block, path, method))


def _kept(block: nn.Module, path: str, method: str, *_: Any, **__: Any) -> nn.Module:
    """Stand in for a method that would fold a first layer away: return the block as it is."""
    warnings.warn(
        f"{path or 'the model'} ({type(block).__name__}) stays as it is: {method}() would fold its weights "
        "and lose what its first layer does",
        stacklevel=3,
    )
    return block


def _refuse_unfit(model: nn.Module) -> None:
    """Raise where nothing can be replaced: no module, wrapped, compiled, scripted, not built yet."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; it must be a torch.nn.Module")
    if isinstance(model, (_ConvNd, PushPullConv2d)):
        raise InputError(
            f"the model itself is a {type(model).__name__}, which has no place of its own; "
            "put it into an nn.Sequential first"
        )
    for path, module in model.named_modules():
        where = f"{path!r} in the model" if path else "the model"
        for base in type(module).__mro__:
            if base.__name__ in _WRAPPERS:
                raise InputError(f"{where} is wrapped in {base.__name__}: {_WRAPPERS[base.__name__]}")
        if module._compiled_call_impl is not None:
            raise InputError(f"{where} is compiled: replace first, then call compile()")
        if isinstance(module, torch.jit.ScriptModule) and _scripted_convolution(module):
            raise InputError(f"{where} is scripted TorchScript: replace in the Python model, then script it")
    units = convolution_units(model)
    if not units:
        raise InputError(
            f"the {type(model).__name__} has no convolution module, so there is nothing to replace"
        )
    weights = (weight for unit in units.values() for weight in unit.parameters())
    if any(map(nn.parameter.is_lazy, chain(weights, model.buffers()))):
        raise InputError("the model has lazy layers without weights; run it once on an example, then replace")


def _scripted_convolution(module: torch.jit.ScriptModule) -> bool:
    return any("conv" in str(getattr(inner, "original_name", "")).lower() for inner in module.modules())


def _chosen(model: nn.Module, name: str | None, example_input: Any) -> tuple[nn.Conv2d, tuple[str, ...]]:
    """Return the convolution to replace and all its names; each complaint lists the candidates."""
    _refuse_unfit(model)
    try:
        unit = first_convolution(model, example_input) if name is None else _named(model, name)
        names = tuple(n for n, module in model.named_modules(remove_duplicate=False) if module is unit)
        check_replaceable(unit, name or names[0])
        assert isinstance(unit, nn.Conv2d)
        if name is None:
            _check_filters_images(unit, names[0])
    except InputError as error:
        raise InputError(f"{error} {_candidates(model)}") from error
    return unit, names


def _named(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules(remove_duplicate=False))
    if name and name in modules:
        return modules[name]
    near = difflib.get_close_matches(name, list(convolution_units(model)), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"name={name!r} is not a module inside the model{hint}")


def _candidates(model: nn.Module) -> str:
    """The convolutions that can be named, in registration order; 1x1 ones only where there are no others."""
    units = convolution_units(model)
    handled = {n: u for n, u in units.items() if f"{type(u).__module__}.{type(u).__qualname__}" in HANDLED}
    names = [n for n, unit in handled.items() if unit.kernel_size != (1, 1)] or list(handled)
    if not names:
        return "(the model has no 2-D convolution that can be replaced)"
    return f"(candidates: {listed(names, _LISTED)})"


def _check_filters_images(unit: nn.Conv2d, name: str) -> None:
    """Raise for the kinds that are replaced only when they are named."""
    if unit.kernel_size == (1, 1):
        kind = "a 1x1 convolution, which mixes channels and sees no surround"
    elif all(s >= k for s, k in zip(unit.stride, unit.kernel_size, strict=True)):
        kind = f"a patch embedding (kernel {unit.kernel_size}, stride {unit.stride})"
    else:
        return
    raise InputError(
        f"the image first meets {name!r}, {kind}; pass name={name!r} to replace_first_conv if meant"
    )


def _move_hooks(attribute: str, old: nn.Module, new: nn.Module) -> None:
    """Give the old module's hooks to the new one: the very dictionary, so that handles still remove them."""
    hooks = getattr(old, attribute, None)
    if hooks:
        setattr(new, attribute, hooks)
        setattr(old, attribute, type(hooks)())


def _train_alpha(
    optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    old: nn.Module,
    new: PushPullConv2d,
    name: str,
) -> None:
    """Add alpha to the optimizer that holds the weight, without weight decay."""
    several = [optimizers] if isinstance(optimizers, torch.optim.Optimizer) else list(optimizers)
    alpha = new._parameters["alpha"]
    for optimizer in several:
        for group in optimizer.param_groups:
            if any(parameter is old.weight for parameter in group["params"]):
                options = {key: value for key, value in group.items() if key not in ("params", "param_names")}
                # An optimizer made from named parameters takes named ones only.
                parameters = [(name, alpha)] if "param_names" in group else [alpha]
                optimizer.add_param_group({**options, "params": parameters, "weight_decay": 0.0})
                return
    if several:
        raise InputError(f"no optimizer holds the weight of the convolution, so none would train {name!r}")
