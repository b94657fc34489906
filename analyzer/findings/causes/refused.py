"""Connections refused: a RST answers the SYN, so nothing listens there (or something rejects in the host's name)."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    groups = index.by_listener(index.free(index.refused))
    for key, rows in groups[: wording.MAX_PLACES]:
        listener = index.listeners[key]
        served = listener.completed
        evidence = [
            f"{wording.many(len(rows), 'SYN')} answered by RST, from"
            f" {wording.hosts(index.originator(row) for row in rows)}",
            wording.examples(index, rows),
        ]
        if served:
            evidence.append(f"{wording.many(served, 'connection')} to it completed: it did listen for part of the time")
        yield _finding(index, rows, f"{wording.listener(key)} refuses connections: nothing listens there", evidence)
    rest = [row for _, rows in groups[wording.MAX_PLACES :] for row in rows]
    if rest:
        others = len(groups) - wording.MAX_PLACES
        places = wording.names(wording.listener(key) for key, _ in groups[wording.MAX_PLACES :])
        yield _finding(
            index,
            rest,
            f"{wording.many(others, 'other listener')} refuse connections",
            [f"at {places}", wording.examples(index, rest)],
        )


def _finding(index: Index, rows: list[int], summary: str, evidence: list[str]) -> Finding:
    index.claim(rows)
    return Finding(
        name=CAUSE.name,
        severity="warning",
        confidence="high",
        count=len(rows),
        summary=f"{summary} ({wording.many(len(rows), 'attempt')})",
        evidence=evidence,
        confirm="on that host `ss -lnt` shows no listener on the port and address; a RST whose TTL differs from the"
        " host's other packets comes from a middlebox",
        advice=advise(
            "start the service, or let it listen on this address and not only on 127.0.0.1",
            "a firewall that rejects with tcp-reset looks the same",
        ),
        flows=wording.numbers(index, rows),
        wireshark_filter=wording.display_filter(index, rows),
    )


CAUSE = Cause(
    name="refused",
    title="nothing listens there",
    threshold="one: a RST that answers a SYN is no accident",
    weakened_by=(),
    look=look,
)
