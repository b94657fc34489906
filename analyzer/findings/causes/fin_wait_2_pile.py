"""Sockets piled up in FIN_WAIT_2: this side has closed and waits for the others to do so.

Looks at hosts with many ends in FIN_WAIT_2 at the end of the capture. The fault, where there is one, is on the other
side (`close_wait` names it); this is the view of the host whose netstat shows the pile.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f
from analyzer.tcp import states

#: a tenth of a process's usual 1024 descriptors; fewer are a service's ordinary slow peers
MIN_PILE = 100


def look(index: Index) -> Iterator[Finding]:
    """One finding a host and service; those beyond the first few share one."""

    def holder(row: int) -> tuple[Host, int]:
        client = index.fact(row, "closed_by") == f.ORIGINATOR
        return (index.originator(row) if client else index.responder(row)), index.fact(row, "r_port")

    facts = index.each(index.half_closed, "closed_by", "o_state", "r_state")
    rows = [
        row
        for row, (closed_by, originator, responder) in zip(index.half_closed, facts, strict=True)
        if (originator if closed_by == f.ORIGINATOR else responder) == states.FIN_WAIT_2
    ]
    groups = [(key, group) for key, group in index.by(holder, rows) if len(group) >= MIN_PILE]
    for key, group, others in places(groups):
        oldest = index.end_ns - min(index.fact(row, "half_start_ns") for row in group)
        who = wording.many(others, "other host") if key is None else f"{wording.host(key[0])} (port {key[1]})"
        peers = wording.hosts(
            index.responder(row) if index.fact(row, "closed_by") == f.ORIGINATOR else index.originator(row)
            for row in group
        )
        yield make(
            index,
            CAUSE.name,
            group,
            severity="info",
            confidence="medium",
            summary=f"{who} holds {wording.many(len(group), 'socket')} in FIN_WAIT_2: it has closed,"
            " the peers have not",
            evidence=[f"the oldest for {wording.span(oldest)}; waiting for {peers}"],
            confirm="`ss -tno state fin-wait-2` on that host: those with a timer are closed and end by themselves,"
            " those without are held by shutdown() and never do",
            advice=advise("the peers' applications have to close their sockets", "tcp_fin_timeout"),
            claim=False,
        )


CAUSE = Cause(
    name="fin_wait_2_pile",
    title="sockets pile up in FIN_WAIT_2",
    threshold=f"{MIN_PILE} at one host and service",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
