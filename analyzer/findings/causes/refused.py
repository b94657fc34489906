"""Connections refused: a RST answers the SYN, so nothing listens there (or something rejects in the host's name)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.causes.middlebox_reset import distance
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    distances = index.ask(Distances(frozenset(map(index.responder, index.refused)))) if index.refused else {}
    for key, rows, others in places(index.by_listener(index.free(index.refused))):
        evidence = [f"a RST answered the SYN of {wording.hosts(index.originator(row) for row in rows)}"]
        elsewhere = [row for row in rows if _from_elsewhere(index, row, distances)]
        if elsewhere:
            evidence.append(
                f"{len(elsewhere):,} of the RSTs came from another distance (time to live) than all else of the host:"
                " a device in between rejects in its name"
            )
        if key is None:
            summary = f"{wording.many(others, 'other listener')} refuse connections: nothing listens there"
            evidence.append(f"at {wording.targets(index, rows)}")
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


class Distances(NamedTuple):
    """How many hops away those hosts are, by what they sent as responders."""

    hosts: frozenset[Host]

    def of(self, table: FlowTable) -> dict[Host, set[int]]:
        found: dict[Host, set[int]] = {}
        column = table.facts.column
        hosts = map(f.host_key, column("r_hi"), column("r_lo"))
        for host, ttl, synacks in zip(hosts, column("r_ttl"), column("r_synacks"), strict=True):
            if synacks and host in self.hosts and f.ttls(ttl)[0]:
                found.setdefault(host, set()).update(map(distance, f.ttls(ttl)[:2]))
        return found

    def joined(self, answers: Sequence[dict[Host, set[int]]]) -> dict[Host, set[int]]:
        found: dict[Host, set[int]] = {}
        for answer in answers:
            for host, hops in answer.items():
                found.setdefault(host, set()).update(hops)
        return found


def _from_elsewhere(index: Index, row: int, distances: dict[Host, set[int]]) -> bool:
    """Whether the RST came from a distance from which nothing else of the host did."""
    known, ttl = distances.get(index.responder(row), set()), f.ttls(index.fact(row, "r_ttl"))[2]
    return bool(known and ttl) and distance(ttl) not in known


CAUSE = Cause(
    name="refused",
    title="nothing listens there",
    threshold="one: a RST that answers a SYN is no accident",
    weakened_by=(),
    look=look,
)
