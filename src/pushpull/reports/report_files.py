"""Everything that a comparison leaves on disk, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushpull.errors import InputError, all_printable
from pushpull.files import user_path, writable_folder, write_json, write_text
from pushpull.reports.columns import LEVEL, Estimate, seeds_text, title
from pushpull.reports.comparable import Run, as_list
from pushpull.reports.comparison import FRAME_COLUMNS, Comparison, side_by_side
from pushpull.reports.layout import runs_text
from pushpull.reports.markup import latex, markdown, table_markdown

if TYPE_CHECKING:
    from pandas import DataFrame

    from pushpull.reports.evidence import Evidence

TABLE_SCHEMA = "pushpull-table/1"
_KINDS = ("png", "svg")  # of figures


def write_report(
    comparison: Comparison,
    folder: Path | str,
    samples: Mapping[str, Any] | None = None,
    evidence: Evidence | None = None,
) -> list[Path]:
    """Write page, tables and figures into `folder`, each file whole or not at all.

    index.html, comparison.md, comparison.tex (booktabs), comparison.csv (one row per model), results_long.csv
    (Task, Dataset, Metric, Value, Model), comparison.json, error_by_severity.png and .svg, and of several
    rows differences.png and .svg.

    Args:
        comparison: what to report.
        folder: made if it is not there.
        samples, evidence: as for `page`: images, and predictions, intervals, pictures.

    Returns:
        The files, index.html first.

    Raises:
        InputError: the folder cannot be written, or `samples` are not such images.
    """
    from pushpull.reports.figures import differences, error_by_severity, save
    from pushpull.reports.page import page

    folder = Path(folder)
    figures = {"error_by_severity": error_by_severity(comparison)}
    if len(comparison.rows) > 1:
        figures["differences"] = differences(comparison)
    html = page(comparison, samples, evidence)
    return [
        write_text(folder / "index.html", html),
        write_text(folder / "comparison.md", markdown(comparison)),
        write_text(folder / "comparison.tex", latex(comparison)),
        write_text(folder / "comparison.csv", wide_csv(comparison)),
        write_text(folder / "results_long.csv", long_csv(comparison)),
        write_json(folder / "comparison.json", comparison.to_json()),
        *(save(figure, folder / f"{name}.{kind}") for name, figure in figures.items() for kind in _KINDS),
    ]


def report(
    runs: Sequence[Run] | Run,
    output: Path | str = "runs/report",
    *,
    title: str | None = None,
    pictures: bool = True,
    adapted: bool = False,
    commands: Sequence[str] = (),
    samples: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page of one result, or of several; the others are compared with the first.

    Beside it are the files of `write_report`. With a run's predictions (`save_predictions`) the page has
    intervals over images, confusions and reliability; with its data and weights, corrupted examples and what
    its first layer answers.

    Args:
        runs: run folders, files of results, folders with one run per seed, or `Results`; one or more.
        output, title: the folder; heading of the page, by default it names the models.
        pictures: open data and weights too.
        adapted: networks that were adapted to the test images may stand beside others.
        commands, samples: what made the results, printed on the page; as for `write_report`.

    Returns:
        The page, index.html.

    Raises:
        InputError: no run, results incomplete or not measured alike, or a folder that cannot be written.
        MissingFileError: no results at a path.

    >>> page = pushpull.report("runs/pp3", "runs/report")  # doctest: +SKIP
    """
    from pushpull.reports.gather import gather

    several = as_list(runs)
    if not several:
        raise InputError("no run was given; name at least one: pushpull report RUN...")
    output = writable_folder(user_path(output))
    comparison = side_by_side(several, title=title, commands=commands, adapted=adapted)
    return write_report(comparison, output, samples, gather(comparison, pictures=pictures))[0]


def write_table(comparison: Comparison | None, folder: Path | str, about: Mapping[str, Any]) -> list[Path]:
    """Write a table of rows and their twins: table.md, .csv, .json, .tex, its page table.html, its figure.

    Each file is written whole or not at all; an earlier table's is replaced, or removed where this one has
    none.

    Args:
        comparison: its figures, of `compare_twins`; None: nothing is measured.
        folder: made if it is not there.
        about: what table.json says beside the figures: title, facts, notes, command, missing, problems,
            unasked, complete, recipes.

    Returns:
        The files, table.md first.
    """
    folder = Path(folder)
    paths = [
        write_text(folder / "table.md", table_markdown(comparison, about)),
        write_text(folder / "table.csv", table_csv(comparison)),
        write_json(folder / "table.json", table_json(comparison, about)),
    ]
    tex, html, *drawn = (folder / f"table.{kind}" for kind in ("tex", "html", *_KINDS))
    if comparison is not None:
        from pushpull.reports.page import page

        paths += [write_text(tex, latex(comparison)), write_text(html, page(comparison))]
    if comparison is not None and any(row.against for row in comparison.rows):
        from pushpull.reports.figures import differences, save

        figure = differences(comparison)
        paths += [save(figure, path) for path in drawn]
    for path in (tex, html, *drawn):
        if path not in paths:
            path.unlink(missing_ok=True)
    return paths


