"""Everything a comparison leaves on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushpull.files import write_json, write_text
from pushpull.reports.comparison import Comparison
from pushpull.reports.markdown import markdown
from pushpull.reports.tabular import long_csv, wide_csv


def write_report(
    comparison: Comparison, folder: Path | str, samples: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write page, tables and figures into `folder`, each file whole or not at all.

    index.html, comparison.md, comparison.csv (one row a model), results_long.csv (Task, Dataset, Metric,
    Value, Model), comparison.json, error_by_severity.png and .svg, differences.png and .svg.

    Args:
        comparison: what to report.
        folder: made if it is not there.
        samples: corruption -> (5, 3, H, W) uint8 images, one image at severity 1 to 5, shown on the page.

    Returns:
        The files, index.html first.

    Raises:
        InputError: the folder cannot be written, or `samples` are not such images.
    """
    # Matplotlib takes half a second to load: only who writes figures waits for it.
    from pushpull.reports.figures import differences, error_by_severity, save
    from pushpull.reports.page import page

    folder = Path(folder)
    figures = {"error_by_severity": error_by_severity(comparison), "differences": differences(comparison)}
    html = page(comparison, figures, samples)
    return [
        write_text(folder / "index.html", html),
        write_text(folder / "comparison.md", markdown(comparison)),
        write_text(folder / "comparison.csv", wide_csv(comparison)),
        write_text(folder / "results_long.csv", long_csv(comparison)),
        write_json(folder / "comparison.json", comparison.to_json()),
        *(
            save(figure, folder / f"{name}.{kind}")
            for name, figure in figures.items()
            for kind in ("png", "svg")
        ),
    ]
