"""Results of one run or several seeds, read, and what two must share to stand in one column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any

from pushpull.corruptions import CORRUPTIONS, FAMILIES
from pushpull.errors import InputError, MissingFileError, counted
from pushpull.evaluation.results import SEVERITIES, Condition, Results
from pushpull.files import LAST, RECIPE, RESULTS, WEIGHTS
from pushpull.reports import columns as define
from pushpull.reports.columns import Column, ordered, severities_text, title


@dataclass(frozen=True)
class Setting:
    """The data and the corruptions that a result was measured with; equal settings may be compared.

    `counts` holds the number of images by corruption and severity, `clean_images` that of the clean pass
    (None where clean images were not measured), `data` the data's SHA-256 where the result has
    it, else its name. `set_name` and `files` (a digest per corruption) tell a set on disk. The network's own
    preprocessing is not part of it.
    """

    label: str
    data: str
    split: str
    images: int
    limit: int | None
    image_size: tuple[int, ...] | None
    framing: tuple[tuple[str, int | None], ...] | None
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    scale: str
    corruption_seed: int | None
    source: str
    frost_textures: str
    clean_images: int | None
    counts: Mapping[str, Mapping[int, int]]
    jpeg_quality: int | None = None
    set_name: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    adapted: str | None = None

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The corruptions that were measured, in the benchmark's order."""
        return tuple(self.counts)

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities that were measured, the same for every corruption."""
        return tuple(next(iter(self.counts.values())))

    @property
    def is_imagenet(self) -> bool:
        """Whether dividing by AlexNet's errors means anything."""
        return self.scale == "imagenet" and len(self.classes) == 1000

    def summary(self) -> list[tuple[str, str]]:
        """Name and text of what a table's reader must know: data, images, scale, seed, textures, source."""
        limit = "" if self.limit is None else f", limited to {self.limit}"
        skipped = f", {len(self.skipped)} unreadable skipped" if self.skipped else ""
        size = "" if self.image_size is None else f", {' x '.join(map(str, self.image_size))} pixels"
        seed = "none" if self.corruption_seed is None else str(self.corruption_seed)
        jpeg = "" if self.jpeg_quality is None else f", then JPEG of quality {self.jpeg_quality}"
        on_disk = "" if self.set_name is None else f" ({self.set_name})"
        return [
            ("Data", self.label),
            ("Images", f"{self.images} ({self.split} split){limit}{skipped}{size}"),
            ("Classes", str(len(self.classes))),
            ("Corruptions", f"{len(self.counts)}, {severities_text(self.severities)}"),
            ("Severity scale", self.scale),
            ("Corruption seed", seed),
            ("Corrupted images", f"{self.source}{on_disk}{jpeg}"),
            ("Frost textures", self.frost_textures),
        ]


def setting_of(results: Results, source: str) -> Setting:
    """The setting of one result; `source` names it in errors.

    Raises:
        InputError: the result is not complete, holds no corruption, or corruptions at different severities.
    """
    again = " ".join(filter(None, ("pushpull evaluate", results.model["source"])))
    if not results.complete:
        raise InputError(
            f"{source} is not complete ({counted(len(results.corrupted), 'corruption')} measured so far); "
            f"continue it with: {again}"
        )
    if not results.corrupted:
        raise InputError(f"{source} holds no corrupted condition to compare; measure with: {again}")
    data, corruption = results.data, results.corruption
    size, framing = data["image_size"], data.get("framing")
    return Setting(
        label=data["label"],
        # A folder is the same data whether it was named from here or from there.
        data=data.get("sha256") or str(data["name"]).rstrip("/").rsplit("/", 1)[-1],
        split=data["split"],
        images=data["images"],
        limit=data["limit"],
        image_size=None if size is None else tuple(size),
        framing=None if framing is None else tuple(sorted(framing.items())),
        classes=tuple(map(str, data["classes"])),
        skipped=tuple(sorted(data["skipped"])),
        scale=corruption["scale"],
        corruption_seed=corruption["seed"],
        source=corruption["source"],
        frost_textures=corruption["frost_textures"],
        clean_images=None if results.clean is None else results.clean.images,
        counts=_counts(results.corrupted, source),
        jpeg_quality=corruption.get("jpeg_quality"),
        set_name=corruption.get("name"),
        adapted=results.model.get("adapted"),
        files=tuple(
            item for item in sorted(corruption.get("files", {}).items()) if item[0] in results.corrupted
        ),
    )


def _counts(corrupted: Mapping[str, Mapping[int, Condition]], source: str) -> dict[str, dict[int, int]]:
    counts = {
        name: {severity: condition.images for severity, condition in sorted(corrupted[name].items())}
        for name in ordered(list(corrupted))
    }
    if len({tuple(by_severity) for by_severity in counts.values()}) > 1:
        found = "; ".join(f"{title(name)}: {', '.join(map(str, of))}" for name, of in counts.items())
        raise InputError(
            f"{source} does not have all corruptions at the same severities ({found}); "
            "measure the missing ones with: pushpull evaluate"
        )
    return counts


