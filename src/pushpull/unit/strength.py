"""The inhibition strength of a layer: a number, or one trained value a channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pushpull.errors import InputError
from pushpull.unit.arguments import check_strength


class Inhibited(nn.Module):
    """What layers with an inhibition strength share; abstract.

    Attributes:
        alpha: the fixed strength, a float that may be set, or the parameter (C_out,) where it trains.
    """

    alpha: float | nn.Parameter

    @property
    def trainable_alpha(self) -> bool:
        """Whether the inhibition strength is a parameter."""
        return self._parameters.get("alpha") is not None

    @property
    def strength(self) -> float | Tensor:
        """The strength in effect, never negative: a float, or a tensor (C_out,) where it trains."""
        if not isinstance(self.alpha, Tensor):
            return self.alpha
        # |alpha|, with slope 1 at 0, where abs() has none and would never leave.
        return torch.where(self.alpha < 0, -self.alpha, self.alpha)

    def set_strength(self, alpha: float) -> None:
        """Set the strength, or where a trained one starts, in place.

        Raises:
            InputError: no finite number >= 0.
        """
        if self.trainable_alpha:
            nn.init.constant_(self.alpha, check_strength(alpha))  # type: ignore[arg-type]
        else:
            self.alpha = alpha

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a strength that is set; all else is as in `nn.Module`."""
        if name == "alpha" and not isinstance(value, nn.Parameter):
            value = check_strength(value)
            if self.trainable_alpha:
                raise InputError(f"alpha={value} cannot be set: it trains; fill the parameter instead")
        super().__setattr__(name, value)
