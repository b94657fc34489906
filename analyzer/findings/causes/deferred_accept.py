"""TCP_DEFER_ACCEPT: the server ignores the bare ACK on purpose and waits for data. Normal.

Looks at a SYN+ACK repeated once, late, the first retries left out; an overflowing accept queue repeats at 1 and 3 s.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    for key, rows, others in places(index.by_listener(index.free(index.deferred))):
        where = wording.many(others, "other listener") if key is None else wording.listener(key)
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="info",
            confidence="high",
            summary=f"{where} uses TCP_DEFER_ACCEPT: it waits for the client's data, which is normal"
            f" ({wording.many(len(rows), 'client')} stayed silent)",
            evidence=["the SYN+ACK came again once, late, without the retries after 1 and 3 s"],
            confirm="`nstat -az TcpExtTCPDeferAcceptDrop`; nginx: `listen … deferred`, Apache: AcceptFilter",
            advice=advise("nothing to do on the server; the clients open connections long before they use them"),
        )


CAUSE = Cause(
    name="deferred_accept",
    title="the server waits for data before it accepts",
    threshold="one",
    weakened_by=(),
    look=look,
)
