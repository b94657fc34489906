"""Why a flow is in a list of the report, as one sentence.

Owns the sentences: which side, what it rests on, and where the capture itself weakens it. Judges nothing anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.flows import columns
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable


@dataclass(frozen=True)
class Weakness:
    """What the capture cannot show, for all flows alike."""

    one_direction: bool = False
    dropped: bool = False

    @classmethod
    def of(cls, capture: dict[str, Any]) -> Weakness:
        """From the health of a capture."""
        return cls(
            one_direction=not capture["directions_seen"]["both"] and bool(capture["flows"]),
            dropped=bool(capture["dropped_by_kernel"] or capture["dropped_by_interface"]),
        )


def incomplete(table: FlowTable, row: int, weak: Weakness) -> str:
    """Why the handshake did not complete."""
    return columns.handshake(table, row)


def half_closed(table: FlowTable, row: int, weak: Weakness) -> str:
    """Who has closed, and who has not."""
    return columns.close(table, row)


def synack_again(table: FlowTable, row: int, weak: Weakness) -> str:
    """Why the SYN+ACK was sent again."""
    return columns.BY_NAME["synack_cause"].get(table, row)
