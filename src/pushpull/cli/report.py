"""The command `pushpull report`."""

from __future__ import annotations

import shlex

from pushpull.errors import say
from pushpull.reports.report_files import report


def report_command(
    runs: list[str],
    output: str = "runs/report",
    title: str | None = None,
    no_pictures: bool = False,
    adapted: bool = False,
) -> None:
    """Write one page of how robust a model is, or of several models side by side: open it in a browser.

    Args:
        runs: Evaluated models: run folders, files of results, or folders that hold one run folder per seed.
            The first of several is what the others are compared with.
        output: The folder for the page, index.html, and for tables and figures beside it.
        title: Heading of the page; by default it names the models.
        no_pictures: Open neither data nor weights: no example images, no kernels.
        adapted: Networks that were adapted to the test images (evaluate --adapt bn) may stand beside others.

    Example:
        pushpull report runs/pp3 --output page
    """
    words = ["pushpull", "report", *runs, "--output", output]
    words += ["--no-pictures"] if no_pictures else []
    words += ["--adapted"] if adapted else []
    page = report(
        runs,
        output,
        title=title,
        pictures=not no_pictures,
        adapted=adapted,
        commands=[shlex.join(words)],
    )
    say(f"Open {page.resolve()}; tables and figures are beside it.")
