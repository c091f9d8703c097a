"""A model's card for the hub: README.md with `model-index` metadata, results in five columns, conventions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pushpull._version import __version__
from pushpull.data.remote import hub_name
from pushpull.data.tables import is_hub_name
from pushpull.errors import all_printable, listed
from pushpull.evaluation.results import Results
from pushpull.export.formats import Card
from pushpull.reports import columns as define
from pushpull.reports.columns import Column
from pushpull.reports.comparable import measured_columns, setting_of
from pushpull.reports.markup import escape, fenced

HEADS = ("Task", "Dataset", "Metric", "Value", "Model")
TASK = "Image classification"
_NO_BASELINE = (define.MCE_BASELINE, define.RELATIVE_MCE_BASELINE, define.NET_REDUCTION)
_ALPHA_NOTE = "the pull response, weighted by its strength, is taken from the push response"


class TaskRow(NamedTuple):
    """One figure as hubs and leaderboards list it; `value` in percent, `column` defines the metric."""

    task: str
    dataset: str
    metric: str
    value: float
    model: str
    column: Column


def task_rows(results: Results) -> list[TaskRow]:
    """Return the figures of one result that need no other: means, families, one for each corruption.

    Raises:
        InputError: the result is not complete, or its corruptions are not at the same severities.
    """
    results = all_printable(results)
    own = (results.errors(), None if results.clean is None else results.clean.top1_error)
    found = [define.CLEAN_ERROR] if own[1] is not None else []
    if results.corrupted:
        measured = measured_columns(setting_of(results, results.label))[0]
        found = [column for column in measured if column not in _NO_BASELINE]
    on_disk = results.corruption.get("name")
    label = results.data["label"] + (f" ({on_disk})" if on_disk and results.corrupted else "")
    return [
        TaskRow(
            TASK, label, column.metric, 100 * define.value(column, own, None, None), results.label, column
        )
        for column in found
    ]


def model_card(
    card: Card,
    results: Sequence[Results],
    recipe: str | None,
    *,
    repo: str | None = None,
    license: str | None = None,
    of_timm: bool = False,
) -> str:
    """Return the text of README.md.

    Args:
        card: what the weights say of themselves.
        results: of these weights, each on one data set; may be empty.
        recipe: how they were trained, as YAML; None: not known.
        repo: OWNER/NAME on the hub, in the commands; None: these words.
        license: its identifier on the hub; None: left to be filled in.
        of_timm: timm builds the network without this package.
    """
    card, results, repo = all_printable(card), [all_printable(one) for one in results], repo or "OWNER/NAME"
    parts = [
        f"# {escape(card.label)}",
        _what(card),
        "## How to use it",
        _use(repo, of_timm),
        "## Results",
        *(_tables(results) if results else ["Not measured yet: `pushpull evaluate` measures it."]),
        "## How it was trained",
        fenced(recipe.strip(), "yaml") if recipe else "Not recorded with the weights.",
        "## Made with",
        _made_with(results),
        "## Limits",
        _limits(results),
        "## Licence",
        f"`{escape(license)}`"
        if license
        else "To be filled in: add `license:` to the head of this file, and "
        "say here what the training data and a model that it started from allow.",
    ]
    return f"---\n{_metadata(card, results, license, of_timm)}\n---\n\n" + "\n\n".join(parts) + "\n"


def _metadata(card: Card, results: Sequence[Results], license: str | None, of_timm: bool) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    figures = [
        EvalResult(
            task_type="image-classification",
            task_name=row.task,
            dataset_type=_slug(one.data["name"]),
            dataset_name=row.dataset,
            dataset_split=one.data["split"],
            dataset_args=_conditions(one),
            metric_type=row.column.key,
            metric_name=row.metric,
            metric_value=round(row.value, 2),
        )
        for one in results
        for row in task_rows(one)
    ]
    data = ModelCardData(
        model_name=card.label,
        eval_results=figures or None,
        library_name="timm" if of_timm else "pushpull-net",
        pipeline_tag="image-classification",
        license=license,
        tags=["robustness", "corruptions", *(["push-pull"] if card.stem.startswith("pp") else [])],
    )
    return data.to_yaml()


def _slug(name: str) -> str:
    """Return a data set's name on the hub, or a word for what is not there."""
    name = hub_name(name) or name
    return (
        name.partition(":")[0] if is_hub_name(name) else re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    )


