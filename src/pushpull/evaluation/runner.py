"""`evaluate`: a network's errors on clean and corrupted images."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from pushpull.corruptions import CORRUPTIONS, corrupt
from pushpull.corruptions.entry import checked_seed
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import Batch, Framing, ImageSplit, Preprocessing, eval_batches
from pushpull.errors import InputError, integer
from pushpull.evaluation.identity import continued, model_digest, package_versions
from pushpull.evaluation.images import EvalData, EvalImages, eval_images
from pushpull.evaluation.progress import Progress, progress_bar
from pushpull.evaluation.ranks import from_all_ranks, from_first_rank, rank, world_size
from pushpull.evaluation.results import (
    SEVERITIES,
    Condition,
    ModelInfo,
    PreprocessingInfo,
    Results,
    results_path,
)
from pushpull.evaluation.settings import (
    chosen_device,
    chosen_preprocessing,
    condition_list,
    device_text,
    lent_to_evaluation,
    model_dtype,
    severity_scale,
)
from pushpull.evaluation.tally import Tally, checked_logits
from pushpull.files import writable_folder


def evaluate(
    model: nn.Module,
    data: EvalData,
    *,
    corruptions: str | Iterable[str] = CORRUPTIONS,
    severities: int | Iterable[int] = SEVERITIES,
    scale: str | None = None,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    framing: Framing | None = None,
    limit: int | None = None,
    batch_size: int = 256,
    workers: int = 0,
    device: str | torch.device | None = None,
    channels_last: bool = False,
    output: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    label: str | None = None,
    name: str | None = None,
    stem: str | None = None,
    source: str | None = None,
    model_seed: int | None = None,
) -> Results:
    """Measure a network's top-1 and top-5 error on clean images and on corrupted ones.

    Images are framed, corrupted, and only then normalised and resized for the network. The corrupted image
    depends on the image, corruption, severity and seed alone, so batch size, workers and ranks do not change
    results. The network's train flags and device are afterwards as before.

    Args:
        model: maps (N, 3, H, W) to logits (N, classes).
        data: a name, a `DataConfig`, `DataSplits` (its test split), an `ImageSplit`, or a tuple of images
            (uint8, (n, 3, H, W)) and labels (n,).
        corruptions: names of corruptions, families, "benchmark", "extra" or "all"; empty: clean images only.
        severities: of 1..5.
        scale: "imagenet", "cifar" or "tiny": the corruptions' constants; None: by the size of the images.
        seed: of the corruptions.
        preprocessing: None: the network's own (`pushpull.models.model_preprocessing`), else images in [0, 1].
        framing: resize and crop before corruption; None: the data's own.
        limit: at most so many images, the same share of every class, always the same ones.
        batch_size: images at a time.
        workers: processes that decode images which do not fit in memory.
        device: None: where the model is.
        channels_last: give the network channels-last images: faster on some devices.
        output: a folder, which gets a results.json, or a .json file; written after every condition, and
            continued where it stops if everything that decides the numbers agrees. None: no file.
        overwrite: replace what is at `output` instead.
        progress: show a bar on standard error.
        label, name, stem, source, model_seed: what the results say of the network; no effect on numbers.

    Returns:
        All that the file holds: conditions asked for and conditions it had before.

    Raises:
        InputError: an argument is out of range, the network's outputs do not fit the data, or the file is
            of another evaluation or cannot be written; before any computing where that can be known.

    Source: the protocol of Hendrycks & Dietterich, ICLR 2019.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}, not a torch.nn.Module; wrap it in one")
    at_a_time, helpers = _loading(batch_size, workers)
    wanted = condition_list(corruptions, severities)
    corruption_seed = checked_seed(seed)
    path = None if output is None else from_first_rank(lambda: writable_results_path(output))
    images = eval_images(data, limit=limit, framing=framing)
    run = _Run(
        model=model,
        images=images,
        shard=_shard(images.split),
        scale=severity_scale(scale, images.size, corrupted=len(wanted) > 1),
        seed=corruption_seed,
        preprocessing=chosen_preprocessing(preprocessing, model),
        batch_size=at_a_time,
        workers=helpers,
        device=chosen_device(device, model),
        channels_last=channels_last,
    )
    fresh = run.fresh_results(_model_info(model, label, name, stem, source, model_seed))
    results = from_first_rank(lambda: fresh if path is None else continued(fresh, path, overwrite=overwrite))
    return run.complete(results, wanted, path, progress=progress and rank() == 0)


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
    shard: ImageSplit
    scale: str
    seed: int
    preprocessing: Preprocessing
    batch_size: int
    workers: int
    device: torch.device
    channels_last: bool

    def fresh_results(self, model: ModelInfo) -> Results:
        """Return results without any condition."""
        return Results(
            model=model,
            data=self.images.info,
            preprocessing=cast(PreprocessingInfo, self.preprocessing.to_dict()),
            corruption={
                "scale": self.scale,
                "seed": self.seed,
                "source": "in memory",
                "frost_textures": frost_texture_source(),
            },
            versions=package_versions(),
            device=device_text(self.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            clean=None,
            corrupted={},
            complete=False,
        )

    def complete(
        self,
        results: Results,
        wanted: list[tuple[str | None, int | None]],
        path: Path | None,
        *,
        progress: bool,
    ) -> Results:
        """Return `results` with every wanted condition, saving after each."""
        missing = [pair for pair in wanted if results.condition(*pair) is None]
        bar_of = progress_bar(len(missing), len(self.shard), enabled=progress)
        with lent_to_evaluation(self.model, self.device), bar_of as bar:
            for name, severity in missing:
                condition = self._measure(name, severity, bar)
                results = self._noting_data(results.with_condition(name, severity, condition))
                _save(results, path)
        results = replace(results, complete=True)
        _save(results, path)
        return results

    def _measure(self, name: str | None, severity: int | None, bar: Progress) -> Condition:
        title = "clean" if name is None else f"{name} {severity}"
        bar.begin(title)
        began = time.perf_counter()
        tally: Tally | None = None
        for batch in eval_batches(
            self.shard, self.images.framing, self.batch_size, self.workers, device=self.device
        ):
            # Not around the loop: the data keeps what it decodes, and training may not use inference tensors.
            with torch.inference_mode():
                logits = self._logits(batch, name, severity)
                tally = tally or Tally(logits.shape[1], logits.device)
                tally.add(logits, batch.labels.to(logits.device))
            bar.advance(len(logits))
        if tally is None:
            raise InputError(f"{self.images.info['label']}: no image could be read; give readable images")
        total = tally.over_ranks()
        condition = total.condition(max(from_all_ranks(time.perf_counter() - began)))
        if total.broken:
            share = f"{total.broken} of {condition.images} images"
            warnings.warn(f"{title}: NaN logits for {share}, counted as wrong", RuntimeWarning, stacklevel=2)
        bar.finish()
        return condition

    def _logits(self, batch: Batch, name: str | None, severity: int | None) -> Tensor:
        x = batch.images
        if name is not None and severity is not None:
            x = corrupt(x, name, severity, scale=self.scale, seed=self.seed, index=batch.index)
        x = self.preprocessing(x).to(model_dtype(self.model))
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return checked_logits(self.model(x), len(x), self.images.classes, int(self.images.split.labels.max()))

    def _noting_data(self, results: Results) -> Results:
        """Return `results` with what only reading the images and running the model has told."""
        skipped = sorted(set(chain.from_iterable(from_all_ranks(self.shard.skipped))))
        data = {**results.data, "skipped": skipped}
        if self.images.classes is None and results.clean is not None:
            data["classes"] = [str(number) for number in range(len(results.clean.class_errors))]
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


def _shard(split: ImageSplit) -> ImageSplit:
    """Return this rank's images."""
    ranks = world_size()
    if ranks == 1:
        return split
    if len(split) < ranks:
        raise InputError(f"{len(split)} images for {ranks} processes; use fewer processes")
    return split.subset(torch.arange(rank(), len(split), ranks))


def _save(results: Results, path: Path | None) -> None:
    if path is not None:
        from_first_rank(lambda: results.save(path))
