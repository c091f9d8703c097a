"""From the rows of a comparison to what stands beside their results: predictions, networks, images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pushpull.corruptions import corrupt
from pushpull.corruptions.textures import PROCEDURAL, frost_texture_source
from pushpull.data import DataConfig, DataSplits, Framing, ImageSplit, Preprocessing, load_data
from pushpull.errors import InputError, MissingFileError, one_line
from pushpull.evaluation.classes import Outputs
from pushpull.evaluation.continuing import model_digest
from pushpull.evaluation.images import eval_images
from pushpull.evaluation.predictions import CLEAN, MEAN, interval, paired, predictions_of
from pushpull.evaluation.results import Results, weaknesses
from pushpull.files import RECIPE
from pushpull.models.network import Network, load_run
from pushpull.reports.columns import CLEAN_ERROR, MEAN_CORRUPTION_ERROR, title
from pushpull.reports.comparison import Comparison, Row
from pushpull.reports.evidence import Evidence, Interval, first_layer, image_picture, kernel_sheet, responses
from pushpull.reports.sections import by_severity
from pushpull.reports.summary import broken_from
from pushpull.unit.layers import PushPullConv2d

if TYPE_CHECKING:
    from pandas import DataFrame

_WORST, _EACH = 4, 3  # corruptions that examples are of, and how many of each: a dozen
_ASKED = 96  # images of which a network is asked where no predictions were saved; of large ones a quarter
_LARGE_PX = 64
_NOISE, _NOISE_SEVERITY = "gaussian_noise", 3
_FAILURES = (
    OSError,
    ValueError,
    RuntimeError,
)  # of data and networks that are not there, or not as they were
_COLUMNS = {CLEAN: CLEAN_ERROR.key, MEAN: MEAN_CORRUPTION_ERROR.key}


@dataclass(frozen=True)
class Images:
    """The test images of an evaluation, and how they were corrupted."""

    split: ImageSplit
    framing: Framing
    size: tuple[int, int]
    results: Results

    def clean(self, positions: Sequence[int]) -> Tensor:
        """Return images, (n, 3, H, W) uint8."""
        return torch.stack([self.split.framed(at, self.framing, self.size) for at in positions])

    def corrupted(self, positions: Sequence[int], name: str, severity: int) -> Tensor:
        """Return the very images that the network was evaluated on."""
        made = self.results.corruption
        return corrupt(
            self.clean(positions),
            name,
            severity,
            scale=made["scale"],
            seed=made["seed"] or 0,
            index=self.split.index[list(positions)],
            jpeg_quality=made.get("jpeg_quality"),
        )


def gather(
    comparison: Comparison,
    *,
    pictures: bool = True,
    splits: DataSplits | None = None,
    networks: Sequence[Network] = (),
) -> Evidence:
    """Return all that can be had of the rows: nothing that is missing is an error, the page says why.

    Args:
        comparison: of `side_by_side`, of runs that are on disk.
        pictures: whether to open data and networks for examples, kernels and responses.
        splits, networks: the data of the rows and a network for each, where the caller has them open.
    """
    predictions, broken = _all_predictions(comparison.rows)
    intervals, differences, remarks = _intervals(comparison, predictions)
    remarks += broken.values()
    if missing := [row.label for row in comparison.rows if row.label not in (*predictions, *broken)]:
        remarks.append(
            f"No predictions were saved of {', '.join(missing)}: no confusions, reliability and bootstrap of "
            "them. They come with: pushpull evaluate ... --save-predictions"
        )
    told = Evidence(predictions, intervals, differences, remarks=remarks)
    return _with_pictures(comparison, told, splits, networks) if pictures else told


def _all_predictions(rows: Sequence[Row]) -> tuple[dict[str, list[DataFrame]], dict[str, str]]:
    """Return label -> predictions of each seed, and label -> why a row's cannot be used."""
    found: dict[str, list[DataFrame]] = {}
    broken: dict[str, str] = {}
    for row in rows:
        results = row.entry.results if row.entry else ()
        places: Sequence[Path | str] = row.entry.folders if row.entry else ()
        places = [row.source] if row.source.endswith(".json") else places
        try:
            tables = [predictions_of(*pair) for pair in zip(places, results, strict=False)]
            found |= {row.label: tables} if tables else {}
        except MissingFileError:
            continue
        except InputError as error:
            broken[row.label] = f"No confusions, reliability and bootstrap of {row.label}: {error}."
    return found, broken


