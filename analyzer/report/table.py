"""Flows as a table for people: a few telling columns, or those that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from analyzer.flows.columns import BY_NAME
from analyzer.flows.rendering import records
from analyzer.flows.table import FlowTable
from analyzer.report import grid, words

#: what the few columns are made from
_NEEDED = (
    *("flow", "first_ns", "last_ns", "originator", "originator_port", "responder", "responder_port", "handshake"),
    *("close", "originator_state", "responder_state", "originator_packets", "responder_packets"),
    *("originator_bytes", "responder_bytes"),
)
#: the most telling first: a narrow terminal drops from the end
_HEADINGS = (
    *("flow", "originator", "responder", "handshake", "close", "originator is", "responder is", "packets", "bytes"),
    *("lasted", "began (UTC)"),
)
_RIGHT = (0, 7, 8, 9)


def write(out: TextIO, table: FlowTable, rows: Sequence[int], names: Sequence[str] | None) -> None:
    """Write the flows in `rows`; without `names`, the few columns, as many as a terminal is wide."""
    if names is None:
        cells = [_few(flow) for flow in records(table, rows, _NEEDED)]
        made = grid.lines(_HEADINGS, cells, right=_RIGHT, width=grid.width_of(out))
    else:
        right = [place for place, name in enumerate(names) if BY_NAME[name].kind in ("int", "time", "span")]
        cells = [[cell_text(value) for value in flow.values()] for flow in records(table, rows, names)]
        made = grid.lines(names, cells, right=right)
    for line in made:
        out.write(line + "\n")


def cell_text(value: Any) -> str:
    """A plain value as a cell: nothing where it is not known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _few(flow: dict[str, Any]) -> list[str]:
    return [
        str(flow["flow"]),
        words.endpoint(flow["originator"], flow["originator_port"]),
        words.endpoint(flow["responder"], flow["responder_port"]),
        flow["handshake"],
        flow["close"],
        flow["originator_state"],
        flow["responder_state"],
        f"{flow['originator_packets']}/{flow['responder_packets']}",
        f"{flow['originator_bytes']}/{flow['responder_bytes']}",
        words.span(flow["last_ns"] - flow["first_ns"]),
        words.moment(flow["first_ns"]),
    ]
