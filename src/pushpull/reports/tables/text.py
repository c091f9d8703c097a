"""A table as Markdown: figures with 95 % intervals, differences between twins, and their conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pushpull.corruptions import CORRUPTIONS
from pushpull.reports.columns import MEAN_CORRUPTION_ERROR, NET_REDUCTION, Column
from pushpull.reports.estimate import Estimate
from pushpull.reports.markdown import escape
from pushpull.reports.tables.statistics import RowFigures, TableFigures

LEVEL = 0.95


@dataclass(frozen=True)
class Remains:
    """What a table lacks; runs by name.

    Args:
        missing: asked for, and not in the table.
        problems: run and why it is not in the table, though it was tried or there is something of it.
        unasked: of the table file, not asked for and not in the table either.
    """

    missing: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    unasked: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """Say it in Markdown, a paragraph each."""
        said = []
        if self.missing:
            said.append(f"**Not complete:** {len(self.missing)} runs are missing ({few(self.missing)}).")
        if self.problems:
            said.append("\n".join(f"- {escape(f'{name}: {why}')}" for name, why in self.problems))
        if self.unasked:
            said.append(
                f"**A part of the table:** {len(self.unasked)} of its runs are not done and were not asked "
                f"for ({few(self.unasked)})."
            )
        return said


def few(names: Sequence[str]) -> str:
    """Return the first six names."""
    return ", ".join(names[:6]) + (", ..." if names[6:] else "")


@dataclass(frozen=True)
class About:
    """What a table's reader must know beside its figures.

    Args:
        title: heading.
        facts: name and text, such as network, epochs, hardware.
        notes: sentences from the table file.
        remains: what is not in the table.
        command: what makes or continues the table.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    remains: Remains
    command: str


def markdown(figures: TableFigures | None, about: About) -> str:
    """Return the whole table as GitHub-flavoured Markdown."""
    parts = [f"# {escape(about.title)}"]
    if figures is not None and figures.note:
        parts.append(f"**{figures.note}**")
    parts += about.remains.sentences()
    setting = [] if figures is None else figures.setting.summary()
    parts.append("\n".join(f"- {name}: {escape(text)}" for name, text in (*about.facts, *setting)))
    if figures is not None:
        parts += tables(figures)
        parts.append("\n".join(f"- {note}" for note in (*_notes(figures), *about.notes)))
    parts.append(f"```sh\n{about.command}\n```")
    return "\n\n".join(parts) + "\n"


def tables(figures: TableFigures) -> list[str]:
    """Return captions and tables: rows, differences to twins, and the same a corruption at a time."""
    main = [column for column in figures.columns if column.group != "corruption"]
    pairs = [row for row in figures.rows if row.twin is not None]
    found = ["**Errors and R_net, percent**", _by_row(main, figures.rows, "row")]
    if pairs:
        found += ["**Row minus its twin without push-pull, same seeds, percentage points**"]
        found += [_by_row(main, pairs, "difference")]
    found += ["**Errors by corruption (mean of 5 severities), percent**"]
    found += [_by_corruption(figures, figures.rows, "row")]
    if pairs:
        found += ["**The same, row minus its twin, percentage points**"]
        found += [_by_corruption(figures, pairs, "difference")]
    return found


def _by_row(columns: Sequence[Column], rows: Sequence[RowFigures], kind: str) -> str:
    lines = [[kind, "seeds", *(column.title for column in columns)]]
    for row in rows:
        name, seeds, estimates = _chosen(row, kind)
        cells = [_cell(estimates.get(column.key), column, kind) for column in columns]
        lines.append([name, _seeds(seeds), *cells])
    return _table(lines)


def _by_corruption(figures: TableFigures, rows: Sequence[RowFigures], kind: str) -> str:
    columns = [column for column in figures.columns if column.key in CORRUPTIONS]
    lines = [["corruption", *(_chosen(row, kind)[0] for row in rows)]]
    for column in columns:
        cells = [_cell(_chosen(row, kind)[2].get(column.key), column, kind) for row in rows]
        lines.append([column.title, *cells])
    return _table(lines)


def _chosen(row: RowFigures, kind: str) -> tuple[str, tuple[int, ...], dict[str, Estimate]]:
    if kind == "row":
        return escape(row.name), row.seeds, row.values
    return escape(f"{row.name} \N{MINUS SIGN} {row.twin}"), row.paired_seeds, row.differences


def _cell(estimate: Estimate | None, column: Column, kind: str) -> str:
    if estimate is None:
        return ""
    half = estimate.half_width(LEVEL)
    text = estimate.text(column.factor, spread=False, signed=kind == "difference")
    if half is None:
        return text
    text += f" ± {half * column.factor:.1f}"
    # Bold where the interval leaves zero out: of differences only, an error is never zero.
    return f"**{text}**" if kind == "difference" and abs(estimate.mean) > half else text


def _seeds(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "| --- |" + " ---: |" * (len(lines[0]) - 1), *body])


def _notes(figures: TableFigures) -> list[str]:
    several = any(len(row.seeds) > 1 for row in figures.rows)
    notes = ["E and all errors: top-1, in percent; lower is better."]
    notes.append(
        f"{MEAN_CORRUPTION_ERROR.title.capitalize()}: the plain mean of the errors over 15 corruptions x 5 "
        "severities, not AlexNet-normalised: not to be set beside the usual ImageNet-C mCE."
    )
    notes.append(
        f"{NET_REDUCTION.title} = 100 ((E0 - E) + (M0 - M)) / (2 E0), M the mean corruption error, 0: "
        f"{figures.baseline or 'the baseline'} of the same seed; higher is better. Fitted to the published "
        "table."
    )
    notes += _reductions(figures)
    if several:
        notes.append(
            "±: half of the 95 % confidence interval of the mean over seeds (Student's t). It covers what "
            "changes from seed to seed, not the choice of test images. A single seed has none."
        )
        notes.append(
            "Differences are paired: each seed's network against its twin's of the same seed, which began "
            "with the same weights and saw the same images in the same order. Bold: the interval leaves 0 "
            "out; of twenty such intervals one does so by chance."
        )
    else:
        notes.append("One seed a row: how much the figures vary from seed to seed is not known.")
    if figures.setting.frost_textures == "procedural":
        notes.append("Frost is drawn, not the benchmark's photographs: not as in published tables.")
    return notes


def _reductions(figures: TableFigures) -> list[str]:
    """Say of which rows R_net is over other seeds than the rest of the line."""
    if figures.baseline is None:
        return [f"{NET_REDUCTION.title}: none, for the baseline is not measured."]
    return [
        f"{NET_REDUCTION.title} of {escape(row.name)}: "
        + (f"only seeds {_seeds(row.baseline_seeds)}" if row.baseline_seeds else "none")
        + ", where the baseline of the same seed is measured and makes errors."
        for row in figures.rows
        if row.baseline_seeds != row.seeds
    ]
