"""The report as one document of plain values: what `report --json` prints and the text is made from.

Owns its shape, which programs rely on: `capture`, `summary`, `findings`, and the three lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.flows.columns import record
from analyzer.flows.table import FlowTable
from analyzer.report import why

if TYPE_CHECKING:
    from analyzer.analysis import Analysis


def document(analysis: Analysis) -> dict[str, Any]:
    """Everything that a report says. List entries are whole records with a `why`."""
    table, lists, capture = analysis.table, analysis.lists, analysis.capture
    weak = why.Weakness.of(capture)
    return {
        "capture": capture,
        "summary": summary(analysis),
        "findings": [finding_record(finding) for finding in analysis.findings],
        "incomplete_handshakes": _entries(table, lists.incomplete_handshakes, why.incomplete, weak),
        "half_closed": _entries(table, lists.half_closed, why.half_closed, weak),
        "synack_retransmissions": _entries(table, lists.synack_retransmissions, why.synack_again, weak),
    }


def summary(analysis: Analysis) -> dict[str, Any]:
    """How many flows, and how many got each verdict on handshake and close."""
    lists = analysis.lists
    return {
        "flows": len(analysis.rows),
        "handshake": lists.handshake,
        "close": lists.close,
        "incomplete_handshakes": len(lists.incomplete_handshakes),
        "half_closed": len(lists.half_closed),
        "synack_retransmissions": len(lists.synack_retransmissions),
    }


def finding_record(finding: Any) -> dict[str, Any]:
    """One finding as plain values, in the order of its fields."""
    from dataclasses import asdict

    return asdict(finding)


def _entries(
    table: FlowTable, rows: Sequence[int], reason: Callable[[FlowTable, int, why.Weakness], str], weak: why.Weakness
) -> list[dict[str, Any]]:
    return [{**record(table, row), "why": reason(table, row, weak)} for row in rows]
