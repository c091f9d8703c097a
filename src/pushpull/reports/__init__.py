"""Reports: evaluated models side by side, and tables of many runs, as text, figures and an HTML page.

Runs (run folders, files of results, or the runs of a table file) become the rows of one `Comparison`, which
everything is written from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pushpull.reports.columns import Estimate
from pushpull.reports.comparison import Comparison, Row, compare, compare_twins
from pushpull.reports.read_results import Entry, load_entry
from pushpull.reports.report_files import write_report, write_table

if TYPE_CHECKING:
    from pushpull.reports.reproduction import reproduce
    from pushpull.reports.table_file import TableFile, TableRow, packaged_table, read_table

__all__ = [
    "Comparison",
    "Entry",
    "Estimate",
    "Row",
    "TableFile",
    "TableRow",
    "compare",
    "compare_twins",
    "load_entry",
    "packaged_table",
    "read_table",
    "reproduce",
    "write_report",
    "write_table",
]


def __getattr__(name: str) -> Any:
    # To compare results needs no training.
    if name == "reproduce":
        from pushpull.reports.reproduction import reproduce

        return reproduce
    if name in ("TableFile", "TableRow", "packaged_table", "read_table"):
        from pushpull.reports import table_file

        return getattr(table_file, name)
    raise AttributeError(f"module 'pushpull.reports' has no attribute {name!r}")
