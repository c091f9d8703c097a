"""Tables of training runs by one command: from a table file to figures with confidence intervals."""

from pushpull.reports.tables.spec import Row, TableFile, packaged_table, read_table
from pushpull.reports.tables.statistics import RowFigures, TableFigures, table_figures

__all__ = [
    "Row",
    "RowFigures",
    "TableFigures",
    "TableFile",
    "packaged_table",
    "read_table",
    "table_figures",
]