def wide_csv(comparison: Comparison) -> str:
    """One row per model: what was measured, then each figure and its `_std` (empty for a single run).

    Errors are fractions in [0, 1] and mCE columns ratios (1 is the reference network), unlike printed tables;
    only `net_reduction_percent` is in percent.
    """
    comparison = all_printable(comparison)
    setting = comparison.setting
    lines = []
    for row in comparison.rows:
        line: dict[str, object] = {
            "model": row.label,
            "baseline": "yes" if row.is_baseline else "no",
            "runs": len(row.seeds),
            "seeds": seeds_text(row.seeds),
            "data": setting.label,
            "split": setting.split,
            "images": setting.images,
            "scale": setting.scale,
            "corruption_seed": setting.corruption_seed,
            "corrupted_images": setting.source,
            "frost_textures": setting.frost_textures,
            "severities": " ".join(map(str, setting.severities)),
        }
        for column in comparison.columns:
            one = row.values.get(column.key)  # a row of a table may lack R_net
            line |= {column.key: one and one.mean, f"{column.key}_std": one and one.std}
        if comparison.per_severity:
            for name in setting.corruptions:
                pairs = zip(setting.severities, row.curves[name], strict=True)
                line |= {f"{name}_{severity}": estimate.mean for severity, estimate in pairs}
        lines.append(line)
    return _csv(lines)


def long_csv(comparison: Comparison) -> str:
    """One row per figure in the columns Task, Dataset, Metric, Value, Model.

    The metric's name carries its convention and unit; values are means over the model's seeds. After these,
    the top-1 error of every corruption, severity and seed.
    """
    comparison = all_printable(comparison)
    clean = comparison.setting.label
    lines = []
    for row in comparison.rows:
        model = f"{row.label}, mean of {runs_text(row)}" if len(row.seeds) > 1 else row.label
        for column in (column for column in comparison.columns if column.key in row.values):
            task, data = ("Domain Generalization", f"{clean}-C")
            if column.key == "clean_error":
                task, data = ("Image Classification", clean)
            metric, mean = f"{column.metric}, {column.unit}", row.values[column.key].mean
            lines.append({"Task": task, "Dataset": data, "Metric": metric, "Value": mean, "Model": model})
    for one in comparison.conditions().to_dict("records"):
        corrupted, seed = one["severity"] > 0, "" if one["seed"] is None else f", seed {one['seed']}"
        where = f"{title(one['corruption'])}, severity {one['severity']}" if corrupted else "clean"
        line = {
            "Task": "Domain Generalization" if corrupted else "Image Classification",
            "Dataset": f"{clean}-C" if corrupted else clean,
            "Metric": f"Top-1 error, {where}, fraction",
            "Value": one["top1_error"],
            "Model": f"{one['row']}{seed}",
        }
        lines.append(line)
    return _csv(lines)


def table_csv(comparison: Comparison | None) -> str:
    """`Comparison.to_dataframe` as CSV, std and interval empty for a single seed; None: the head alone."""
    return (
        ",".join(FRAME_COLUMNS) + "\n"
        if comparison is None
        else _csv(all_printable(comparison).to_dataframe())
    )


def table_json(comparison: Comparison | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values: what was measured, every figure with its interval, the recipe of each row."""
    found = {"schema": TABLE_SCHEMA, **about, "level": LEVEL, "rows": []}
    if comparison is None:
        return found
    rows = [
        {
            "name": row.label,
            "seeds": row.seeds,
            "values": _with_half_widths(row.values),
            "twin": row.against,
            "paired_seeds": row.paired_seeds,
            "differences": _with_half_widths(row.differences),
            "baseline_seeds": row.baseline_seeds,
        }
        for row in comparison.rows
    ]
    return found | {
        "rows": rows,
        "setting": asdict(comparison.setting),
        "note": comparison.note,
        "baseline": next((row.label for row in comparison.rows if row.is_baseline), None),
        "columns": [asdict(column) for column in comparison.columns],
    }


def _with_half_widths(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    return {
        key: {**asdict(estimate), "half_width": estimate.half_width()} for key, estimate in estimates.items()
    }


def _csv(lines: list[dict[str, object]] | DataFrame) -> str:
    """Six decimals: finer than one image in a million."""
    import pandas  # a third of a second

    frame = pandas.DataFrame(lines).map(_no_formula)
    return frame.to_csv(index=False, float_format="%.6f", lineterminator="\n")


def _no_formula(cell: Any) -> Any:
    """Text that a spreadsheet would compute, after an apostrophe, which makes it text there too."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip().startswith(("=", "+", "-", "@")) else cell
