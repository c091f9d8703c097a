"""Errors of a classifier on clean and corrupted images: running, storing and summarising them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pushpull.evaluation.results import Condition, Results

if TYPE_CHECKING:
    from pushpull.evaluation.options import EvaluationOptions
    from pushpull.evaluation.runner import evaluate

__all__ = ["Condition", "EvaluationOptions", "Results", "evaluate"]


def __getattr__(name: str) -> Any:
    # Reading results and computing metrics needs neither data sets nor corruptions' code.
    if name == "evaluate":
        from pushpull.evaluation.runner import evaluate

        return evaluate
    if name == "EvaluationOptions":
        from pushpull.evaluation.options import EvaluationOptions

        return EvaluationOptions
    raise AttributeError(f"module 'pushpull.evaluation' has no attribute {name!r}")
