"""Why a flow is in a list of the report, as one sentence.

Owns the sentences: which side, what it rests on, and where the capture itself weakens it. Judges nothing anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from analyzer.flows import columns
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable
from analyzer.report import words
from analyzer.tcp import states

#: ICMP and ICMPv6 "destination unreachable" codes, as RFC 792, RFC 1122, RFC 1812 and RFC 4443 name them
_UNREACHABLE = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    9: "network administratively prohibited",
    10: "host administratively prohibited",
    13: "administratively prohibited by a filter",
}
_UNREACHABLE_V6 = {
    0: "no route",
    1: "administratively prohibited",
    2: "beyond the scope of the source address",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address refused by policy",
    6: "route rejected",
}


class Weakness(NamedTuple):
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
    verdict = columns.handshake(table, row)
    made = {
        "unanswered": _unanswered,
        "refused": _refused,
        "unreachable": _unreachable,
        "half_open": _half_open,
        "ack_ignored": _ack_ignored,
        "aborted": _aborted,
    }[verdict](table, row)
    return _sentence(made, _doubts(table, row, weak, verdict in ("unanswered", "half_open", "ack_ignored")))


def half_closed(table: FlowTable, row: int, weak: Weakness) -> str:
    """Who has closed, and who has not."""
    closer, other = ("r", "o") if table.fact(row, "closed_by") == f.RESPONDER else ("o", "r")
    start = table.fact(row, "half_start_ns")
    made = f"{_end(table, row, closer)} closed (FIN) and {_end(table, row, other)} acknowledged that"
    made += f", but has not closed for {words.span(max(table.end_ns - start, 0))}" if start else ", but has not closed"
    sent = table.fact(row, "half_bytes")
    made += f" and has sent {words.many(sent, 'byte')} since" if sent else " and has sent nothing since"
    final = dict(zip(("o", "r"), table.final(row)[::2], strict=True))
    made += f"; so it is in {states.STATES[final[other]]}, and the first in {states.STATES[final[closer]]}"
    doubts = ["the capture ends here, it may have closed later"]
    return _sentence(made, doubts + list(_doubts(table, row, weak, waits=False)))


def synack_again(table: FlowTable, row: int, weak: Weakness) -> str:
    """Why the SYN+ACK was sent again."""
    end = "r" if table.fact(row, "r_synack_retransmissions") else "o"
    other = "o" if end == "r" else "r"
    times = table.fact(row, end + "_synack_retransmissions")
    cause = table.fact(row, "synack_cause")
    reasons = [text.format(other=_end(table, row, other)) for bit, text in _CAUSES if cause & bit]
    made = f"{_end(table, row, end)} sent its SYN+ACK {words.many(times, 'more time')}"
    made += f": {'; then '.join(reasons)}" if reasons else ""
    return _sentence(made, _doubts(table, row, weak, waits=bool(cause & f.CAUSE_UNANSWERED)))


_CAUSES = (
    (f.CAUSE_CONFLICTING, "with another sequence number, as if two hosts answered"),
    (f.CAUSE_ELICITED, "in answer to a SYN sent again by {other}, which the first answer had not reached in time"),
    (f.CAUSE_UNANSWERED, "on its timer, without any ACK from {other} before it"),
    (f.CAUSE_DEFERRED, "once and late, as deferred accept does until the first data comes"),
    (
        f.CAUSE_AFTER_ACK,
        "after the ACK of {other} was captured: that was lost behind the capture point, or ignored (accept queue full)",
    ),
)


def _unanswered(table: FlowTable, row: int) -> str:
    syns = table.fact(row, "o_syns")
    over = table.fact(row, "last_ns") - table.fact(row, "first_ns")
    made = f"{_end(table, row, 'o')} sent {words.many(syns, 'SYN')}"
    made += f" over {words.span(over)}" if syns > 1 and over else ""
    if table.fact(row, "bits") & f.CHALLENGED:
        return f"{made}; {_end(table, row, 'r')} answered with an ACK of an older connection, and never with a SYN+ACK"
    return f"{made} and {_end(table, row, 'r')} never answered"


def _refused(table: FlowTable, row: int) -> str:
    return f"{_end(table, row, 'r')} answered the SYN with RST: nothing listens there, or a filter rejects in its name"


def _unreachable(table: FlowTable, row: int) -> str:
    kind, code = divmod(table.fact(row, "icmp"), 256)
    v6 = bool(table.fact(row, "bits") & f.IPV6)
    said = (_UNREACHABLE_V6 if v6 else _UNREACHABLE).get(code) if kind == (1 if v6 else 3) else None
    sender = columns.BY_NAME["icmp_sender"].get(table, row) or "a host on the way"
    return (
        f"{sender} answered the SYN to {_end(table, row, 'r')} with ICMP type {kind} code {code}"
        f"{f' ({said})' if said else ''}"
    )


def _half_open(table: FlowTable, row: int) -> str:
    synacks = table.fact(row, "r_synacks") or table.fact(row, "o_synacks")
    who, other = ("r", "o") if table.fact(row, "r_synacks") else ("o", "r")
    return (
        f"{_end(table, row, who)} sent {words.many(synacks, 'SYN+ACK')} and {_end(table, row, other)} never"
        " acknowledged it"
    )


def _ack_ignored(table: FlowTable, row: int) -> str:
    data = table.fact(row, "o_bytes")
    sent = f" and sent {words.many(data, 'byte')}" if data else ""
    return (
        f"{_end(table, row, 'o')} acknowledged the SYN+ACK{sent},"
        f" yet {_end(table, row, 'r')} sent it again ({words.many(table.fact(row, 'r_synacks'), 'SYN+ACK')} in all)"
        " and nothing later shows that it took the ACK"
    )


def _aborted(table: FlowTable, row: int) -> str:
    who = "o" if table.fact(row, "reset_by") != f.RESPONDER else "r"
    if table.fact(row, "bits") & f.SYNACK_SEEN:
        return f"{_end(table, row, who)} sent RST after the SYN+ACK instead of completing the handshake"
    return f"{_end(table, row, who)} gave its own SYN up with RST before any answer"


def _doubts(table: FlowTable, row: int, weak: Weakness, waits: bool) -> Iterator[str]:
    """What in the capture makes it less sure; `waits`: the verdict rests on something that never came."""
    if waits and table.is_waiting(row):
        yield "the capture ends before the next repetition was due, so it may still have succeeded"
    if waits and weak.one_direction:
        yield "the capture holds one direction only, so an answer may have passed unseen"
    if weak.dropped:
        yield "packets were dropped while capturing, what seems missing may be among them"
    if table.fact(row, "bits") & f.EVICTED:
        yield "it was dropped from the analysis early because too many connections were open at once"
    if table.fact(row, "o_missing") or table.fact(row, "r_missing"):
        yield "parts of it were never captured"


def _end(table: FlowTable, row: int, end: str) -> str:
    address = columns.originator(table, row) if end == "o" else columns.responder(table, row)
    return words.endpoint(address, table.fact(row, end + "_port"))


def _sentence(made: str, doubts: Iterable[str]) -> str:
    doubt = "; ".join(doubts)
    return f"{made} (but {doubt})." if doubt else f"{made}."
