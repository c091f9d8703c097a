"""The commands that train: `train`, `harden`, and `quickstart`, the main job, small."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from pushpull.corruptions import CORRUPTIONS, corrupt
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import DataConfig, DataSplits, Preprocessing, load_data
from pushpull.errors import InputError, Interrupted, say
from pushpull.evaluation.results import SEVERITIES
from pushpull.evaluation.runner import evaluate
from pushpull.export.exporting import ExportOptions, export_model
from pushpull.export.formats import SUFFIXES, Card, check_onnx_installed
from pushpull.files import AFTER, BEFORE, LAST, WEIGHTS, user_path
from pushpull.models.network import Network, NetworkSpec, load_run
from pushpull.models.stems import STEMS
from pushpull.reports import compare, write_report
from pushpull.reports.gather import gather
from pushpull.reports.markup import print_comparison
from pushpull.training.folder import is_finished
from pushpull.training.harden import HardenOptions, harden
from pushpull.training.recipe import Recipe, packaged_recipe, read_recipe
from pushpull.training.run import is_first_process, train


def train_command(
    recipe: Recipe,
    output: str | None = None,
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
) -> None:
    """Train a network by a recipe.

    Args:
        recipe: all settings.
        output: the run folder; runs/DATA-MODEL-STEM-seedN where none is given.
        resume: continue the run that is in the output folder, with other learning rates or optim.clip_norm if
            you give some; auto: continue it if there is one to continue, else begin, and do nothing if it is
            finished, so that the same command can be given again.
        overwrite: delete the run that is in the output folder first.

    Example:
        pushpull train --config digits --model resnet20 --model.stem pp3 --output runs/pp3
    """
    place = user_path(recipe.data.name)
    data = (place.resolve() if place.is_dir() else place).name
    model = recipe.model.name.replace(":", "-")
    folder = user_path(output or f"runs/{data}-{model}-{recipe.model.stem}-seed{recipe.seed}")
    train(recipe, folder, resume=resume, overwrite=overwrite)
    if is_first_process():
        say(f"{folder} holds the run. Measure its robustness: pushpull evaluate {folder}")


def harden_command(
    model: str,
    options: HardenOptions,
    data: str | None = None,
    output: str | None = None,
    classes: str | None = None,
    weights: str | None = None,
    model_name: str | None = None,
    stem_of_weights: str | None = None,
    label_column: str | None = None,
    export: Literal["onnx", "exported-program", "safetensors"] | None = None,
) -> None:
    """Make a model withstand corruptions and keep its accuracy: measure, convert, fine-tune, measure, report.

    The same command goes on where it was stopped.

    Args:
        model: A run folder; hf:OWNER/NAME[@REVISION] of the hub; timm:NAME or torchvision:NAME (with their
            published weights unless --weights is given); a name of ours with --weights; a file of weights
            (.safetensors, .pth), with --model-name unless `pushpull train` wrote it; or
            FILE.py:FUNCTION, which returns the network.
        data: digits, a folder of parquet files or tar shards, an image folder, or owner/name of the hub. By
            default what a run was trained on.
        output: The folder for everything. By default runs/harden-NAME.
        classes: A text file with one class name per line: only these classes, in that order.
        weights: A file of weights for a model that is given by name or function.
        model_name: The name, where the model is given as a file of weights.
        stem_of_weights: The first layer that the weights are of. By default what they say, else plain.
        label_column: The column of a table that has the labels.
        export: onnx, exported-program or safetensors: also write the model as such a file, checked.
        options: How the model is made more robust.

    Example:
        pushpull harden timm:resnet18.a1_in1k --data photos --budget 30m
    """
    given = {
        "data": data,
        "output": output,
        "classes": classes,
        "weights": weights,
        "model_name": model_name,
        "stem_of_weights": stem_of_weights,
        "label_column": label_column,
        "export": export,
    }
    changed = {field.name: getattr(options, field.name) for field in fields(options)}
    changed = {f.name: changed[f.name] for f in fields(options) if changed[f.name] != f.default}
    asked = {name: value for name, value in given.items() if value is not None} | changed
    spec = NetworkSpec(model, weights, model_name, stem_of_weights)
    if export == "onnx":
        check_onnx_installed()
    if export == "safetensors" and spec.is_object:
        raise InputError(
            f"export=safetensors needs a network that has a name, unlike {model}: leave --export out; the "
            f"output's {WEIGHTS} has the weights"
        )
    name = Path(model).stem if Path(model).exists() else re.sub(r"[^\w.]+", "-", model).strip("-")
    folder = user_path(output or f"runs/harden-{name}")
    run = spec.load() if spec.is_run or spec.is_hub else None
    config = DataConfig(data) if data is not None else run.data if run else None
    if config is None:
        raise InputError(f"--data is missing: {model} is not a run folder, which would bring its own")
    config = replace(
        config, classes=classes or config.classes, label_column=label_column or config.label_column
    )
    splits = load_data(config)
    network = run or spec.load(splits.classes, max(splits.image_size or (224,)))
    done = harden(network, splits, options, output=folder)
    comparison = compare(
        str(folder / BEFORE),
        [str(folder / AFTER)],
        title=f"{done.before.label}, before and after hardening",
        commands=[shlex.join(["pushpull", "harden", model, *_words(asked)])],
    )
    evidence = gather(comparison, splits=splits, networks=(network, done.network))
    page, *_ = write_report(replace(comparison, lead=tuple(done.sentences())), folder, evidence=evidence)
    print("\n".join(done.sentences()))
    if export is not None:
        print(f"Exported: {_exported(done.network, splits, folder, export)}")
    print(f"The network: {folder / WEIGHTS}. The report: {page.resolve()}")


def _words(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    words = list[str]()
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
            continue
        several = value if isinstance(value, list | tuple) else [value]
        words += [f"--{name}", *("null" if one is None else str(one) for one in several)]
    return words


def _exported(network: Network, splits: DataSplits, folder: Path, format: str) -> Path:
    """Write the network as a file for other programs; return its path."""
    own = network.preprocessing or Preprocessing()
    size: Any = own.size or splits.image_size
    size = (size, size) if isinstance(size, int) else size
    card = Card.of(
        network,
        classes=splits.classes,
        preprocessing=replace(own, size=size),
        framing=splits.framing,
        size=size,
    )
    path = folder / f"model{SUFFIXES[format]}" if format != "safetensors" else folder / "export.safetensors"
    export_model(network.model, path, card, ExportOptions(format))
    return path


BASELINE = "plain"
_BATCH_SIZE = 64  # fits a core's cache at 32 x 32: an evaluation on two cores took 7 s, with 256 images 10 s


def quickstart_command(
    output: str = "runs/quickstart",
    config: str = "digits",
    data: str | None = None,
    label: str | None = None,
    stem: str = "pp3",
    seeds: list[int] = [0, 1, 2],  # noqa: B006 - read only, and the command line shows it
    limit: int | None = None,
    overwrite: bool = False,
) -> None:
    """Train a plain network and its push-pull twin, evaluate both on 15 corruptions x 5 severities, compare.

    What is finished is kept: the same command continues where it was stopped.

    Args:
        output: folder for the runs, tables, figures and the page.
        config: the recipe of both networks: a YAML file, or digits, cifar10-small, cifar10,
            imagenette-small, imagenet1k.
        data: another data set than the recipe's.
        label: what tables call the data.
        stem: the twin's first layer: pp0, pp3, pp5, pp0_alpha, pp3_alpha or pp5_alpha.
        seeds: one network of each kind is trained for each.
        limit: corrupt at most so many test images, the same share of every class.
        overwrite: start again, over what is in the output folder.

    Example:
        pushpull quickstart --seeds 0 --limit 100
    """
    start, folder = time.perf_counter(), user_path(output)
    _check_twin(stem, seeds)
    recipe = read_recipe(packaged_recipe(config))
    source = replace(recipe.data, name=data or recipe.data.name, label=label or recipe.data.label)
    recipe = replace(recipe, data=source)
    splits = load_data(recipe.data)
    frost_texture_source()  # here it may say what it lacks, not in the middle of the runs
    say(f"{recipe.model.name} on {splits.label}: {BASELINE} against {stem}, seeds {seeds}")
    with _this_command_goes_on():
        _train_and_evaluate(recipe, (BASELINE, stem), seeds, folder, splits, limit, overwrite)
    page = _reported(folder, stem, splits)
    say(f"{time.perf_counter() - start:.0f} s. Open {page.resolve()}; tables and figures are beside it.")


def _check_twin(stem: str, seeds: list[int]) -> None:
    """Raise where they are wrong, before anything is trained."""
    if stem == BASELINE or not seeds or len(set(seeds)) < len(seeds):
        said = f"stem={stem!r}, seeds={seeds}"
        raise InputError(f"{said}: give a push-pull stem and at least one seed, each once")
    STEMS.find(stem)


def _reported(folder: Path, stem: str, splits: DataSplits) -> Path:
    """Print the comparison and write the page; return its path."""
    baseline, twin = (str(folder / kind) for kind in (BASELINE, stem))
    comparison = compare(baseline, [twin], commands=[f"pushpull compare {baseline} {twin}"])
    print_comparison(comparison)
    with _shown("writing the page"):
        return write_report(comparison, folder, _samples(splits), gather(comparison))[0]


@contextmanager
def _this_command_goes_on() -> Iterator[None]:
    """Have an interruption name this command, not that of the run at hand."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(stopped.how_far, stopped.signum) from None


