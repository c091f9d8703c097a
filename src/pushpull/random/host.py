"""The CPU, whatever torch's default device is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def tables_on_the_host() -> AbstractContextManager[Any]:
    """Undo `torch.set_default_device`: what names no device inside is a table of the CPU."""
    # Not get_default_device, which fails in torch 2.6 after set_default_device(None). The context only where
    # it is needed: it slows every operation down.
    return torch.device("cpu") if torch.empty(0).device.type != "cpu" else nullcontext()
