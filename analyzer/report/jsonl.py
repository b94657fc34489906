"""Flows as JSON, one object a line, keys and order as in `COLUMNS`; times are integers in nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from analyzer.flows.table import FlowTable
from analyzer.garbage import uncollected
from analyzer.report.jsontext import objects


@uncollected()
def write(out: TextIO, table: FlowTable, rows: Sequence[int], names: Sequence[str]) -> None:
    """Write the flows in `rows`."""
    for flow in objects(table, rows, names):
        out.write(flow + "\n")
