"""What an evaluation found, and the file that holds it: `results.json`, schema "pushpull-results/1"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from statistics import fmean
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pushpull.corruptions import CORRUPTIONS
from pushpull.data.published import SEVERITIES as SEVERITIES
from pushpull.errors import InputError, MissingFileError, counted, printable
from pushpull.evaluation.metrics import mean_corruption_error
from pushpull.files import RESULTS, read_json, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SCHEMA = "pushpull-results/1"
CLEAN = "clean"  # what tables of conditions call the uncorrupted images, at severity 0
Info = dict[str, Any]

# What the sections of the file hold; a key with ? may be missing, in results from elsewhere or earlier.
_SECTIONS: dict[str, dict[str, Any]] = {
    # `weights_sha256` covers the network's description and all its values (`model_digest`); `epochs` is "1 of
    # 40" where the training has not gone to its end; `adapted` where it was to the test images.
    "model": {
        "label": str,
        "name": str,
        "stem": str | None,
        "source": str | None,
        "parameters": int,
        "seed": int | None,
        "epochs?": str | None,
        "adapted?": str | None,
        "weights_sha256": str | None,
    },
    # `images` counts those asked for, before unreadable ones (`skipped`) fall out; `logits` is "subset of
    # 1000" where only the logits of the data's classes count; framing and sha256 tell data sets apart.
    "data": {
        "name": str,
        "label": str,
        "split": str,
        "images": int,
        "image_size": list[int],
        "classes": list[str],
        "skipped": list[str],
        "limit": int | None,
        "note": str | None,
        "framing?": dict[str, int | None],
        "sha256?": str,
        "logits?": str | None,
    },
    # What the network's images were normalised with; `size` null: not resized; `from`: who says so.
    "preprocessing": {"mean": list[float], "std": list[float], "size": list[int] | int | None, "from?": str},
    # Which constants and random numbers the corruptions had; a set on disk has its own (seed null), and
    # `name`, `layout` and `files` (digests); `jpeg_quality` is of images made in memory.
    "corruption": {
        "scale": str,
        "seed": int | None,
        "source": str,
        "frost_textures": str,
        "jpeg_quality?": int | None,
        "name?": str,
        "layout?": str,
        "files?": dict[str, str],
    },
}
_PLAIN = {"versions": dict[str, str], "device": str, "created": str}
_END = {"complete": bool, "precision?": str}  # files from before there was a choice have no precision
_CONDITION = {
    "top1_error": float,
    "top5_error": float | None,
    "class_errors": list[float | None],
    "images": int,
    "seconds": float,
    "ece?": float | None,  # these three are not in files from before they were measured
    "nll?": float | None,
    "brier?": float | None,
}


@dataclass(frozen=True)
class Condition:
    """Errors of one pass over the test images; all fractions in [0, 1].

    Args:
        top1_error: share of images whose largest logit is not their label's.
        top5_error: share whose label is not among the five largest; None with fewer than 6 classes.
        class_errors: top-1 error of each class's images; None for a class without any.
        images: how many images were evaluated.
        seconds: wall clock of the pass.
        ece: expected calibration error, 15 bins of equal width, in [0, 1]; None, as the next two, where no
            image has finite logits, and in files from before it was measured.
        nll: negative log-likelihood of the labels, in nats, >= 0.
        brier: Brier score, summed over classes, in [0, 2].
    """

    top1_error: float
    top5_error: float | None
    class_errors: list[float | None]
    images: int
    seconds: float
    ece: float | None = None
    nll: float | None = None
    brier: float | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise InputError(f"a condition of {self.images} images says nothing; give at least one")
        for error in (self.top1_error, self.top5_error, *self.class_errors):
            if error is not None and not 0.0 <= error <= 1.0:
                raise InputError(f"an error of {error} is outside [0, 1]; errors are fractions, not percent")
        for name, most in (("ece", 1.0), ("nll", math.inf), ("brier", 2.0)):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= most:
                raise InputError(f"{name}={value} is outside [0, {most:g}]")


@dataclass(frozen=True)
class Results:
    """One network on one data set, clean and corrupted.

    Args:
        model, data, preprocessing, corruption: what ran, as in the file.
        versions: package -> version.
        device: what it ran on.
        created: when it began, ISO 8601 with time zone.
        clean: the uncorrupted images; None until they are done.
        corrupted: corruption -> severity (1..5) -> condition.
        complete: whether everything that was asked for is there.
        precision: how the network computed: "fp32" (as its weights are), "bf16", "fp16", or these with
            ", compiled".
    """

    model: Info
    data: Info
    preprocessing: Info
    corruption: Info
    versions: dict[str, str]
    device: str
    created: str
    clean: Condition | None
    corrupted: dict[str, dict[int, Condition]]
    complete: bool
    precision: str = "fp32"

    @property
    def label(self) -> str:
        """What tables call the network."""
        return self.model["label"]

    @property
    def clean_error(self) -> float:
        """Top-1 error on the uncorrupted images, in [0, 1]; `InputError` if they were not evaluated."""
        if self.clean is None:
            raise InputError(
                f"{self.label}: the clean images were not evaluated; run pushpull evaluate again"
            )
        return self.clean.top1_error

    def errors(self) -> dict[str, list[float]]:
        """Return corruption -> top-1 errors at severity 1..5; NaN where a severity was not evaluated.

        Corruptions without any condition are absent. The metrics take this as it is and name what is missing.
        """
        return {
            name: [by[severity].top1_error if severity in by else math.nan for severity in SEVERITIES]
            for name, by in self.corrupted.items()
        }

    @property
    def mean(self) -> float:
        """The mean corruption error, in [0, 1]: the plain mean over 15 corruptions x 5 severities.

        It is not divided by AlexNet's errors, as ImageNet-C's mCE is (`pushpull.evaluation.metrics.mce`).

        Raises:
            InputError: one of the 15 x 5 was not evaluated.
        """
        return mean_corruption_error(self.errors())

    def worst(self, n: int = 3) -> list[tuple[str, float]]:
        """Return the n corruptions with the highest error, the worst first.

        Args:
            n: how many; fewer where fewer were evaluated.

        Returns:
            Name and top-1 error in [0, 1], the mean over the severities that were evaluated.
        """
        errors = {
            name: {severity: condition.top1_error for severity, condition in by.items()}
            for name, by in self.corrupted.items()
        }
        return weaknesses(errors)[:n]

    def to_dataframe(self) -> DataFrame:
        """Return one row per condition, clean first, as a pandas data frame.

        Returns:
            Columns corruption ("clean" for the uncorrupted images), severity (0 for clean), top1_error and
            top5_error in [0, 1], images, seconds, ece in [0, 1], nll in nats, brier in [0, 2]; NaN where
            there is none.
        """
        import pandas  # a third of a second

        names = ("top1_error", "top5_error", "images", "seconds", "ece", "nll", "brier")
        rows = [
            {"corruption": name or CLEAN, "severity": severity or 0}
            | {field: getattr(condition, field) for field in names}
            for (name, severity), condition in self.measured().items()
        ]
        frame = pandas.DataFrame(rows, columns=["corruption", "severity", *names])
        floats = [field for field in names if field != "images"]
        return frame.astype(dict.fromkeys(floats, float))

    def plot(self) -> Figure:
        """Return a matplotlib figure of the error of every corruption and severity, the worst on top."""
        from pushpull.evaluation.plots import errors_by_corruption  # matplotlib takes half a second

        clean = None if self.clean is None else self.clean_error
        return errors_by_corruption({self.label: self.errors()}, {self.label: clean})

    def __str__(self) -> str:
        """The network, the data, and the errors in percent: clean, mean, the three worst corruptions."""
        name, data = printable(self.label), printable(self.data["label"])
        lines = [f"{name} on {data}, {counted(self.data['images'], 'image')}: top-1 error in percent"]
        if self.clean is not None:
            lines.append(f"  clean  {100 * self.clean_error:.1f}")
        every = self.worst(len(self.corrupted))
        if self.errors().keys() >= set(CORRUPTIONS) and not math.isnan(sum(map(sum, self.errors().values()))):
            lines.append(f"  mean   {100 * self.mean:.1f}  (plain mean of 15 corruptions x 5 severities)")
        elif every:
            mean = fmean(error for _, error in every)
            lines.append(f"  mean   {100 * mean:.1f}  (of the {counted(len(every), 'corruption')} measured)")
        if every:
            worst = ", ".join(f"{printable(name)} {100 * error:.1f}" for name, error in every[:3])
            lines.append(f"  worst  {worst}")
        return "\n".join(lines) + ("" if self.complete else "\n  not complete")

    def _repr_html_(self) -> str:
        """Return the same and a table of all errors, for notebooks."""
        heads = "".join(f"<th>{head}</th>" for head in ("corruption", *SEVERITIES))
        rows = "".join(
            f"<tr><td>{escape(printable(name))}</td>"
            + "".join(f"<td>{'' if math.isnan(error) else f'{100 * error:.1f}'}</td>" for error in errors)
            + "</tr>"
            for name, errors in self.errors().items()
        )
        table = f"<table><tr>{heads}</tr>{rows}</table>" if rows else ""
        return f"<pre>{escape(str(self))}</pre>{table}"

    def condition(self, name: str | None, severity: int | None) -> Condition | None:
        """Return the condition if it was evaluated; name None is the clean one."""
        if name is None or severity is None:
            return self.clean
        return self.corrupted.get(name, {}).get(severity)

    def measured(self) -> dict[tuple[str | None, int | None], Condition]:
        """Return (corruption, severity) -> condition, of all that are there; (None, None), clean, first."""
        found: dict[tuple[str | None, int | None], Condition] = {}
        if self.clean is not None:
            found[None, None] = self.clean
        for name, by_severity in self.corrupted.items():
            found |= {(name, severity): condition for severity, condition in by_severity.items()}
        return found

    def with_condition(self, name: str | None, severity: int | None, condition: Condition) -> Results:
        """Return a copy that has this condition too; name None is the clean one. Severities stay in order."""
        if name is None or severity is None:
            return replace(self, clean=condition)
        by_severity = {**self.corrupted.get(name, {}), severity: condition}
        return replace(self, corrupted={**self.corrupted, name: dict(sorted(by_severity.items()))})

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds: plain dictionaries, severities as strings."""
        corrupted = {
            name: {str(severity): asdict(condition) for severity, condition in by.items()}
            for name, by in self.corrupted.items()
        }
        fields = {name: getattr(self, name) for name in (*_SECTIONS, *_PLAIN)}
        clean = asdict(self.clean) if self.clean else None
        end = {"complete": self.complete, "precision": self.precision}
        return {"schema": SCHEMA, **fields, "clean": clean, "corrupted": corrupted, **end}

    @classmethod
    def from_json(cls, value: Any, origin: str = "these results") -> Results:
        """Return the results that `to_json` gave; unknown keys are ignored.

        Args:
            value: the parsed JSON.
            origin: what errors call it.

        Raises:
            InputError: another schema, or something missing or out of range.
        """
        schema = value.get("schema") if isinstance(value, Mapping) else None
        if schema != SCHEMA:
            raise InputError(f"{origin}: schema={schema!r} is not {SCHEMA}; evaluate again with this version")
        names = dict.fromkeys((*_SECTIONS, "clean", "corrupted"), object)
        _check(value, {**names, **_PLAIN, **_END}, origin)
        for section, declared in _SECTIONS.items():
            _check(value[section], declared, f"{origin}: {section}")
        corrupted: dict[str, dict[int, Condition]] = {}
        _check(value["corrupted"], {}, f"{origin}: corrupted")
        for name, by in value["corrupted"].items():
            _check(by, {}, where := f"{origin}: {name}")
            corrupted[name] = {_severity(key, where): _condition(record, where) for key, record in by.items()}
        clean = _condition(value["clean"], f"{origin}: clean") if value["clean"] is not None else None
        known = {*_SECTIONS, *_PLAIN, "precision", "complete"}
        fields = {name: value[name] for name in known & value.keys()}
        return cls(**fields, clean=clean, corrupted={name: by for name, by in corrupted.items() if by})

    def save(self, path: Path | str) -> Path:
        """Write the file, whole or not at all, and return its path.

        Args:
            path: a file that ends in .json, or a folder, which gets a results.json.
        """
        return write_json(results_path(path), self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> Results:
        """Return the results of a file.

        Args:
            path: the file, or the folder that holds results.json.

        Raises:
            MissingFileError: it is not there.
            InputError: it is not JSON, of another schema, or incomplete.
        """
        file = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise MissingFileError(f"{file} does not exist; make it with: pushpull evaluate {path}")
        return cls.from_json(read_json(file), str(file))


def weaknesses(errors: Mapping[str, Mapping[int, float]]) -> list[tuple[str, float]]:
    """Return each corruption with its mean error over severities, the worst first."""
    means = [(name, fmean(by.values())) for name, by in errors.items() if by]
    return sorted(means, key=lambda pair: -pair[1])


def results_path(path: Path | str) -> Path:
    """Return the file that `path` means: itself if it ends in .json, else the results.json of that folder."""
    path = Path(path)
    return path if path.suffix == ".json" else path / RESULTS


def _check(record: Any, declared: Mapping[str, Any], where: str) -> None:
    """Raise `InputError` for a key that is missing, or the first value that is not of its declared type."""
    if not isinstance(record, Mapping):
        kind = type(record).__name__
        raise InputError(f"{where}: {kind} where a table belongs; delete the file and evaluate again")
    missing = [key for key in sorted(declared) if not key.endswith("?") and key not in record]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} missing; delete the file and evaluate again")
    for key, hint in declared.items():
        name = key.removesuffix("?")
        if name in record and not _is(record[name], hint):
            text = repr(record[name])
            short = text if len(text) <= 40 else f"{text[:40]}..."
            kind = hint.__name__ if isinstance(hint, type) else hint
            raise InputError(f"{where}: {name}={short} is not {kind}; delete the file and evaluate again")


def _is(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the type; integers are floats too, and booleans neither."""
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_is(value, one) for one in inner)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is(one, inner[0]) for one in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_is(one, inner[1]) for one in value.values())
    if isinstance(value, bool):
        return hint in (bool, object)
    return isinstance(value, int | float if hint is float else hint)


def _severity(key: str, where: str) -> int:
    if key not in {str(severity) for severity in SEVERITIES}:
        raise InputError(f"{where}: severity={key} is outside 1..5")
    return int(key)


def _condition(record: Any, where: str) -> Condition:
    _check(record, _CONDITION, where)
    try:
        names = [key.removesuffix("?") for key in _CONDITION]
        return Condition(**{name: record[name] for name in names if name in record})
    except InputError as error:
        raise InputError(f"{where}: {error}; delete the file and evaluate again") from error
