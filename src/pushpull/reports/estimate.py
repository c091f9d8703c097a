"""A figure with its spread over runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """The mean of `n` runs and their sample standard deviation (n - 1); `std` is None for a single run."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Estimate:
        """Mean and sample standard deviation of at least one value."""
        numbers = list(values)
        assert numbers, "an estimate needs a value"
        mean = math.fsum(numbers) / len(numbers)
        if len(numbers) == 1:
            return cls(mean, None, 1)
        squares = math.fsum((number - mean) ** 2 for number in numbers)
        return cls(mean, math.sqrt(squares / (len(numbers) - 1)), len(numbers))

    def half_width(self, level: float = 0.95) -> float | None:
        """Half of the mean's confidence interval, t(n - 1) std / sqrt(n) with Student's t; None for n = 1.

        Args:
            level: of confidence, in (0, 1).
        """
        if self.std is None:
            return None
        from scipy.special import stdtrit  # a tenth of a second that other reports need not wait for

        return float(stdtrit(self.n - 1, (1 + level) / 2)) * self.std / math.sqrt(self.n)

    def text(self, factor: float = 100.0, *, spread: bool = True, signed: bool = False) -> str:
        """`12.3 ± 0.4`: one decimal, after multiplying by `factor` (100: a fraction becomes percent)."""
        # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
        mean = round(self.mean * factor, 1) + 0.0
        text = f"{mean:+.1f}" if signed and mean else f"{mean:.1f}"
        text = text.replace("-", "\N{MINUS SIGN}")
        if spread and self.std is not None:
            text += f" ± {self.std * factor:.1f}"
        return text
