"""Handshakes that succeeded only after the SYN was sent again: a loss each, and a wait by the client's schedule.

Looks at completed handshakes with repeated SYNs that no other cause explains, and tells a lost SYN (one SYN+ACK) from
a lost SYN+ACK (one for each SYN). A few are the loss of any path; a share of a listener's handshakes is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import LOSS, Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places

#: share of a listener's handshakes; ordinary paths lose less than one segment in a hundred
MIN_SHARE = 0.05
#: fewer say nothing about a share
MIN_COUNT = 5


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener where they are many; all others share one."""
    groups = index.by_listener(index.free(index.retried))
    many = [(key, rows) for key, rows in groups if _is_many(len(rows), index.listeners[key].completed)]
    few = [rows for key, rows in groups if not _is_many(len(rows), index.listeners[key].completed)]
    for key, rows, others in places(many):
        where = wording.many(others, "other listener") if key is None else wording.listener(key)
        completed = "" if key is None else f" of {index.listeners[key].completed:,}"
        yield _finding(index, rows, f"{len(rows):,}{completed} handshakes of {where} had to repeat the SYN", "warning")
    rest = sorted(row for rows in few for row in rows)
    if rest:
        yield _finding(index, rest, f"{wording.many(len(rest), 'handshake')} had to repeat the SYN", "info")


def _is_many(count: int, completed: int) -> bool:
    return count >= MIN_COUNT and count >= MIN_SHARE * completed


def _finding(index: Index, rows: list[int], what: str, severity: str) -> Finding:
    waits = sorted(index.fact(row, "last_synack_ns") - index.fact(row, "first_ns") for row in rows)
    answered = sum(1 for row in rows if index.fact(row, "r_synacks") > 1)
    syns = sum(index.fact(row, "o_syn_retransmissions") for row in rows)
    where = wording.targets(index, rows)
    return make(
        index,
        CAUSE.name,
        rows,
        severity=severity,
        confidence="high" if len(rows) >= MIN_COUNT else "medium",
        summary=f"{what} and waited up to {wording.span(waits[-1])} for it",
        evidence=[
            f"{wording.many(syns, 'SYN')} repeated; the SYN itself was lost or dropped in {len(rows) - answered:,}, the"
            f" answer in {answered:,}; at {where}"
        ],
        confirm="capture on the server at the same time: do all SYNs arrive? `nstat -az TcpExtListenDrops` there",
        advice=advise(
            "look for loss on the path: the first repetition costs a second, whatever the round trip",
            "tcp_syn_retries",
        ),
    )


CAUSE = Cause(
    name="syn_retried",
    title="handshakes that needed a second SYN",
    threshold=f"one for notice; {MIN_COUNT} and {MIN_SHARE:.0%} of a listener's handshakes for a warning",
    weakened_by=(LOSS,),
    look=look,
)
