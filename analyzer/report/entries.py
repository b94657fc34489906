"""The entries of a report's three lists as JSON text: a flow's whole record, and why it is there.

Owns which sentence belongs to which list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from analyzer.flows.table import FlowTable
from analyzer.report import why
from analyzer.report.jsontext import objects


class Reason(Protocol):
    """Why a flow is in a list, in words."""

    def __call__(self, table: FlowTable, row: int, weak: why.Weakness) -> str: ...


#: by name of a list, as fields of `lists.Lists`
REASONS: dict[str, Reason] = {
    "incomplete_handshakes": why.incomplete,
    "half_closed": why.half_closed,
    "synack_retransmissions": why.synack_again,
}


def texts(table: FlowTable, rows: Sequence[int], name: str, weak: why.Weakness) -> Iterator[str]:
    """One entry a row, of the list of that name."""
    return objects(table, rows, why=partial(REASONS[name], table, weak=weak))
