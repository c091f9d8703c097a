"""`evaluate`: a network's errors on clean and corrupted images."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pushpull.data import Batch, Framing, Preprocessing
from pushpull.errors import InputError, integer
from pushpull.evaluation.classes import Outputs
from pushpull.evaluation.conditions import Conditions, Loading, Pair, check_skipped
from pushpull.evaluation.identity import continued, model_digest, package_versions
from pushpull.evaluation.images import EvalData, EvalImages
from pushpull.evaluation.prefetch import prepared
from pushpull.evaluation.progress import Progress, progress_bar
from pushpull.evaluation.ranks import from_all_ranks, from_first_rank, on_all_ranks, rank
from pushpull.evaluation.request import Request
from pushpull.evaluation.results import (
    SEVERITIES,
    Condition,
    ModelInfo,
    PreprocessingInfo,
    Results,
    results_path,
)
from pushpull.evaluation.settings import (
    Execution,
    chosen_device,
    chosen_preprocessing,
    device_text,
    lent_to_evaluation,
)
from pushpull.evaluation.tally import Tally, check_labels_fit, checked_logits
from pushpull.files import writable_folder


def evaluate(
    model: nn.Module,
    data: EvalData | None,
    *,
    corrupted: Path | str | None = None,
    corruptions: str | Iterable[str] | None = None,
    severities: int | Iterable[int] = SEVERITIES,
    scale: str | None = None,
    seed: int = 0,
    jpeg_quality: int | None = None,
    preprocessing: Preprocessing | None = None,
    framing: Framing | None = None,
    limit: int | None = None,
    batch_size: int = 256,
    workers: int = 0,
    device: str | torch.device | None = None,
    channels_last: bool = False,
    precision: str = "fp32",
    compile: bool = False,
    output: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    label: str | None = None,
    name: str | None = None,
    stem: str | None = None,
    source: str | None = None,
    model_seed: int | None = None,
    model_classes: Sequence[str] | None = None,
) -> Results:
    """Measure a network's top-1 and top-5 error on clean images and on corrupted ones.

    Images are framed, corrupted, and only then normalised and resized for the network. The corrupted image
    depends on the image, corruption, severity and seed alone, so batch size, workers and ranks do not change
    results. The network's train flags and device are afterwards as before.

    Where the data's classes are a part of the network's (ImageNet-A, -R), only their logits count.

    Args:
        model: maps (N, 3, H, W) to logits (N, classes).
        data: a name, a `DataConfig`, `DataSplits` (its test split), an `ImageSplit`, or a tuple of images
            (uint8, (n, 3, H, W)) and labels (n,). None, with `corrupted`: no clean images.
        corrupted: a published set on disk (see `pushpull.data.published`), whose images are taken in place of
            making them; no `seed` and `jpeg_quality` then.
        corruptions: names of corruptions, families, "benchmark", "extra" or "all"; empty: clean images only.
            None: the fifteen; of a set on disk those of the fifteen that it has, all that it has if none.
        severities: of 1..5.
        scale: "imagenet", "cifar" or "tiny": the corruptions' constants; None: by the size of the images.
        seed: of the corruptions.
        jpeg_quality: 1..100: corrupted images go through JPEG, as ImageNet-C's did (85); None: they do not.
        preprocessing: None: the network's own (`pushpull.models.model_preprocessing`), else images in [0, 1].
        framing: resize and crop before corruption; None: the data's own.
        limit: at most so many, the same share of every class, always the same ones.
        batch_size: images at a time.
        workers: processes that decode images which do not fit in memory.
        device: None: where the model is.
        channels_last: give the network channels-last images: faster on some devices.
        precision: "fp32": as the weights are; "bf16" or "fp16": the network alone under autocast.
        compile: the network by torch.compile.
        output: a folder, which gets a results.json, or a .json file; written after every condition, and
            continued where it stops if everything that decides the numbers agrees. None: no file.
        overwrite: replace what is at `output` instead.
        progress: show a bar on standard error.
        stop: asked before every condition: True ends the evaluation there, incomplete, to be continued.
        label, name, stem, source, model_seed: what the results say of the network; no effect on numbers.
        model_classes: what the network's outputs mean; for networks with 1000 it need not be said.

    Returns:
        All that the file holds: conditions asked for and conditions it had before.

    Raises:
        InputError: an argument is out of range, the network's outputs do not fit the data, or the file is
            of another evaluation or cannot be written; before any computing where that can be known.

    Source: the protocol of Hendrycks & Dietterich, ICLR 2019.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}, not a torch.nn.Module; wrap it in one")
    request = Request(corrupted, corruptions, severities, scale, seed, jpeg_quality, limit, framing).checked()
    at_a_time, helpers = _loading(batch_size, workers)
    how = Execution(precision, compile, channels_last)
    path = None if output is None else from_first_rank(lambda: writable_results_path(output))
    loading = Loading(at_a_time, helpers, chosen_device(device, model))
    wanted, images, conditions = request.opened(data, loading)
    run = _Run(
        model=model,
        images=images,
        conditions=conditions,
        preprocessing=chosen_preprocessing(preprocessing, model),
        outputs=Outputs(None if images.classes is None else images.split.classes, model_classes),
        device=loading.device,
        execution=how,
    )
    fresh = run.fresh_results(_model_info(model, label, name, stem, source, model_seed))
    results = from_first_rank(lambda: fresh if path is None else continued(fresh, path, overwrite=overwrite))
    return run.complete(results, wanted, path, progress=progress and rank() == 0, stop=stop)


