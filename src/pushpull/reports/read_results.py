"""What the command line calls a run: one result, or the results of several seeds of one model, read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation.results import Results
from pushpull.files.names import LAST, RECIPE, RESULTS, WEIGHTS

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
        """Group results that are in memory.

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
        """Whether both have the same seeds, all of them known."""
        return None not in other.seeds and sorted(map(str, other.seeds)) == sorted(map(str, self.seeds))


def load_entry(path: Path | str) -> Entry:
    """Read a results file, the folder that holds one, or a folder of such folders (the seeds of one model).

    Args:
        path: of the file or folder; a folder's seeds stand in natural order (seed2 before seed10).

    Raises:
        MissingFileError: nothing is there, or no results are in it.
        InputError: a run in the folder was not evaluated, or the folder mixes models.
    """
    path = Path(path)
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