def require_same(reference: Setting, reference_name: str, other: Setting, other_name: str) -> None:
    """Raise `InputError` that names the first difference between two settings, if there is one.

    Images of a set on disk and images corrupted in memory may be compared, however either were made.
    """
    mixed = {reference.source, other.source} == {"in memory", "on disk"}
    for field in fields(Setting):
        if mixed and field.name in _HOW_MADE:
            continue
        first, second = getattr(reference, field.name), getattr(other, field.name)
        if first != second:
            name = _NAMES.get(field.name, field.name.replace("_", " "))
            left, right = _brief(first, second), _brief(second, first)
            if field.name == "adapted":
                raise InputError(
                    f"{other_name} cannot be compared with {reference_name}: batch norms adapted to the test "
                    f"images ({right}, not {left}); to set them side by side all the same: --adapted"
                )
            raise InputError(
                f"{other_name} cannot be compared with {reference_name}: {name} is {right}, not {left}",
                remedy="evaluate both with the same data and corruption settings (pushpull evaluate)",
            )


def common_setting(named: Iterable[tuple[str, Results]], *, adapted: bool = False) -> Setting:
    """The setting that all results share; others are refused, the first difference named.

    Args:
        named: what errors call each result, and the result; at least one.
        adapted: networks that were adapted to the test images may stand beside others.
    """
    seen: list[tuple[str, Setting]] = []
    for name, result in named:
        setting = setting_of(result, name)
        setting = replace(setting, adapted=None) if adapted else setting
        # Not against the first alone: two runs in memory must agree though a set on disk came first.
        for earlier_name, earlier in seen:
            require_same(earlier, earlier_name, setting, name)
        seen.append((name, setting))
    return reduce(both, (setting for _, setting in seen))


def both(reference: Setting, other: Setting) -> Setting:
    """Return one setting for two that may be compared, with the sources of both."""
    if other.source in reference.source:
        return reference
    made, on_disk = (reference, other) if other.source == "on disk" else (other, reference)
    return replace(made, source="in memory and on disk", set_name=on_disk.set_name, files=on_disk.files)


_HOW_MADE = ("source", "corruption_seed", "frost_textures", "jpeg_quality", "set_name", "files")
_NAMES = {
    "label": "data label",
    "images": "number of images",
    "skipped": "the list of skipped images",
    "scale": "severity scale",
    "source": "source of the corrupted images",
    "clean_images": "number of clean images",
    "set_name": "name of the set on disk",
    "files": "list of the set's files",
    "counts": "the set of corruptions and severities",
}


def _brief(value: Any, against: Any) -> str:
    """A value short enough for one line; of long lists, what `against` lacks."""
    if isinstance(value, Mapping) and isinstance(against, Mapping):
        own = [name for name in value if name not in against]
        severities = ", ".join(map(str, next(iter(value.values()))))
        extra = f" (with {own[0]})" if own else ""
        return f"{counted(len(value), 'corruption')}{extra} at severity {severities}"
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 4:
        return f"{len(value)} names"
    return repr(value)


def measured_columns(setting: Setting) -> tuple[list[Column], list[str]]:
    """Return the columns by what was measured, and why the others cannot be there."""
    found, reasons = list(define.MAIN_COLUMNS), []
    measured, whole = set(setting.corruptions), setting.severities == SEVERITIES
    if setting.clean_images is None:
        found = [column for column in found if column not in define.NEED_CLEAN]
        reasons.append("E, relative mCE and R_net are not shown: the clean images were not measured.")
    if not whole or not set(CORRUPTIONS) <= measured:
        found = [column for column in found if column is define.CLEAN_ERROR]
        count = len(set(CORRUPTIONS) & measured)
        reasons.append(
            "Mean corruption error, mCE and R_net are not shown: means need all 15 x 5, but only "
            f"{count} of the 15 were measured, at severity {', '.join(map(str, setting.severities))}."
        )
    elif not setting.is_imagenet:
        found.remove(define.MCE_ALEXNET)
        reasons.append(
            "mCE vs AlexNet is not shown: it is defined for ImageNet-C only (severity scale imagenet, "
            f"1000 classes); here the scale is {setting.scale} and there are {len(setting.classes)} classes."
        )
    if whole and not set(CORRUPTIONS) & measured:
        found.append(define.MEAN_OF_SET)
    if whole:
        found += [define.family_column(name) for name in FAMILIES if set(FAMILIES[name]) <= measured]
    found += [define.corruption_column(name, setting.severities) for name in setting.corruptions]
    return found, reasons


_SEED = re.compile(r"[\s,]*\bseed[ =]?\d+$")
UNNAMED = "results in memory"
# What only a training run's folder holds: such a folder without results was never evaluated.
_RUN_FILES = (RECIPE, WEIGHTS, LAST)


