"""The report of a study: pictures, tables, and an interactive page, from plain values.

Importing this package loads neither matplotlib nor pandas; writing a report does.
"""

from sweep.report.tables import front_records, front_table, trials_table
from sweep.report.write import write_report

__all__ = ["front_records", "front_table", "trials_table", "write_report"]
