"""The main job, small: train a plain network and its push-pull twin, corrupt, evaluate, compare."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from pushpull.corruptions import CORRUPTIONS, corrupt
from pushpull.corruptions.textures import frost_texture_source
from pushpull.data import DataSplits, load_data
from pushpull.errors import InputError, Interrupted, say
from pushpull.evaluation.results import SEVERITIES
from pushpull.evaluation.runner import evaluate
from pushpull.files import LAST, user_path
from pushpull.models.network import load_run
from pushpull.models.stems import STEMS
from pushpull.reports import compare, write_report
from pushpull.reports.gather import gather
from pushpull.reports.markup import print_comparison
from pushpull.training import Recipe, read_recipe, train
from pushpull.training.folder import is_finished
from pushpull.training.recipe import packaged_recipe

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
    _check(stem, seeds)
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


def _check(stem: str, seeds: list[int]) -> None:
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
