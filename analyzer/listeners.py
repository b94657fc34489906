"""How each listener fared: attempts, outcomes, answer times, repeated SYN+ACKs, who closes first.

Owns what is said of each, in order. Counting is `findings.counting`'s, the verdicts are those of `flows.verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from analyzer.findings.counting import Tally, tallies
from analyzer.flows import facts as f
from analyzer.flows.columns import address_text
from analyzer.flows.facts import host_halves
from analyzer.flows.table import FlowTable


class Listener(NamedTuple):
    """One (host, port). Counts are connections, but for `synack_retransmissions`; an unknown time is None."""

    host: str
    port: int
    attempts: int  # that begin with a SYN or SYN+ACK
    completed: int
    refused: int
    unanswered: int
    answer_median_ns: int | None  # SYN → SYN+ACK
    answer_95_ns: int | None
    synack_retransmissions: int
    half_closed: int  # at the end of the capture
    closed_by_originator: int  # who closed first
    closed_by_responder: int
    closed_by_both: int


def listeners(table: FlowTable, rows: Sequence[int]) -> list[Listener]:
    """Every (host, port) that `rows` were meant for, the busiest first."""
    counted = tallies(table.flat, None if len(rows) == len(table) else table.places(rows))
    return sorted(map(_listener, counted), key=lambda one: (-one.attempts, one.host, one.port))


def _listener(tally: Tally) -> Listener:
    high, low = host_halves(tally.host)
    answers = sorted(tally.answers_ns)
    return Listener(
        host=address_text(high, low, tally.ipv6),
        port=tally.port,
        attempts=tally.attempts,
        completed=tally.completed,
        refused=tally.refused,
        unanswered=tally.unanswered,
        answer_median_ns=_quantile(answers, 50),
        answer_95_ns=_quantile(answers, 95),
        synack_retransmissions=tally.synacks_again,
        half_closed=tally.half_closed,
        closed_by_originator=tally.closers[f.ORIGINATOR],
        closed_by_responder=tally.closers[f.RESPONDER],
        closed_by_both=tally.closers[f.BOTH],
    )


def _quantile(ordered: list[int], percent: int) -> int | None:
    """The value that `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] if ordered else None