def _intervals(
    comparison: Comparison, predictions: Mapping[str, Sequence[DataFrame]]
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, Interval]], list[str]]:
    """Return intervals over images, of the rows and of their differences, and why some are not there."""
    own: dict[str, dict[str, Interval]] = {}
    minus: dict[str, dict[str, Interval]] = {}
    remarks: list[str] = []
    for row in comparison.rows:
        try:
            if row.label in predictions:
                own[row.label] = _by_column(interval(list(predictions[row.label])))
            if row.against is not None and {row.label, row.against} <= predictions.keys():
                both = [list(predictions[label]) for label in (row.label, row.against)]
                minus[row.label] = _by_column(paired(*both))
        except InputError as error:
            remarks.append(f"No interval over images of {row.label}: {error}.")
    if minus:
        remarks.append(
            "Intervals of differences are a paired bootstrap over the test images; they do not cover what "
            "another training would change."
        )
    return own, minus, remarks


def _by_column(found: Mapping[str, Any]) -> dict[str, Interval]:
    return {_COLUMNS.get(name, name): (one.low, one.high) for name, one in found.items()}


def _with_pictures(
    comparison: Comparison, evidence: Evidence, splits: DataSplits | None, given: Sequence[Network]
) -> Evidence:
    """Add examples, kernels and responses, as far as data and networks can be opened."""
    remarks = list(evidence.remarks)
    networks = dict(zip([row.label for row in comparison.rows], given, strict=False))
    for row in comparison.rows[len(networks) :]:
        try:
            networks[row.label] = _network(row)
        except _FAILURES as error:
            remarks.append(f"No kernels and answers of {row.label}: {_why(error)}.")
    units = {label: first_layer(network.model) for label, network in networks.items()}
    kernels = {label: kernel_sheet(unit) for label, unit in units.items() if unit is not None}
    examples: list[dict[str, Any]] = []
    seen: dict[str, list[dict[str, Any]]] = {}
    try:
        images = _images(comparison.rows[0], next(iter(networks.values()), None), splits)
        examples = _examples(comparison, evidence, images, networks)
        for label, unit in units.items():
            if isinstance(unit, PushPullConv2d):
                row = next(row for row in comparison.rows if row.label == label)
                seen[label] = _responses(row, networks[label], unit, images)
    except _FAILURES as error:
        remarks.append(f"No pictures under corruption: {_why(error)}.")
    return replace(evidence, examples=examples, kernels=kernels, responses=seen, remarks=remarks)


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else one_line(error)


def _network(row: Row) -> Network:
    """Return the network of a row's first result, which must have the weights that were evaluated."""
    if row.entry is None or not row.entry.folders:
        raise InputError("its results are in memory")
    result, folder = row.entry.results[0], row.entry.folders[0]
    places = [folder, Path(result.model["source"] or folder)]
    place = next((place for place in places if (place / RECIPE).is_file()), None)
    if place is None:
        raise InputError(f"{folder} is not the folder of a run")
    network = load_run(place)
    if result.model["weights_sha256"] not in (None, model_digest(network.model)):
        raise InputError(f"the weights in {place} are not those that were evaluated")
    return network


def _images(row: Row, network: Network | None, splits: DataSplits | None = None) -> Images:
    """Return the images of a row's first result, which must be those that were evaluated."""
    assert row.entry is not None
    result = row.entry.results[0]
    if result.corruption["source"] != "in memory":
        raise InputError("the corrupted images were read from disk")
    name = result.data["name"]
    config = network.data if network and network.data and network.data.name == name else DataConfig(name)
    found = eval_images(splits or load_data(config), limit=result.data["limit"], framing=_framing(result))
    if found.info["sha256"] != result.data.get("sha256"):
        raise InputError(f"the images of {name} are not those that were evaluated")
    return Images(found.split, found.framing, found.size, result)


def _framing(result: Results) -> Framing | None:
    said = result.data.get("framing")
    return None if said is None else Framing(**said)


def _examples(
    comparison: Comparison, evidence: Evidence, images: Images, networks: Mapping[str, Network]
) -> list[dict[str, Any]]:
    """Return up to a dozen images under the worst corruptions, with what every row answers."""
    asked = [_asker(row, evidence, images, networks) for row in comparison.rows]
    known = {row.label: ask for row, ask in zip(comparison.rows, asked, strict=True) if ask is not None}
    if not known:
        return []
    whole = all(label in evidence.predictions for label in known)
    most = _ASKED if max(images.size) <= _LARGE_PX else _ASKED // 4
    count = len(images.split) if whole else min(most, len(images.split))
    positions = torch.linspace(0, len(images.split) - 1, count).round().long().unique().tolist()
    first, labels = comparison.rows[0], images.split.labels
    errors, found = by_severity(first, comparison), []
    for name, _ in [pair for pair in weaknesses(errors) if _can_be_made(pair[0], images)][:_WORST]:
        severity = broken_from(errors[name]) or max(errors[name])
        answers = {label: ask(name, severity, positions) for label, ask in known.items()}
        for at in _chosen(answers, [int(labels[at]) for at in positions]):
            found.append(_example(images, positions[at], (name, severity), answers, at))
    return found


