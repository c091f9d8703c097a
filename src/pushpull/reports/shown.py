"""What a comparison says of itself in Python and in notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from pushpull.errors import printable
from pushpull.reports import columns as define
from pushpull.reports.columns import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class Shown:
    """The figures of `Comparison`'s rows as values, text and a picture; abstract."""

    title: str
    note: str | None
    setting: Any
    columns: tuple[Column, ...]
    rows: tuple[Any, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Label of a row -> its mean corruption error, in [0, 1], the plain mean over 15 x 5 and over seeds.

        It is not divided by AlexNet's errors. Empty where the 15 x 5 were not measured.
        """
        key = define.MEAN_CORRUPTION_ERROR.key
        return {row.label: row.values[key].mean for row in self.rows if key in row.values}

    def worst(self, n: int = 3) -> dict[str, list[tuple[str, float]]]:
        """Label of a row -> its n corruptions with the highest mean error in [0, 1], the worst first."""
        names = [column.key for column in self._columns("corruption", "extra")]
        every = {row.label: [(name, row.values[name].mean) for name in names] for row in self.rows}
        return {label: sorted(pairs, key=lambda pair: -pair[1])[:n] for label, pairs in every.items()}

    def conditions(self) -> DataFrame:
        """Return every condition of every seed of every row, as a pandas data frame.

        Returns:
            Columns row and seed (None where it is not known), then those of `Results.to_dataframe`.
        """
        import pandas

        parts = [
            result.to_dataframe().assign(row=row.label, seed=result.model["seed"])
            for row in self.rows
            for result in (row.entry.results if row.entry else ())
        ]
        if not parts:
            return pandas.DataFrame(columns=["row", "seed"])
        frame = pandas.concat(parts, ignore_index=True)
        return frame[["row", "seed", *frame.columns.drop(["row", "seed"])]]

    def plot(self) -> Figure:
        """Return a matplotlib figure of every row's error by corruption, the first row's worst on top."""
        from pushpull.evaluation.plots import errors_by_corruption  # matplotlib takes half a second

        found = {
            row.label: {name: [one.mean for one in row.curves[name]] for name in self.setting.corruptions}
            for row in self.rows
        }
        clean = {row.label: row.values.get(define.CLEAN_ERROR.key) for row in self.rows}
        return errors_by_corruption(found, {label: one and one.mean for label, one in clean.items()})

    def __str__(self) -> str:
        """The title and the main figures in percent, a line a row."""
        frame = self._main_figures().to_string()
        return "\n".join(filter(None, (printable(self.title), printable(self.note or ""), frame)))

    def _repr_html_(self) -> str:
        """The same as HTML, for notebooks."""
        title, note = (escape(printable(text or "")) for text in (self.title, self.note))
        return f"<p>{title}</p>{note and f'<p>{note}</p>'}{self._main_figures().to_html()}"

    def _main_figures(self) -> DataFrame:
        """Return rows x main columns as text."""
        import pandas

        columns = self._columns("main")
        texts = [
            [row.values[c.key].text(c.factor) if c.key in row.values else "" for c in columns]
            for row in self.rows
        ]
        labels = [printable(row.label) for row in self.rows]
        return pandas.DataFrame(texts, index=labels, columns=[column.title for column in columns])

    def _columns(self, *groups: str) -> list[Column]:
        return [column for column in self.columns if column.group in groups]
