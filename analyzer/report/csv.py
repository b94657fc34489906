"""Flows as CSV (RFC 4180), a header line first.

Owns quoting. A text that a spreadsheet would take for a formula gets a ' in front, as OWASP advises.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import TextIO

from analyzer.flows.columns import BY_NAME
from analyzer.flows.rendering import records
from analyzer.flows.table import FlowTable
from analyzer.report.table import cell_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(out: TextIO, table: FlowTable, rows: Sequence[int], names: Sequence[str]) -> None:
    """Write the flows in `rows`."""
    writer = csv.writer(out)
    writer.writerow(names)
    texts = [BY_NAME[name].kind == "text" for name in names]
    for flow in records(table, rows, names):
        cells = map(cell_text, flow.values())
        writer.writerow([harmless(cell) if text else cell for cell, text in zip(cells, texts, strict=True)])


def harmless(text: str) -> str:
    """`text`, never a formula."""
    return "'" + text if text.startswith(_FORMULA) else text
