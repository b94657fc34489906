"""How each listener fared: attempts, outcomes, answer times, repeated SYN+ACKs, who closes first.

Owns the counting, one pass over the facts. Knows no text; the verdicts are those of `flows.verdict`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from analyzer.flows import facts as f
from analyzer.flows import verdict
from analyzer.flows.columns import address_text
from analyzer.flows.facts import NO_VALUE
from analyzer.flows.table import FlowTable

_FACTS = (
    *("bits", "r_hi", "r_lo", "r_port", "responder_rtt_ns", "r_synack_retransmissions", "o_fins", "r_fins"),
    "closed_by",
)
_BEGINS = f.SYN_SEEN | f.SYNACK_SEEN


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
    tallies: dict[tuple[bytes, int, int], _Tally] = {}
    if len(rows) == len(table):
        columns = [table.facts.column(name) for name in _FACTS]  # in any order: they are counted
    else:
        columns = [array("Q", [column[row] for row in rows]) for column in map(table.raw, _FACTS)]
    for bits, high, low, port, answer, again, o_fins, r_fins, closer in zip(*columns, strict=True):
        if not bits & _BEGINS:
            continue
        key = (f.host_key(high, low), port, bits & f.IPV6)
        tally = tallies.get(key)
        if tally is None:
            tally = tallies[key] = _Tally()
        tally.attempts += 1
        tally.again += again
        if answer != NO_VALUE:
            tally.answers.append(answer)
        if bits & f.COMPLETE and not bits & f.CONTRADICTED:
            tally.completed += 1
        else:
            word = verdict.handshake(bits)
            tally.refused += word == "refused"
            tally.unanswered += word == "unanswered"
        if o_fins or r_fins:
            tally.closers[closer] += 1
            if not (o_fins and r_fins):
                tally.half_closed += verdict.close(bits, o_fins, r_fins) == "half_closed"
    made = [tally.made(key) for key, tally in tallies.items()]
    return sorted(made, key=lambda one: (-one.attempts, one.host, one.port))


class _Tally:
    """The counts of one listener while they grow."""

    __slots__ = ("again", "answers", "attempts", "closers", "completed", "half_closed", "refused", "unanswered")

    def __init__(self) -> None:
        self.attempts = self.completed = self.refused = self.unanswered = self.again = self.half_closed = 0
        self.answers: list[int] = []
        self.closers = [0, 0, 0, 0]  # by facts.NOBODY, ORIGINATOR, RESPONDER, BOTH

    def made(self, key: tuple[bytes, int, int]) -> Listener:
        host, port, ipv6 = key
        high, low = f.host_halves(host)
        self.answers.sort()
        return Listener(
            host=address_text(high, low, bool(ipv6)),
            port=port,
            attempts=self.attempts,
            completed=self.completed,
            refused=self.refused,
            unanswered=self.unanswered,
            answer_median_ns=_quantile(self.answers, 50),
            answer_95_ns=_quantile(self.answers, 95),
            synack_retransmissions=self.again,
            half_closed=self.half_closed,
            closed_by_originator=self.closers[f.ORIGINATOR],
            closed_by_responder=self.closers[f.RESPONDER],
            closed_by_both=self.closers[f.BOTH],
        )


def _quantile(ordered: list[int], percent: int) -> int | None:
    """The value that `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] if ordered else None
