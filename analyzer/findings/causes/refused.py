"""Connections refused: a RST answers the SYN, so nothing listens there (or something rejects in the host's name)."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    for key, rows, others in places(index.by_listener(index.free(index.refused))):
        evidence = [f"a RST answered the SYN of {wording.hosts(index.originator(row) for row in rows)}"]
        if key is None:
            summary = f"{wording.many(others, 'other listener')} refuse connections: nothing listens there"
            evidence.append(f"at {wording.names(dict.fromkeys(wording.target(index, row) for row in rows))}")
        else:
            summary = f"{wording.listener(key)} refuses connections: nothing listens there"
            served = index.listeners[key].completed
            if served:
                evidence.append(
                    f"{wording.many(served, 'connection')} to it completed: it did listen for part of the time"
                )
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning",
            confidence="high",
            summary=f"{summary} ({wording.many(len(rows), 'attempt')})",
            evidence=evidence,
            confirm="on that host `ss -lnt` shows no listener on the port and address; a RST whose TTL differs from"
            " the host's other packets comes from a middlebox",
            advice=advise(
                "start the service, or let it listen on this address and not only on 127.0.0.1",
                "a firewall that rejects with a TCP reset looks the same",
            ),
        )


CAUSE = Cause(
    name="refused",
    title="nothing listens there",
    threshold="one: a RST that answers a SYN is no accident",
    weakened_by=(),
    look=look,
)
