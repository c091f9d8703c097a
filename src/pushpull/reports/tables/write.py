"""What a table leaves on disk."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pushpull.data.decode import usable_cores
from pushpull.files import write_json, write_text
from pushpull.reports.tables.spec import Row, TableFile
from pushpull.reports.tables.statistics import TableFigures
from pushpull.reports.tables.tabular import table_csv, table_json
from pushpull.reports.tables.text import About, Remains, markdown

NAME = "table"


def about(table: TableFile, rows: Sequence[Row], remains: Remains, command: str) -> About:
    """Return what stands beside the figures of these rows."""
    networks = sorted({row.recipe.model.name for row in rows})
    epochs = sorted({row.recipe.epochs for row in rows})
    precisions = sorted({row.recipe.precision for row in rows})
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{usable_cores()} cores"
    facts = (
        ("Network", ", ".join(networks)),
        ("Epochs", ", ".join(map(str, epochs))),
        ("Training precision", ", ".join(precisions)),
        ("Written on", f"{device}; torch {torch.__version__}, Python {platform.python_version()}"),
    )
    return About(table.title, facts, table.notes, remains, command)


def write_table(
    folder: Path, figures: TableFigures | None, said: About, recipes: Mapping[str, object]
) -> list[Path]:
    """Write table.md, table.csv, table.json and, where rows have twins, table.png and table.svg.

    Each file is written whole or not at all; an earlier table's is replaced, and its figures are
    removed where this one has none.
    """
    paths = [
        write_text(folder / f"{NAME}.md", markdown(figures, said)),
        write_text(folder / f"{NAME}.csv", table_csv(figures)),
        write_json(folder / f"{NAME}.json", table_json(figures, said, recipes)),
    ]
    drawn = [folder / f"{NAME}.{kind}" for kind in ("png", "svg")]
    if figures is None or not any(row.twin for row in figures.rows):
        for path in drawn:
            path.unlink(missing_ok=True)
        return paths
    # Matplotlib takes half a second to load: only who writes figures waits for it.
    from pushpull.reports.figures import save
    from pushpull.reports.tables.figure import twins

    figure = twins(figures)
    assert figure is not None
    return paths + [save(figure, path) for path in drawn]
