"""TIME_WAIT by the thousand on one side: who closes first, and whether ports run out.

Looks at ends in TIME_WAIT when the capture ends. On a server they cost a little memory and nothing else; on a client
each blocks a local port towards one service for a minute.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.counting import in_time_wait
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.table import FlowTable
from analyzer.tcp.timers import Timers

#: below this nobody notices
MIN_PILE = 500
#: ports of the default range, 32768 to 60999
EPHEMERAL_PORTS = 28_232
#: from half of it on, picking a free port takes long and its end is near
MIN_PORT_SHARE = 0.5


#: who holds the sockets (the client, or None for the server) and the service that they belong to
Holder = tuple[Host | None, Host, int]


def look(index: Index) -> Iterator[Finding]:
    """One finding a side and service."""
    since = _since(index.end_ns, index.table.timers)
    piles = {holder: count for holder, count in index.ask(Waiting(since)).items() if count >= MIN_PILE}
    largest = sorted(piles, key=lambda holder: (-piles[holder], holder[0] is None, holder[0] or b"", *holder[1:]))
    chosen = largest[: wording.MAX_PLACES]
    found = index.ask(WaitingAt(since, frozenset(chosen))) if chosen else {}
    for client, server, port in chosen:
        flows, ports = found[client, server, port]
        used = len(ports)
        service = wording.endpoint(server, port)
        if client is None:
            summary = f"{wording.many(len(flows), 'socket')} in TIME_WAIT at {service}: the server closes first"
            evidence = ["incoming connections: TIME_WAIT blocks no port there and costs little memory"]
            severity = "info"
        else:
            summary = (
                f"{wording.host(client)} holds {wording.many(len(flows), 'port')} to {service} in TIME_WAIT:"
                " the client closes first"
            )
            evidence = [f"{used:,} of the 28,232 local ports that the default range has for this service"]
            severity = "warning" if used >= MIN_PORT_SHARE * EPHEMERAL_PORTS else "info"
        reused = sum(1 for row in index.reused if index.responder(row) == server)
        if reused:
            evidence.append(f"{wording.many(reused, 'connection')} to it reused a port within the capture")
        yield make(
            index,
            CAUSE.name,
            index.named(flows),
            count=len(flows),
            severity=severity,
            confidence="high",
            summary=summary,
            evidence=evidence,
            confirm="`ss -s` and `ss -Htan state time-wait | wc -l` on that host; connect() fails with EADDRNOTAVAIL"
            " once ports run out",
            advice=advise(
                "keep connections open and pool them, or let the other side close first",
                "time_wait",
                "tcp_tw_reuse",
                "ip_local_port_range",
                "tcp_fin_timeout",
                "tcp_tw_recycle",
            ),
            claim=False,
        )


def _since(end_ns: int, timers: Timers) -> int:
    """When TIME_WAIT began, at the earliest, that lasts at the end of the capture."""
    return max(end_ns - timers.time_wait_ns, 0)


def _waiting(table: FlowTable, since: int) -> Iterator[tuple[Holder, array[int]]]:
    """The places, in the facts, of flows of which one end is in TIME_WAIT since then or later, by who holds it."""
    for of_server in (False, True):
        for places in in_time_wait(table.flat, of_server, since):
            client = None if of_server else table.facts.host(places[0], "o_")
            yield (client, *table.facts.listener(places[0])[:2]), places


class Waiting(NamedTuple):
    """How many sockets each holds for a service."""

    since: int

    def of(self, table: FlowTable) -> dict[Holder, int]:
        return {holder: len(places) for holder, places in _waiting(table, self.since)}

    def joined(self, answers: Sequence[dict[Holder, int]]) -> dict[Holder, int]:
        found: dict[Holder, int] = {}
        for answer in answers:
            for holder, count in answer.items():
                found[holder] = found.get(holder, 0) + count
        return found


class WaitingAt(NamedTuple):
    """Of those holders: the flows, in order, and the ports that their clients use."""

    since: int
    holders: frozenset[Holder]

    def of(self, table: FlowTable) -> dict[Holder, tuple[list[int], set[int]]]:
        value = table.facts.value
        return {
            holder: (sorted(value(at, "number") for at in places), {value(at, "o_port") for at in places})
            for holder, places in _waiting(table, self.since)
            if holder in self.holders
        }

    def joined(
        self, answers: Sequence[dict[Holder, tuple[list[int], set[int]]]]
    ) -> dict[Holder, tuple[list[int], set[int]]]:
        found: dict[Holder, tuple[list[int], set[int]]] = {holder: ([], set()) for holder in self.holders}
        for answer in answers:
            for holder, (flows, ports) in answer.items():
                found[holder][0].extend(flows)
                found[holder][1].update(ports)
        return {holder: (sorted(flows), ports) for holder, (flows, ports) in found.items()}


CAUSE = Cause(
    name="time_wait_pile",
    title="closed connections pile up in TIME_WAIT",
    threshold=f"{MIN_PILE} at one side of a service; {MIN_PORT_SHARE:.0%} of the default port range for a warning",
    weakened_by=(),
    look=look,
    asks=lambda capture, end_ns, timers: (Waiting(_since(end_ns, timers)),),
)
