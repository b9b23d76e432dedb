"""Run directories -> one self-contained HTML page."""

from srpo.report.runs import ReportError
from srpo.report.write import Summary, write_report

__all__ = ["ReportError", "Summary", "write_report"]
