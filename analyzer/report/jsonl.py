"""Flows as JSON, one object a line, keys and order as in `COLUMNS`; times are integers in nanoseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

from analyzer.flows.columns import records
from analyzer.flows.table import FlowTable


def write(out: TextIO, table: FlowTable, rows: Sequence[int], names: Sequence[str]) -> None:
    """Write the flows in `rows`."""
    encode = json.JSONEncoder(ensure_ascii=True, separators=(", ", ": ")).encode
    for flow in records(table, rows, names):
        out.write(encode(flow) + "\n")
