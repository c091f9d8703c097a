"""What a corruption is: a random part that is drawn, and a deterministic part that applies it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pushpull.corruptions.random import Draws


def nothing_random(draws: Draws, params: Any, shape: tuple[int, ...]) -> None:
    """Stand for the random part of a deterministic corruption."""


@dataclass(frozen=True)
class Corruption:
    """One corruption, in two parts.

    Attributes:
        name: as in the benchmark and in `severities.SEVERITIES`.
        family: noise, blur, weather or digital.
        apply: (x, params, drawn) -> y; x float32 (N, 3, H, W) in [0, 1], y the same shape, clipped by the
            caller. Deterministic, and image i of y depends on image i of x and of `drawn` alone.
        sample: (draws, params, shape of x) -> drawn, tensors with leading N; None where nothing is random.
    """

    name: str
    family: str
    apply: Callable[[Tensor, Any, Any], Tensor]
    sample: Callable[[Draws, Any, tuple[int, ...]], Any] = nothing_random
