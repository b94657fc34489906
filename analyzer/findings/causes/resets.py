"""Connections that ended with a RST: who sent it, and when.

Looks at resets that no other cause explains. A RST after the sender's own FIN is how many programs close; one that cuts
off a running connection is worth a look where it is the rule at a listener.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: resets without a FIN by the responder of one listener …
MIN_ABRUPT = 5
#: … and their share of its connections, from which on they are its habit
MIN_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener and side; those beyond the first few share one."""
    # A lone RST answers something that was not captured.
    rows = index.with_fact(index.with_fact(index.free(index.reset), "o_packets"), "r_packets")
    sides = index.facts(rows, "reset_by")
    groups = [
        ((key, side), group)
        for side in sorted({*sides})
        for key, group in index.by_listener(row for row, by in zip(rows, sides, strict=True) if by == side)
    ]
    groups.sort(key=lambda group: (-len(group[1]), group[1][0]))
    for key, rows, others in places(groups):
        abrupt = sum(1 for fins in index.each(rows, "o_fins", "r_fins") if not any(fins))
        severity = "info"
        if key is None:
            summary = f"{wording.many(len(rows), 'connection')} reset at {wording.many(others, 'other place')}"
            evidence = []
        else:
            listener = index.listeners[key[0]]
            server = key[1] == f.RESPONDER
            who = "the server" if server else "the client"
            summary = f"{wording.many(len(rows), 'connection')} of {wording.listener(key[0])} reset by {who}"
            evidence = [f"of {wording.many(listener.completed, 'completed connection')} there"]
            if server and abrupt >= MIN_ABRUPT and abrupt >= MIN_SHARE * listener.completed:
                severity = "warning"
        evidence.append(f"{abrupt:,} cut off without a FIN, {len(rows) - abrupt:,} after a FIN")
        lost = sum(1 for bits in index.facts(rows, "bits") if not bits & f.RST_ACK)
        if lost:
            evidence.append(
                f"{lost:,} by a RST without ACK: it answers a segment for which that host has no socket (any more)"
            )
        yield make(
            index,
            CAUSE.name,
            rows,
            severity=severity,
            confidence="medium",
            summary=summary,
            evidence=evidence,
            confirm="`nstat -az TcpExtTCPAbortOnClose TcpExtTCPAbortOnData TcpEstabResets` on the side that resets",
            advice=advise(
                "close() with data unread, SO_LINGER 0, and a crashed or killed process all end in a RST; so does"
                " a firewall or balancer that dropped an idle connection"
            ),
        )


CAUSE = Cause(
    name="resets",
    title="connections end with a RST",
    threshold=f"one for notice; {MIN_ABRUPT} without a FIN by the server and {MIN_SHARE:.0%} of the listener's"
    " connections for a warning",
    weakened_by=(),
    look=look,
)
