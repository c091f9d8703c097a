"""Evaluation of training runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from pushpull.corruptions import CORRUPTIONS
from pushpull.data import DataSplits, load_data
from pushpull.evaluation.results import Results
from pushpull.evaluation.runner import evaluate
from pushpull.evaluation.subject import load_run_subject


def evaluate_run(
    folder: Path | str,
    splits: DataSplits | None = None,
    *,
    corruptions: Iterable[str] = CORRUPTIONS,
    limit: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    device: str | None = None,
    workers: int = 0,
    channels_last: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Results:
    """Evaluate a run folder's network on its own data and complete the folder's results.json.

    Args:
        folder: what `pushpull train` wrote.
        splits: the run's data, where the caller has loaded it already.
        corruptions, limit, overwrite, progress, workers, channels_last, stop: as for `pushpull.evaluate`.
        device: None: a GPU where there is one.

    Raises:
        InputError: as `pushpull.evaluate`, and for a folder that holds no run.
    """
    subject, config = load_run_subject(str(folder))
    return evaluate(
        subject.model,
        splits if splits is not None else load_data(config),
        corruptions=corruptions,
        preprocessing=subject.preprocessing,
        limit=limit,
        workers=workers,
        channels_last=channels_last,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        output=folder,
        overwrite=overwrite,
        progress=progress,
        stop=stop,
        label=subject.label,
        name=subject.name,
        stem=subject.stem,
        source=subject.source,
        model_seed=subject.seed,
        model_classes=subject.classes,
    )
