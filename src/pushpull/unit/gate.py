"""The gate of a converted network: from the plain convolution, step by step, to the push-pull unit."""

from __future__ import annotations

import math

from torch import nn

from pushpull.errors import InputError
from pushpull.unit.functional import is_number
from pushpull.unit.layers import PushPullConv2d

__all__ = ["finish_gate", "gate_at", "set_gate"]


def set_gate(model: nn.Module, gate: float) -> None:
    """Set how far the push-pull units of a model are units, in place.

    y = (1 - g) P + g (relu(P) - alpha relu(Q)) + b: at g = 0 the plain convolution, at 1 the unit. The gate
    is a buffer of each unit, `gate`, which state dicts hold; a unit without one is at 1.

    Args:
        model: any module with a `PushPullConv2d` in it, also wrapped or compiled.
        gate: g in [0, 1].

    Raises:
        InputError: another gate, or a model without a unit; nothing has changed.

    >>> model = nn.Sequential(PushPullConv2d(3, 8, 3))
    >>> set_gate(model, 0.25)
    >>> model[0].gate
    tensor(0.2500)
    """
    if not is_number(gate) or not 0 <= gate <= 1:
        raise InputError(f"gate={gate!r} must be a number from 0 (plain convolution) to 1 (push-pull)")
    for unit in _units(model):
        if unit.gate is not None:
            unit.gate.fill_(gate)
        elif gate != 1:
            unit.gate = unit.weight.detach().new_full((), gate)


def finish_gate(model: nn.Module) -> None:
    """Remove the gates, which must be at 1: from then on only the unit is computed.

    Call it after the training, before export or `fuse_stem`. Optimizers and averages of the model that were
    made before do not fit it any more.

    Args:
        model: any module with a `PushPullConv2d` in it, changed in place.

    Raises:
        InputError: a gate that is not at 1, or a model without a unit; nothing has changed.
    """
    units = _units(model)
    for gate in gates(model):
        if gate != 1:
            raise InputError(
                f"the gate is at {gate:g}: without it the network would be another; train on "
                "until it is at 1, or call pushpull.set_gate(model, 1)"
            )
    for unit in units:
        unit.gate = None


def gate_at(step: int, steps: int, share: float = 0.5) -> float:
    """Return the gate of a training step: it rises linearly from 0 to 1 over a share of all steps.

    Args:
        step: number of the step, from 0.
        steps: of the whole training; the last one has the gate at 1 whatever the share.
        share: in [0, 1]; 0 opens the gate at once.

    Raises:
        InputError: a share outside [0, 1].

    >>> [gate_at(step, 100) for step in (0, 25, 50, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """
    if not is_number(share) or not 0 <= share <= 1:
        raise InputError(f"share={share!r} of the steps must be from 0 to 1")
    rise = min(math.ceil(share * steps), steps - 1)
    return min(1.0, step / rise) if rise > 0 else 1.0


def _units(model: nn.Module) -> list[PushPullConv2d]:
    units = [module for module in model.modules() if isinstance(module, PushPullConv2d)]
    if not units:
        raise InputError(
            f"the {type(model).__name__} has no push-pull unit, so no gate; "
            'pushpull.replace_first_conv(model, start="preserve") puts one in'
        )
    return units


def gates(model: nn.Module) -> list[float]:
    """Return the gates of those of a model's units that have one."""
    units = [unit for unit in model.modules() if isinstance(unit, PushPullConv2d)]
    return [float(unit.gate) for unit in units if unit.gate is not None]
