"""Reports: comparisons of evaluated models, as tables, figures and an HTML page."""

from pushpull.reports.comparison import Comparison, Row, compare
from pushpull.reports.entries import Entry, load_entry
from pushpull.reports.estimate import Estimate
from pushpull.reports.write import write_report

__all__ = ["Comparison", "Entry", "Estimate", "Row", "compare", "load_entry", "write_report"]
