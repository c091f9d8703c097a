"""Reports: evaluated models side by side, and tables of many runs, as text, figures and an HTML page.

Runs (run folders, files of results, or the runs of a table file) become the rows of one `Comparison`, which
everything is written from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pushpull.reports.columns import Estimate
from pushpull.reports.comparable import Entry, load_entry
from pushpull.reports.comparison import Comparison, Row, compare, compare_twins
from pushpull.reports.report_files import report, write_report, write_table

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
    "report",
    "reproduce",
    "write_report",
    "write_table",
]


_LATER = dict.fromkeys(("TableFile", "TableRow", "packaged_table", "read_table"), "table_file")
_LATER["reproduce"] = "reproduction"


def __getattr__(name: str) -> Any:
    if name in _LATER:  # to compare results needs no training
        return getattr(importlib.import_module(f"pushpull.reports.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
