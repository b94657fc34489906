"""A third ACK lost behind the capture point: the SYN+ACK came again, and then all went well.

Looks at SYN+ACKs repeated after their ACK on connections that no overflow explains and that came alive at the next
segment.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    rows = index.free(index.after_ack)
    if rows:
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="info",
            confidence="medium",
            summary=f"{wording.many(len(rows), 'connection')} repeated the SYN+ACK after its ACK and then went on: the"
            " ACK was lost behind the capture point",
            evidence=[f"at {wording.targets(index, rows)}"],
            confirm="`nstat -az TcpExtListenOverflows` that does not rise rules out a full accept queue",
            advice=advise("nothing to do for a single one; many mean loss between the capture point and the server"),
        )


CAUSE = Cause(
    name="ack_lost",
    title="an ACK lost behind the capture point",
    threshold="one",
    weakened_by=(),
    look=look,
)
