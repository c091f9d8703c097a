"""Every image's answer under every condition: `predictions.parquet` beside the results.

While an evaluation runs, each condition is a part of its own in a folder beside it; at the end they become
the file.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pushpull.errors import InputError, MissingFileError, one_line
from pushpull.evaluation.results import CLEAN, results_path
from pushpull.files import PREDICTIONS, RESULTS, atomic_path

if TYPE_CHECKING:
    import pandas as pd

Pair = tuple[str | None, int | None]

_COLUMNS = ("index", "label", "prediction", "confidence", "corruption", "severity")


def load_predictions(path: Path | str) -> pd.DataFrame:
    """Read what `evaluate(..., save_predictions=True)` wrote, one row an image and condition.

    Args:
        path: a run folder, its results.json, or the file.

    Returns:
        Columns: index (the image's row in the test split), label, prediction (class numbers; -1 where a logit
        was NaN), confidence (softmax of the predicted class, in [0, 1]), corruption ("clean" for the
        uncorrupted images), severity (1..5; 0 for clean).

    Raises:
        MissingFileError: it is not there.
        InputError: it is no such file.
    """
    import pandas as pd

    file = predictions_path(path)
    if not file.is_file():
        raise MissingFileError(
            f"{file} does not exist; make it with: pushpull evaluate ... --save_predictions"
        )
    try:
        table = pd.read_parquet(file)
    except Exception as error:  # pyarrow's, of many kinds
        raise _broken(file, one_line(error)) from error
    lacking = [name for name in _COLUMNS if name not in table.columns]
    if lacking:
        raise _broken(file, f"no column {', '.join(lacking)}")
    return table


def predictions_path(path: Path | str) -> Path:
    """Return the predictions that belong to a run folder or results file; a .parquet file is itself."""
    path = Path(path)
    if path.suffix == ".parquet":
        return path
    file = results_path(path)
    return file.with_name(PREDICTIONS if file.name == RESULTS else f"{file.stem}.{PREDICTIONS}")


def saved_pairs(file: Path) -> set[Pair]:
    """Return the conditions whose predictions are in the file or among its parts."""
    return set(_places(file))


def save_part(file: Path, pair: Pair, answers: Sequence[Sequence[Tensor]]) -> None:
    """Write one condition, whole or not at all, its images in the order of their rows.

    Args:
        file: where all will be in the end.
        pair: corruption and severity; (None, None) is the clean one.
        answers: of every rank: index, label, prediction, confidence; (n,) each, on the CPU.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, severity = (CLEAN, 0) if None in pair else pair
    columns = [torch.cat(column) for column in zip(*answers, strict=True)]
    order, count = columns[0].argsort(), len(columns[0])
    table = pa.table(
        {
            **dict(zip(_COLUMNS, (column[order].numpy() for column in columns), strict=False)),
            "corruption": pa.array([name] * count, pa.string()),
            "severity": pa.array(np.full(count, severity, np.int8)),
        }
    )
    # Not its name: a set on disk may call it anything.
    key = hashlib.sha256(f"{name} {severity}".encode()).hexdigest()[:16]
    with atomic_path(_parts(file) / f"{key}.parquet") as temporary:
        pq.write_table(table, temporary, row_group_size=max(1, count))


def merge_parts(file: Path, order: Iterable[Pair]) -> None:
    """Write all conditions as one file in this order, one in memory at a time, and remove the parts."""
    import pyarrow.parquet as pq

    if not _parts(file).is_dir():
        return
    places = _places(file)
    found = [places[pair] for pair in order if pair in places]
    with atomic_path(file) as temporary:
        schema = pq.read_schema(found[0][0])
        with pq.ParquetWriter(temporary, schema) as writer:
            for source, group in found:
                table = pq.ParquetFile(source).read_row_group(group).cast(schema)
                writer.write_table(table, row_group_size=len(table))
    shutil.rmtree(_parts(file))


def remove_predictions(file: Path) -> None:
    """Remove the file and its parts, which belong to results that are no more."""
    file.unlink(missing_ok=True)
    shutil.rmtree(_parts(file), ignore_errors=True)


def _parts(file: Path) -> Path:
    return file.with_suffix(".parts")


def _places(file: Path) -> dict[Pair, tuple[Path, int]]:
    """Return where the rows of each condition are: a file and its row group; parts count before the file."""
    sources = [file] if file.is_file() else []
    sources += sorted(_parts(file).glob("[!.]*.parquet")) if _parts(file).is_dir() else []
    return {pair: (source, group) for source in sources for group, pair in enumerate(_pairs(source))}


def _pairs(source: Path) -> Iterator[Pair]:
    """Yield the condition of each row group."""
    import pyarrow.parquet as pq

    try:
        content = pq.ParquetFile(source)
        for group in range(content.num_row_groups):
            rows = content.read_row_group(group, columns=["corruption", "severity"])
            name, severity = (column[0].as_py() for column in rows.columns)
            yield (None, None) if severity == 0 else (name, severity)
    except Exception as error:  # pyarrow's, of many kinds
        raise _broken(source, one_line(error)) from error


def _broken(file: Path, why: str) -> InputError:
    return InputError(
        f"{file} holds no predictions ({why}); delete it and evaluate again with --save_predictions"
    )