def _conditions(results: Results) -> dict[str, object]:
    """Return what decides a figure beside the data's name."""
    found: dict[str, object] = {"images": results.data["images"], "image_size": results.data["image_size"]}
    if results.corrupted:
        made = results.corruption
        found |= {"severity_scale": made["scale"], "corruption_seed": made["seed"], "source": made["source"]}
    return found


def _what(card: Card) -> str:
    unit = f" (push-pull inhibition: {_ALPHA_NOTE})" if card.stem.startswith("pp") else ""
    height, width = card.size
    size = f"resized to {height} x {width} px" if card.preprocessing.size else f"{height} x {width} px"
    mean, std = (
        " ".join(f"{value:.4g}" for value in of) for of in (card.preprocessing.mean, card.preprocessing.std)
    )
    return (
        f"`{escape(card.name)}` with the first layer `{escape(card.stem)}`{unit}. It takes RGB images in "
        f"[0, 1], {size}, normalised with mean {mean} and std {std}, and gives logits of {len(card.classes)} "
        f"classes: {escape(listed(card.classes, 10))}."
    )


def _use(repo: str, of_timm: bool) -> str:
    first = "" if of_timm else "import pushpull.models  # registers the network with timm\n"
    code = (
        "import pushpull\n\n"
        f'network = pushpull.from_pretrained("{repo}")\n'
        "logits = network.model(network.preprocessing(images))  # (N, 3, H, W), uint8 or floats in [0, 1]\n"
        "names = [network.classes[i] for i in logits.argmax(1)]"
    )
    timm = f'{first}import timm\n\nmodel = timm.create_model("hf-hub:{repo}", pretrained=True).eval()'
    return "\n\n".join(
        [
            fenced(f"pushpull evaluate hf:{repo} --data DATA", "sh"),
            fenced(code, "python"),
            "By timm, which does not normalise the images:",
            fenced(timm, "python"),
        ]
    )


def _tables(results: Sequence[Results]) -> list[str]:
    found = ["Values in percent; errors: lower is better."]
    for one in results:
        rows = task_rows(one)
        lines = [HEADS, *((r.task, r.dataset, r.metric, f"{r.value:.1f}", r.model) for r in rows)]
        head, *body = ("| " + " | ".join(map(escape, line)) + " |" for line in lines)
        found.append("\n".join([head, "| --- | --- | --- | ---: | --- |", *body]))
        found.append(
            "\n".join(f"- {escape(text)}" for text in _conventions(one, [row.column for row in rows]))
        )
    return found


def _conventions(one: Results, columns: Sequence[Column]) -> list[str]:
    """Return what a reader must know to set these figures beside others."""
    if not one.corrupted:
        return [f"{one.data['images']} images of the {one.data['split']} split; top-1 error, clean images."]
    facts, reasons = setting_of(one, one.label), measured_columns(setting_of(one, one.label))[1]
    main = [
        f"{column.metric}: {column.formula}. {column.meaning}" for column in columns if column.group == "main"
    ]
    names = ", ".join(define.title(name) for name in facts.corruptions)
    return [*(f"{name}: {text}" for name, text in facts.summary()), f"Corruptions: {names}", *main, *reasons]


def _made_with(results: Sequence[Results]) -> str:
    if not results:
        return f"pushpull {__version__}."
    versions = sorted({f"{name} {version}" for one in results for name, version in one.versions.items()})
    devices = ", ".join(sorted({f"{one.device} ({one.precision})" for one in results}))
    created = ", ".join(sorted({one.created[:10] for one in results}))
    return escape(f"{', '.join(versions)}; measured on {devices}, {created}.")


def _limits(results: Sequence[Results]) -> str:
    lines = [
        "Corruptions are synthetic: they say how a network stands noise, blur, weather and compression of "
        "such kinds, not how it stands other shifts, unknown classes or attacks.",
        "The figures are of one set of weights; other seeds give others.",
    ]
    for one in results:
        if one.clean is not None:
            error, images = one.clean_error, max(one.clean.images, 1)
            half = 1.96 * (error * (1 - error) / images) ** 0.5
            lines.append(
                f"{one.data['label']}: {images} test images, so the clean error is known to about "
                f"{100 * half:.1f} points (95 %, normal approximation)."
            )
        if one.model.get("epochs"):
            lines.append(f"The training had not gone to its end: {one.model['epochs']} epochs.")
        if one.data["note"]:
            lines.append(one.data["note"])
    return "\n".join(f"- {escape(line)}" for line in dict.fromkeys(lines))