def _loading(batch_size: int, workers: int) -> tuple[int, int]:
    """Return both as int, or raise."""
    remedy = "give a whole number"
    size, count = integer("batch_size", batch_size, remedy), integer("workers", workers, remedy)
    if size < 1 or count < 0:
        raise InputError(f"batch_size={size}, workers={count}: need at least 1 and 0")
    return size, count


def writable_results_path(output: Path | str) -> Path:
    """Return the results file that `output` means, after making sure that it can be written.

    Raises:
        InputError: its folder cannot be made or written to.
    """
    path = results_path(output)
    writable_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give another --output")
    return path


@dataclass
class _Run:
    """Everything that all conditions of one evaluation share."""

    model: nn.Module
    images: EvalImages
    conditions: Conditions
    preprocessing: Preprocessing
    outputs: Outputs
    device: torch.device
    execution: Execution

    def fresh_results(self, model: ModelInfo) -> Results:
        """Return results without any condition."""
        return Results(
            model=model,
            data=self.images.info,
            preprocessing=cast(PreprocessingInfo, self.preprocessing.to_dict()),
            corruption=self.conditions.info(),
            versions=package_versions(),
            device=device_text(self.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            clean=None,
            corrupted={},
            complete=False,
            precision=self.execution.text,
        )

    def complete(
        self,
        results: Results,
        wanted: list[Pair],
        path: Path | None,
        *,
        progress: bool,
        stop: Callable[[], bool] | None = None,
    ) -> Results:
        """Return `results` with every wanted condition, saving after each, until `stop` says so."""
        missing = [pair for pair in wanted if results.condition(*pair) is None]
        bar_of = progress_bar(len(missing), self.conditions.count(), enabled=progress)
        with lent_to_evaluation(self.model, self.device), bar_of as bar:
            network = self.execution.network(self.model)
            for pair in missing:
                if stop is not None and from_first_rank(stop):
                    return results
                condition = self._measure(pair, network, bar)
                results = self._noting_data(results.with_condition(*pair, condition), condition)
                _save(results, path)
        results = replace(results, complete=True)
        _save(results, path)
        return results

    def _measure(self, pair: Pair, network: Callable[[Tensor], Any], bar: Progress) -> Condition:
        title = "clean" if pair[0] is None else f"{pair[0]} {pair[1]}"
        bar.begin(title)
        began = time.perf_counter()
        tally = on_all_ranks(lambda: self._pass(pair, network, bar))
        check_skipped(self.conditions.part(), self.images.split.unreadable_limit)
        total = tally.over_ranks()
        condition = total.condition(max(from_all_ranks(time.perf_counter() - began)))
        if total.broken:
            share = f"{total.broken} of {condition.images} images"
            warnings.warn(f"{title}: NaN logits for {share}, counted as wrong", RuntimeWarning, stacklevel=2)
        bar.finish()
        return condition

    def _pass(self, pair: Pair, network: Callable[[Tensor], Any], bar: Progress) -> Tally:
        """Return the counts of this rank's images."""
        tally: Tally | None = None
        batches = prepared(self.conditions.batches(pair), partial(self._input, pair), self.device)
        for images, labels in batches:
            with torch.inference_mode():
                logits = self._logits(network(images), len(images))
                tally = tally or Tally(logits.shape[1], logits.device)
                tally.add(logits, labels.to(logits.device))
            bar.advance(len(logits))
        if tally is None:
            raise InputError(f"{self.images.info['label']}: no image could be read; give readable images")
        return tally

    def _input(self, pair: Pair, batch: Batch) -> Tensor:
        """Return what the network gets for a batch."""
        return self.preprocessing(self.conditions.corrupted(batch, pair))

    def _logits(self, output: Any, images: int) -> Tensor:
        logits = self.outputs.take(checked_logits(output, images))
        check_labels_fit(logits, int(self.images.split.labels.max()))
        return logits

    def _noting_data(self, results: Results, condition: Condition) -> Results:
        """Return `results` with what only reading the images and running the model has told."""
        skipped = sorted(
            {*results.data["skipped"], *chain.from_iterable(from_all_ranks(self.conditions.skipped()))}
        )
        data = {**results.data, "skipped": skipped, "logits": self.outputs.text}
        if self.images.classes is None:
            data["classes"] = [str(number) for number in range(len(condition.class_errors))]
        return replace(results, data=data)  # type: ignore[arg-type]


def _model_info(
    model: nn.Module,
    label: str | None,
    name: str | None,
    stem: str | None,
    source: str | None,
    seed: int | None,
) -> ModelInfo:
    name = name or type(model).__name__
    seed = None if seed is None else integer("model_seed", seed, "give a whole number or None")
    parts = [name, *([stem] if stem else []), *([f"seed {seed}"] if seed is not None else [])]
    return {
        "label": label or " ".join(parts),
        "name": name,
        "stem": stem,
        "source": source,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seed": seed,
        "weights_sha256": model_digest(model),
    }


def _save(results: Results, path: Path | None) -> None:
    if path is not None:
        from_first_rank(lambda: results.save(path))