@contextmanager
def _shown(text: str) -> Iterator[None]:
    """Say what is being done, on a terminal in a line that counts and is taken away."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        say(f"{text} ...")
        yield
        return
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(text, total=None)
        yield


def _train_and_evaluate(
    recipe: Recipe,
    stems: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    splits: DataSplits,
    limit: int | None,
    overwrite: bool,
) -> None:
    """Do what is missing of the runs, in FOLDER/STEM/seedN; print a line for each step."""
    runs = [(seed, stem) for seed in seeds for stem in stems]
    for number, (seed, stem) in enumerate(runs, 1):
        name = f"[{number}/{len(runs)}] {stem:9} seed {seed} "
        run = folder / stem / f"seed{seed}"
        twin = replace(recipe, model=replace(recipe.model, stem=stem), seed=seed)
        start = time.perf_counter()
        if overwrite or not is_finished(run, twin):
            resume = not overwrite and (run / LAST).exists()
            with _shown(f"{name} training {twin.epochs} epochs"):
                train(twin, run, resume=resume, overwrite=not resume, progress=False, splits=splits)
            seconds = time.perf_counter() - start
            say(f"{name} trained {twin.epochs} epochs in {seconds:.1f} s")
        start = time.perf_counter()
        with _shown(f"{name} corrupting and evaluating"):
            results = evaluate(
                load_run(run),
                splits,
                output=str(run),
                limit=limit,
                batch_size=_BATCH_SIZE,
                save_predictions=True,
                device="auto",
                progress=False,
            )
        conditions = sum(map(len, results.corrupted.values()))
        say(
            f"{name} clean error {results.clean_error:.1%}, {results.data['images']} images in {conditions} "
            f"conditions in {time.perf_counter() - start:.1f} s",
        )


def _samples(splits: DataSplits) -> dict[str, torch.Tensor]:
    """Return each corruption of the first test image, severities 1 to 5."""
    assert splits.test is not None
    image = splits.test.framed(0, splits.framing, splits.test.framed_size(splits.framing))[None]
    index, scale = splits.test.index[:1], "imagenet" if image.shape[-1] >= 224 else "cifar"
    return {
        name: torch.cat([corrupt(image, name, severity, scale=scale, index=index) for severity in SEVERITIES])
        for name in CORRUPTIONS
    }