@dataclass(frozen=True)
class Entry:
    """One row of a comparison: the results of one model, one per seed.

    Args:
        label: what tables call it.
        results: at least one; all of the same model and stem, with different seeds.
        source: where they came from, as given by the user.
        folders: the folder of each result, where predictions and weights may be too; empty: in memory.
    """

    label: str
    results: tuple[Results, ...]
    source: str
    folders: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls,
        results: Sequence[Results],
        *,
        label: str | None = None,
        source: str = UNNAMED,
        folders: Sequence[Path] = (),
    ) -> Entry:
        """Return results that are in memory as one entry.

        Args:
            results: of one model, one per seed; at least one.
            label: what tables call them; None: what they call themselves, without the seed.
            source: where they came from.
            folders: the folder of each.

        Raises:
            InputError: there are none, or they are of different models, or two are of the same seed.
        """
        if not results:
            raise InputError(f"{source} holds no results; evaluate a model first: pushpull evaluate MODEL")
        models = sorted({_model_name(result) for result in results})
        if len(models) > 1:
            raise InputError(
                f"{source} mixes models ({'; '.join(models)}); a folder is compared as the seeds of ONE "
                "model, so name each model's folder on its own"
            )
        entry = cls(label or _common_label(results), tuple(results), source, tuple(folders))
        twice = [seed for seed in entry.seeds if seed is not None and entry.seeds.count(seed) > 1]
        if twice:
            raise InputError(f"{source} holds seed {min(twice)} more than once; keep one result per seed")
        return entry

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The training seed of each result; None where it has none."""
        return tuple(result.model["seed"] for result in self.results)

    def is_paired_with(self, other: Entry) -> bool:
        """Return whether both have the same seeds, all of them known."""
        return None not in other.seeds and sorted(map(str, other.seeds)) == sorted(map(str, self.seeds))


Run = Entry | Results | Path | str  # what one row is made of


def as_list(runs: Sequence[Run] | Run) -> list[Run]:
    """Return runs, of which one may stand alone, as a list."""
    return [runs] if isinstance(runs, Run) else list(runs)


def load_entry(run: Run) -> Entry:
    """Return the results of a file, of its folder, or of a folder of such folders (the seeds of one model).

    Args:
        run: path of the file or folder; a folder's seeds stand in natural order (seed2 before seed10). Or
            results in memory.

    Raises:
        MissingFileError: nothing is there, or no results are in it.
        InputError: a run in the folder was not evaluated, or the folder mixes models.
    """
    if isinstance(run, Entry | Results):
        return run if isinstance(run, Entry) else Entry.of([run])
    path = Path(run)
    if not path.exists():
        raise MissingFileError(
            f"{path} does not exist; give a run folder, a {RESULTS}, or a folder of run folders"
        )
    if path.is_file() or (path / RESULTS).is_file():
        folder = path if path.is_dir() else path.parent
        return Entry.of([Results.load(path)], source=str(path), folders=[folder])
    files = _results_below(path)
    if not files:
        below = sorted({str(file.parent.parent) for file in path.glob(f"*/*/{RESULTS}")})
        remedy = f"name one of {', '.join(below)}" if below else f"make it with: pushpull evaluate {path}"
        raise MissingFileError(f"{path} holds no {RESULTS}; {remedy}")
    folders = [file.parent for file in files]
    return Entry.of([Results.load(file) for file in files], source=str(path), folders=folders)


def unique_labels(entries: Sequence[Entry]) -> list[str]:
    """Return labels, with the source where two rows would be called the same.

    Raises:
        InputError: a source was given twice, or two rows are still called the same.
    """
    sources = [entry.source for entry in entries]
    twice = [source for source in sources if sources.count(source) > 1 and source != UNNAMED]
    if twice:
        raise InputError(f"{twice[0]} was given more than once; name the baseline and each run once")
    labels = [entry.label for entry in entries]
    unique = [f"{e.label} ({e.source})" if labels.count(e.label) > 1 else e.label for e in entries]
    if len(set(unique)) < len(unique):
        raise InputError(f"two rows are called {max(unique, key=unique.count)!r}; give them different labels")
    return unique


def _results_below(folder: Path) -> list[Path]:
    """The results of the folders directly below, in natural order (seed2 before seed10)."""
    found = []
    for child in sorted(filter(Path.is_dir, folder.iterdir()), key=_natural):
        if (child / RESULTS).is_file():
            found.append(child / RESULTS)
        elif any((child / name).exists() for name in _RUN_FILES):
            raise InputError(f"{child} was not evaluated; first run: pushpull evaluate {child}")
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _model_name(result: Results) -> str:
    return " ".join(filter(None, (result.model["name"], result.model["stem"])))


def _common_label(results: Sequence[Results]) -> str:
    """A single result's own label; of several, the one they share once the seed is taken off."""
    if len(results) == 1:
        return results[0].label
    labels = {_SEED.sub("", result.label).strip() for result in results}
    return labels.pop() if len(labels) == 1 else _model_name(results[0])
