"""What a corruption is, and how one gets its name: the package's own and the user's alike."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from pushpull.errors import InputError, choice
from pushpull.files.registry import Registry
from pushpull.random import Draws

SCALE_PX = {"imagenet": 224, "cifar": 32, "tiny": 64}
"""The sets of constants, and the side in px of the images that each was made for."""
SCALES = tuple(SCALE_PX)
OWN = "own"  # the family of the user's corruptions, which enter no mean of the benchmark
_LEVELS = 5

Function = TypeVar("Function", bound=Callable[..., Any])


class Canvas(NamedTuple):
    """The images that a random part is drawn for: their size in px, and whether they have 8 bits."""

    height: int
    width: int
    eight_bit: bool = True


def nothing_random(draws: Draws, params: Any, canvas: Canvas) -> None:
    """Stand for the random part of a deterministic corruption."""


@dataclass(frozen=True)
class Corruption:
    """One corruption, in two parts.

    Attributes:
        name: as in the benchmark.
        family: noise, blur, weather or digital; own for the user's.
        severities: scale -> the constants of severity 1 to 5.
        apply: (x, params, drawn) -> y; x float32 (N, 3, H, W) in [0, 1], y the same shape, clipped by the
            caller; with `on_bytes` both uint8. Deterministic; image i of y depends only on image i of x and
            of `drawn`.
        sample: (draws, params, canvas) -> drawn, a tensor or named tuple of tensors with leading N, or None
            if nothing is random. If `sample` itself is None, `apply` gets the `Draws` and draws itself.
        on_bytes: whether it works on 8-bit images, to which others are rounded before.
        limits: params -> for each part of `drawn` that positions are computed from, by its name, the least
            and the greatest value: beyond these it would read outside the image or table.
        extra: whether it is one of the four that never enter the benchmark's mean.
    """

    name: str
    family: str
    severities: Mapping[str, Sequence[Any]]
    apply: Callable[[Tensor, Any, Any], Tensor]
    sample: Callable[[Draws, Any, Canvas], Any] | None = nothing_random
    on_bytes: bool = False
    limits: Callable[[Any], Mapping[str, tuple[float, float]]] | None = None
    extra: bool = False

    def params(self, severity: int, scale: str) -> Any:
        """Return the constants of a severity (1..5) at a scale; `InputError` if it has none."""
        choice("scale", scale, SCALES)
        if scale not in self.severities:
            raise InputError(
                f"{self.name} has no constants for scale={scale!r}, only for {', '.join(self.severities)}"
            )
        return self.severities[scale][severity - 1]


def spelled(word: Any, known: Iterable[str]) -> Any:
    """Return the name that a word means in any case, with spaces or hyphens; where it means none, the word.

    >>> spelled("Gaussian noise", ["fog", "gaussian_noise"]), spelled("frog", ["fog"])
    ('gaussian_noise', 'frog')
    """
    names = list(known)
    if not isinstance(word, str) or word in names:
        return word
    plain = {_plain(name): name for name in reversed(names)}
    return plain.get(_plain(word), word)


def _plain(name: str) -> str:
    return "_".join(re.split(r"[\s_-]+", name.strip().casefold()))


def nearest_scale(height: int, width: int) -> str:
    """Return the scale whose images are nearest in size, by the ratio of the sides of equal squares.

    >>> nearest_scale(80, 112), nearest_scale(480, 640)
    ('tiny', 'imagenet')
    """
    side = math.sqrt(height * width)
    return min(SCALES, key=lambda scale: abs(math.log(SCALE_PX[scale] / side)))


def scale_by_size(height: int, width: int) -> str:
    """Return `nearest_scale`, with a note (a warning) where the constants are of images of another size."""
    scale = nearest_scale(height, width)
    side = SCALE_PX[scale]
    if (height, width) != (side, side):
        others = " and ".join(other for other in SCALES if other != scale)
        warnings.warn(
            f"images of {height}x{width} px are corrupted with the constants of the nearest size, "
            f"scale={scale} ({side}x{side}); there are {others} too",
            stacklevel=3,
        )
    return scale


REGISTRY: Registry[Corruption] = Registry("corruption")
"""Every corruption by name, the package's and the user's."""


def register_corruption(
    name: str,
    *,
    severities: Sequence[Any] | Mapping[str, Sequence[Any]],
    family: str = OWN,
    sample: Callable[[Draws, Any, Canvas], Any] | None = None,
    on_bytes: bool = False,
    limits: Callable[[Any], Mapping[str, tuple[float, float]]] | None = None,
    extra: bool = False,
) -> Callable[[Function], Function]:
    """Register a function as the corruption `name`: for `corrupt`, `Corrupt`, evaluations and copies.

    The function takes images, float32 (N, 3, H, W) in [0, 1], and the constant of the severity, and returns
    images of the same shape, which are clipped to [0, 1]. A third parameter, if it has one, gets the images'
    random numbers, each image's own: `draws.uniform(H, W)` and `draws.normal(H, W)` are (N, H, W).

    Args:
        name: a word that is not taken.
        severities: the constant of severity 1 to 5, a number or a tuple each; or a mapping from a scale
            (imagenet, cifar, tiny) to five.
        family, sample, on_bytes, limits, extra: as for `Corruption`; with `sample` the third argument is what
            it has drawn.

    Returns:
        The decorator, which returns the function as it is.

    Raises:
        InputError: a name that is taken or not a word, not five severities, an unknown scale.

    >>> @register_corruption("dim", severities=[0.9, 0.8, 0.7, 0.6, 0.5])
    ... def dim(images, share):
    ...     return images * share
    """
    by_scale = _by_scale(name, severities)

    def decorate(function: Function) -> Function:
        own = family == OWN
        draw = nothing_random if own and sample is None and _arguments(function) < 3 else sample
        apply = _checked(name, function) if own else function
        REGISTRY.register(name, Corruption(name, family, by_scale, apply, draw, on_bytes, limits, extra))
        return function

    return decorate


def _by_scale(name: str, given: Sequence[Any] | Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    by_scale = dict(given) if isinstance(given, Mapping) else dict.fromkeys(SCALES, given)
    for scale, levels in by_scale.items():
        choice("scale", scale, SCALES)
        if isinstance(levels, str) or not isinstance(levels, Sequence) or len(levels) != _LEVELS:
            said = f"{len(levels)} values" if isinstance(levels, Sequence) else repr(levels)
            raise InputError(f"severities of corruption {name!r} are {said}; give five, from 1 to 5")
    return by_scale


def _arguments(function: Callable[..., Any]) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in inspect.signature(function).parameters.values())


def _checked(name: str, function: Callable[..., Any]) -> Callable[[Tensor, Any, Any], Tensor]:
    """Return the user's function with what it returns held against what was asked of it."""
    takes_draws = _arguments(function) >= 3

    @wraps(function)
    def apply(x: Tensor, params: Any, drawn: Any) -> Tensor:
        y = function(x.clone(), params, drawn) if takes_draws else function(x.clone(), params)
        if (
            not isinstance(y, Tensor)
            or y.shape != x.shape
            or not (y.is_floating_point() or y.dtype == x.dtype)
        ):
            found = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise InputError(
                f"corruption {name!r} returned {found}; return images {tuple(x.shape)} {x.dtype}"
            )
        return y.to(x.dtype)

    return apply
