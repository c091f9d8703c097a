"""What a table leaves on disk."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pushpull.cores import usable_cores
from pushpull.evaluation.results import Results
from pushpull.files import write_json, write_text
from pushpull.tables.runs import Run
from pushpull.tables.spec import TableFile
from pushpull.tables.statistics import TableFigures, table_figures
from pushpull.tables.tabular import table_csv, table_json
from pushpull.tables.text import About, markdown

NAME = "table"


def figures_of(table: TableFile, runs: Sequence[Run], limit: int | None) -> TableFigures | None:
    """Return the figures of the runs that are done, None where none is."""
    measured: dict[str, dict[int, Results]] = {}
    for run in runs:
        results = run.results() if run.done(limit) else None
        if results is not None:
            measured.setdefault(run.row.name, {})[run.recipe.seed] = results
    ordered = {row.name: measured[row.name] for row in table.rows if row.name in measured}
    return table_figures(ordered, {row.name: row.twin for row in table.rows}, table.rows[0].name)


def about(table: TableFile, runs: Sequence[Run], missing: Sequence[Run], command: str) -> About:
    """Return what stands beside the figures."""
    rows = {run.row.name: run.row for run in runs}
    networks = sorted({row.recipe.model.name for row in rows.values()})
    epochs = sorted({row.recipe.epochs for row in rows.values()})
    precisions = sorted({row.recipe.precision for row in rows.values()})
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{usable_cores()} cores"
    facts = (
        ("Network", ", ".join(networks)),
        ("Epochs", ", ".join(map(str, epochs))),
        ("Training precision", ", ".join(precisions)),
        ("Written on", f"{device}; torch {torch.__version__}, Python {platform.python_version()}"),
    )
    return About(table.title, facts, table.notes, tuple(run.name for run in missing), command)


def write_table(
    folder: Path, figures: TableFigures | None, said: About, recipes: Mapping[str, object]
) -> list[Path]:
    """Write table.md, table.csv, table.json and, where rows have twins, table.png and table.svg.

    Each file is written whole or not at all; an earlier table's is replaced.
    """
    paths = [
        write_text(folder / f"{NAME}.md", markdown(figures, said)),
        write_text(folder / f"{NAME}.csv", table_csv(figures)),
        write_json(folder / f"{NAME}.json", table_json(figures, said, recipes)),
    ]
    if figures is not None and any(row.twin for row in figures.rows):
        # Matplotlib takes half a second to load: only who writes figures waits for it.
        from pushpull.reports.figures import save
        from pushpull.tables.figure import twins

        figure = twins(figures)
        assert figure is not None
        paths += [save(figure, folder / f"{NAME}.{kind}") for kind in ("png", "svg")]
    return paths
