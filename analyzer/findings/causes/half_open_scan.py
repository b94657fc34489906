"""Handshakes that one side breaks off with a RST after the SYN+ACK.

Looks at aborted handshakes that belong to no larger scan. A half-open scan does so, but so do a load balancer's health
checks, a client that ran out of patience, and a host whose address somebody else has used.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import FLAGS_ONLY, Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: targets at which one source that completes none breaks handshakes off: fewer may be a client that gave up
MIN_SUSPECT = 3
#: times at each; a scan asks once and perhaps again, a health check for ever
MAX_ASKED = 2


def look(index: Index) -> Iterator[Finding]:
    """One finding a source; those beyond the first few share one."""
    for source, rows, others in places(index.by(index.originator, index.free(index.aborted))):
        by_server = [row for row in rows if index.fact(row, "reset_by") == f.RESPONDER]
        answered = sum(1 for row in rows if index.fact(row, "r_synacks"))
        targets = len(index.alike(rows, "r_hi", "r_lo", "r_port"))
        completed = index.sources.completed(source) if source else 0
        scans = targets >= MIN_SUSPECT and len(rows) <= MAX_ASKED * targets
        # Where a filter kept no ACK, all that a client ends with a RST looks so.
        scans = scans and FLAGS_ONLY not in index.doubts
        suspect = source is not None and scans and not completed and not by_server
        who = wording.many(others, "other source") if source is None else wording.host(source)
        evidence = [
            f"{answered:,} after the SYN+ACK, {len(rows) - answered:,} before any answer;"
            f" at {wording.targets(index, rows)}",
            f"{wording.many(completed, 'other handshake')} of this source completed" if source else "",
        ]
        if by_server:
            evidence.append(f"{len(by_server):,} were broken off by the server")
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning" if suspect else "info",
            confidence="medium" if suspect else "low",
            summary=f"{wording.many(len(rows), 'handshake')} of {who} broken off with a RST: half-open scan, health"
            " check or impatient client",
            evidence=[line for line in evidence if line],
            confirm="who is that source? A load balancer's check comes at even intervals to one port",
            advice=advise("harmless in itself: the RST removes the half-open connection at once"),
        )


CAUSE = Cause(
    name="half_open_scan",
    title="the handshake is broken off with a RST",
    threshold=f"one for notice; {MIN_SUSPECT} targets, asked {MAX_ASKED} times at most, of a source that completes none"
    " for a warning",
    weakened_by=(),
    look=look,
)
