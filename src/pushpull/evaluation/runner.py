"""`evaluate`: a network's errors on clean and corrupted images."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pushpull.data import Batch, Framing, Preprocessing
from pushpull.errors import InputError, Interrupted, integer, one_line, signal_of
from pushpull.evaluation.classes import Outputs
from pushpull.evaluation.conditions import Conditions, Pair, check_skipped, open_conditions
from pushpull.evaluation.continuing import continued, model_digest, package_versions
from pushpull.evaluation.images import EvalData
from pushpull.evaluation.options import EvaluationOptions, lent_to_evaluation
from pushpull.evaluation.passes import Progress, Tally, adapted_norms, batch_norms, prepared, progress_bar
from pushpull.evaluation.predictions import (
    kept_pairs,
    merge_parts,
    predictions_path,
    save_part,
)
from pushpull.evaluation.ranks import (
    from_all_ranks,
    from_first_rank,
    meet,
    named_when_ended,
    on_all_ranks,
    rank,
    world_size,
)
from pushpull.evaluation.results import Condition, Results, results_path
from pushpull.files import LOCK, RESULTS, folder_lock, writable_folder
from pushpull.models.network import Network, load_network


def evaluate(
    model: nn.Module | Network,
    data: EvalData | None = None,
    options: EvaluationOptions | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    framing: Framing | None = None,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> Results:
    """Measure a network's top-1 and top-5 error on clean images and on corrupted ones.

    Images are framed, corrupted, and only then normalised and resized for the network. A corrupted image
    depends on image, corruption, severity and seed alone, so batch size, workers and ranks do not change
    results; the network is left as it was. Where the data's classes are a part of the network's (ImageNet-A,
    -R), only their logits count.

    Args:
        model: maps (N, 3, H, W) to logits (N, classes); or what `load_network` and `load_run` return.
        data: a name, `DataConfig`, `DataSplits` (its test split), `ImageSplit`, or a tuple of images (uint8,
            (n, 3, H, W)) and labels (n,). None: what a run was trained on; with `corrupted`, for other
            networks, no clean images.
        options: see `EvaluationOptions`; each of its fields may be given here by its name instead.
        preprocessing, framing: None: the network's own, else images in [0, 1]; the data's own.
        progress: show a bar on standard error.
        stop: asked before every condition: True ends the evaluation there, incomplete, to be continued.
        changes: fields of `EvaluationOptions`; and `name`, `stem`, `source`, `model_seed`, what the results
            say of the network, and `model_classes`, what its outputs mean.

    Returns:
        All that the file holds: conditions asked for and conditions it had before.

    Raises:
        InputError: an argument is out of range, outputs do not fit the data, or the file is of another
            evaluation or cannot be written; before any computing where that can be known.

    Source: the protocol of Hendrycks & Dietterich, ICLR 2019.
    """
    return _Run(model, data, options, preprocessing, framing, changes).finished(progress, stop)


_OF_NETWORK = {"name": "name", "stem": "stem", "source": "source", "model_seed": "seed"}
_OF_NETWORK |= {"model_classes": "classes"}


def _signature() -> inspect.Signature:
    """Return what `help(evaluate)` shows: every option by its name."""
    own = list(inspect.signature(evaluate).parameters.values())[:-1]
    keyword = inspect.Parameter.KEYWORD_ONLY
    asked = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=field.type)
        for field in fields(EvaluationOptions)
    ]
    said = [inspect.Parameter(name, keyword, default=None) for name in _OF_NETWORK]
    return inspect.Signature([*own[:3], *asked, *own[3:], *said], return_annotation=Results)


evaluate.__signature__ = _signature()  # type: ignore[attr-defined]


def _network(model: nn.Module | Network, changes: dict[str, Any]) -> Network:
    """Return the network, with what `changes` says of it, which is taken out there."""
    if not isinstance(model.model if isinstance(model, Network) else model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}, not a torch.nn.Module; wrap it in one")
    network = load_network(model)
    said = {field: changes.pop(key) for key, field in _OF_NETWORK.items() if key in changes}
    said = {field: value for field, value in said.items() if value is not None}
    if "seed" in said:
        said["seed"] = integer("model_seed", said["seed"], "give a whole number or None")
    return replace(network, **said)


def warn_of(network: Network, why: str, size: tuple[int, int]) -> None:
    """Say what is not as it seems: a run that is not finished, a network of which nothing is known."""
    if network.epochs is not None:
        warnings.warn(
            f"{network.source} is not finished: {network.epochs} epochs are done; its results say so",
            stacklevel=4,
        )
    if why.startswith("none known"):
        warnings.warn(
            f"nothing says what size, mean and std {network.name} was trained with: it gets the images as "
            f"they are, {size[0]} x {size[1]} px in [0, 1]; else give --size, --mean and --std",
            stacklevel=4,
        )


def _adapting(
    network: Network,
    options: EvaluationOptions,
    data: EvalData | None,
    framing: Framing | None,
    device: torch.device,
    images: int,
) -> Conditions:
    """Return where the images come from that the batch norms are adapted to."""
    batch_norms(network.model)
    if world_size() > 1:
        raise InputError(f"adapt=bn works in one process, not in {world_size()}; leave it out, or run one")
    few = replace(options, limit=min(options.adapt_images, images))
    return open_conditions(few, data, framing, device)[2]


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


class _Run:
    """Everything that all conditions of one evaluation share, checked before any computing."""

    def __init__(
        self,
        model: nn.Module | Network,
        data: EvalData | None,
        options: EvaluationOptions | None,
        preprocessing: Preprocessing | None,
        framing: Framing | None,
        changes: dict[str, Any],
    ) -> None:
        self.network = network = _network(model, changes)
        self.options = options = EvaluationOptions.made_of(options, changes)
        self.path = None
        if (output := options.output) is not None:
            self.path = from_first_rank(lambda: writable_results_path(output))
        elif options.save_predictions:
            raise InputError("save_predictions needs a folder to write to; give output too")
        self.device = options.chosen_device(network.model)
        if data is None and options.corrupted is None:
            data = network.data
        if framing is None and (options.resize, options.crop) != (None, None):
            framing = Framing(options.resize, options.crop)
        self.wanted, images, self.conditions = open_conditions(options, data, framing, self.device)
        why = "as asked" if preprocessing is not None else "the network's own"
        own = preprocessing or network.preprocessing
        self.preprocessing, self.why = options.preprocessing(own, network.model, why)
        warn_of(network, self.why if isinstance(model, Network) else "", images.size)
        self.images = images
        self.outputs = Outputs(None if images.classes is None else images.split.classes, network.classes)
        self.highest_label = int(images.split.labels.max())
        self.kept: Results | None = None  # what is in the file, of this evaluation
        self.adapting: Conditions | None = None
        if options.adapt is not None:
            self.adapting = _adapting(network, options, data, framing, self.device, len(images.split))

    def finished(self, progress: bool, stop: Callable[[], bool] | None) -> Results:
        """Measure what is missing in the file, which no other process writes now; return all results."""
        path = self.path
        meet()
        with ExitStack() as locked:
            if path is not None:
                file = path.with_name(LOCK if path.name == RESULTS else f".{path.name}.lock")
                from_first_rank(lambda: locked.enter_context(folder_lock(path.parent, file, again=True)))
            fresh, overwrite = self.fresh_results(), self.options.overwrite
            results = from_first_rank(
                lambda: fresh if path is None else continued(fresh, path, overwrite=overwrite)
            )
            show = progress and not self.options.quiet and rank() == 0
            try:
                with named_when_ended():
                    return self.complete(results, show=show, stop=stop)
            except KeyboardInterrupt as stopped:
                raise self.interrupted(stopped) from None

    def fresh_results(self) -> Results:
        """Return results without any condition."""
        network, options = self.network, self.options
        parts = [network.name, network.stem, None if network.seed is None else f"seed {network.seed}"]
        label = network.label or " ".join(filter(None, parts))
        label += "" if options.adapt is None else ", batch norms adapted"
        cuda = self.device.type == "cuda"
        return Results(
            model={
                "label": options.label or label,
                "name": network.name,
                "stem": network.stem,
                "source": network.source,
                "parameters": sum(parameter.numel() for parameter in network.model.parameters()),
                "seed": network.seed,
                "epochs": network.epochs,
                "adapted": options.adapted,
                "weights_sha256": model_digest(network.model),
            },
            data=self.images.info,
            preprocessing={**self.preprocessing.to_dict(), "from": self.why},
            corruption=self.conditions.info(),
            versions=package_versions(),
            device=f"cuda ({torch.cuda.get_device_name(self.device)})" if cuda else self.device.type,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            clean=None,
            corrupted={},
            complete=False,
            precision=f"{options.precision}, compiled" if options.compile else options.precision,
        )

    def complete(self, results: Results, *, show: bool, stop: Callable[[], bool] | None) -> Results:
        """Return `results` with every wanted condition, saving after each, until `stop` says so."""
        self.kept = None if self.options.overwrite else results
        there = set(results.measured())
        if (path := self.path) is not None:
            saved = from_first_rank(lambda: kept_pairs(predictions_path(path), results))
            there &= saved.keys() if self.options.save_predictions else there
        missing = [pair for pair in self.wanted if pair not in there]
        count = len(self.images.split) // world_size()
        bar_of = progress_bar(len(missing), count) if show and missing else nullcontext()
        with lent_to_evaluation(self.network.model, self.device), bar_of as bar:
            call = self.options.network(self.network.model)
            for pair in missing:
                if stop is not None and from_first_rank(stop):
                    return results
                condition = self._measure(pair, call, bar)
                skipped = chain(results.data["skipped"], *from_all_ranks(list(self.conditions.part.skipped)))
                data = {**results.data, "skipped": sorted(set(skipped)), "logits": self.outputs.text}
                if self.images.classes is None:
                    data["classes"] = [str(number) for number in range(len(condition.class_errors))]
                results = self._save(replace(results.with_condition(*pair, condition), data=data))
        if path is not None and self.options.save_predictions:
            from_first_rank(lambda: merge_parts(predictions_path(path), results.measured()))
        return self._save(replace(results, complete=True))

    def _save(self, results: Results) -> Results:
        if (path := self.path) is not None:
            from_first_rank(lambda: results.save(path))
            self.kept = results
        return results

    def interrupted(self, stopped: KeyboardInterrupt) -> KeyboardInterrupt:
        """Return what says how far the evaluation is, where a file keeps it."""
        if self.path is None:
            return stopped
        kept = self.kept
        done = 0 if kept is None else sum(kept.condition(*pair) is not None for pair in self.wanted)
        how_far = f"stopped; {done} of {len(self.wanted)} conditions are in {self.path}"
        return Interrupted(how_far, signal_of(stopped), but="--overwrite" if done else None)

    def _measure(self, pair: Pair, call: Callable[[Tensor], Any], bar: Progress | None) -> Condition:
        title = "clean" if pair[0] is None else f"{pair[0]} {pair[1]}"
        if bar:
            bar.begin(title)
        began = time.perf_counter()
        tally = on_all_ranks(lambda: self._pass(pair, call, bar))
        if world_size() > 1:
            check_skipped(self.conditions.part, self.images.split.unreadable_limit)
        condition, broken = tally.condition(max(from_all_ranks(time.perf_counter() - began)))
        if broken:
            share = f"{broken} of {condition.images} images"
            warnings.warn(f"{title}: NaN logits for {share}, counted as wrong", RuntimeWarning, stacklevel=2)
        if self.options.save_predictions and (path := self.path) is not None:
            columns = from_all_ranks(tally.answers())
            from_first_rank(lambda: save_part(predictions_path(path), pair, columns))
        if bar:
            bar.finish()
        return condition

    def _pass(self, pair: Pair, call: Callable[[Tensor], Any], bar: Progress | None) -> Tally:
        """Return the counts of this rank's images."""
        tally: Tally | None = None

        def network_input(batch: Batch) -> Tensor:
            return self.preprocessing(self.conditions.corrupted(batch, pair))

        adapted: AbstractContextManager[None] = nullcontext()
        if self.adapting is not None:
            few = torch.cat([network_input(batch) for batch in self.adapting.batches(pair)]).to(self.device)
            adapted = adapted_norms(self.network.model, call, few, self.options.adapt_prior)
        with adapted:
            for images, labels, index in prepared(self.conditions.batches(pair), network_input, self.device):
                with torch.inference_mode():
                    logits = self.outputs.take(self._answer(call, images), len(images), self.highest_label)
                    keep = self.options.save_predictions
                    tally = tally or Tally(logits.shape[1], logits.device, keep=keep)
                    tally.add(logits, labels.to(logits.device), index)
                if bar:
                    bar.advance(len(logits))
        if tally is None:
            raise InputError(f"{self.images.info['label']}: no image could be read; give readable images")
        return tally

    def _answer(self, call: Callable[[Tensor], Any], images: Tensor) -> Any:
        """Return what the network makes of a batch; what it does not take becomes one line."""
        try:
            return call(images)
        except InputError:
            raise
        except torch.OutOfMemoryError as error:
            raise InputError(f"{one_line(error)}; give a smaller batch_size (--batch-size)") from error
        except Exception as error:  # a network of anybody's may raise anything
            raise InputError(
                f"{self.network.name} does not take images of {tuple(images.shape[1:])} ({one_line(error)}); "
                "give the size that it takes (--size), or a network for colour images"
            ) from error
