"""What a corruption is: a random part that is drawn, and a deterministic part that applies it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from pushpull.random import Draws


class Canvas(NamedTuple):
    """The images that a random part is drawn for: their size in px, and whether they have 8 bits."""

    height: int
    width: int
    eight_bit: bool = True


def nothing_random(draws: Draws, params: Any, canvas: Canvas) -> None:
    """Stand for the random part of a deterministic corruption."""


def nothing_limited(params: Any) -> Mapping[str, tuple[float, float]]:
    """Stand for the limits of a corruption that takes any numbers."""
    return {}


@dataclass(frozen=True)
class Corruption:
    """One corruption, in two parts.

    Attributes:
        name: as in the benchmark and in `severities.SEVERITIES`.
        family: noise, blur, weather or digital.
        apply: (x, params, drawn) -> y; x float32 (N, 3, H, W) in [0, 1], y the same shape, clipped by the
            caller; with `on_bytes` both uint8. Deterministic, and image i of y depends on image i of x and of
            `drawn` alone.
        sample: (draws, params, canvas) -> drawn, a tensor or named tuple of tensors with leading N; None
            where nothing is random.
        on_bytes: whether it is one of 8-bit images, to which others are rounded before.
        limits: params -> for each part of `drawn` that places are computed from, by its name, the least and
            the greatest value: what is beyond would be read outside the image or table.
    """

    name: str
    family: str
    apply: Callable[[Tensor, Any, Any], Tensor]
    sample: Callable[[Draws, Any, Canvas], Any] = nothing_random
    on_bytes: bool = False
    limits: Callable[[Any], Mapping[str, tuple[float, float]]] = nothing_limited