def _can_be_made(name: str, images: Images) -> bool:
    """Whether the corruption is the one that was evaluated: frost needs the same photographs, at hand."""
    textures = images.results.corruption["frost_textures"]
    return name != "frost" or (textures != PROCEDURAL and textures == frost_texture_source(download=False))


_Answers = list[tuple[int, float]]
_Ask = Callable[[str, int, Sequence[int]], _Answers]


def _chosen(answers: Mapping[str, _Answers], labels: Sequence[int]) -> list[int]:
    """Return a few places: where rows disagree, of a single row where it is wrong and sure."""
    right = [[one[at][0] == label for one in answers.values()] for at, label in enumerate(labels)]
    sure = [max(one[at][1] for one in answers.values()) for at in range(len(labels))]
    asked = [all(one[at][1] > 0 for one in answers.values()) for at in range(len(labels))]
    wrong = [at for at, each in enumerate(right) if asked[at] and not all(each)]
    order = sorted(wrong, key=lambda at: (not any(right[at]), -sure[at]))
    by_class = {labels[at]: at for at in reversed(order)}  # the first of each class
    varied = sorted(by_class.values(), key=order.index)
    return varied[: _EACH if len(answers) == 1 else 2]


def _example(
    images: Images, position: int, pair: tuple[str, int], answers: Mapping[str, _Answers], at: int
) -> dict[str, Any]:
    classes, label = images.split.classes, int(images.split.labels[position])
    told = [
        {
            "row": row,
            "answer": classes[one[at][0]] if 0 <= one[at][0] < len(classes) else "no answer",
            "confidence": one[at][1],
            "right": one[at][0] == label,
        }
        for row, one in answers.items()
    ]
    return {
        "label": classes[label],
        "condition": f"{title(pair[0])}, severity {pair[1]}",
        "clean": image_picture(images.clean([position])[0]),
        "corrupted": image_picture(images.corrupted([position], *pair)[0]),
        "answers": told,
    }


def _asker(row: Row, evidence: Evidence, images: Images, networks: Mapping[str, Network]) -> _Ask | None:
    """Return what gives a row's answers to images under a condition: its predictions, else its network."""
    if row.label in evidence.predictions:
        table, index = evidence.predictions[row.label][0], images.split.index

        def looked_up(name: str, severity: int, positions: Sequence[int]) -> _Answers:
            part = table[(table["corruption"] == name) & (table["severity"] == severity)]
            part = part.drop_duplicates("index").set_index("index").reindex(index[list(positions)].tolist())
            pairs = zip(part["prediction"].fillna(-1), part["confidence"].fillna(0), strict=True)
            return [(int(answer), float(sure)) for answer, sure in pairs]

        return looked_up
    network, result = networks.get(row.label), row.entry.results[0] if row.entry else None
    if network is None or result is None or result.model.get("adapted"):
        return None
    outputs = Outputs(images.split.classes, network.classes)

    def computed(name: str, severity: int, positions: Sequence[int]) -> _Answers:
        given = _network_input(result, images.corrupted(positions, name, severity))
        with torch.inference_mode():
            logits = outputs.take(network.model(given), len(given), int(images.split.labels.max()))
        sure, answer = logits.float().softmax(1).max(1)
        return list(zip(answer.tolist(), sure.tolist(), strict=True))

    return computed


def _network_input(result: Results, images: Tensor) -> Tensor:
    said = result.preprocessing
    size: Any = tuple(said["size"]) if isinstance(said["size"], list) else said["size"]
    return Preprocessing(tuple(said["mean"]), tuple(said["std"]), size)(images)


def _responses(row: Row, network: Network, unit: PushPullConv2d, images: Images) -> list[dict[str, Any]]:
    """Return what the first layer answers to the first test image, clean and noisy."""
    assert row.entry is not None
    noisy = images.corrupted([0], _NOISE, _NOISE_SEVERITY)
    pairs = [("clean", images.clean([0])), (f"{title(_NOISE)}, severity {_NOISE_SEVERITY}", noisy)]
    given = [(name, x[0], _network_input(row.entry.results[0], x)) for name, x in pairs]
    return responses(network.model, unit, given)
