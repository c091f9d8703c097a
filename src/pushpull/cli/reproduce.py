"""The command `pushpull reproduce`, whose options are the arguments of the function."""

from __future__ import annotations

from pushpull.reports.reproduction import reproduce as reproduce_command

__all__ = ["reproduce_command"]
