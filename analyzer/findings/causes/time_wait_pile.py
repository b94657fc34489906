"""TIME_WAIT by the thousand on one side: who closes first, and whether ports run out.

Looks at ends in TIME_WAIT when the capture ends. On a server they cost a little memory and nothing else; on a client
each blocks a local port towards one service for a minute.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import counting, wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.facts import host_halves, host_key
from analyzer.flows.table import FlowTable
from analyzer.tcp.timers import Timers

#: below this nobody notices
MIN_PILE = 500
#: ports of the default range, 32768 to 60999
EPHEMERAL_PORTS = 28_232
#: from half of it on, picking a free port takes long and its end is near
MIN_PORT_SHARE = 0.5

_SIDES = (0, 1)  # originator, responder


#: who holds the sockets (the client, or None for the server) and the service that they belong to
Holder = tuple[Host | None, Host, int]


def look(index: Index) -> Iterator[Finding]:
    """One finding a side and service."""
    since = _since(index.end_ns, index.table.timers)
    piles = index.ask(Waiting(since))
    largest = sorted(piles, key=lambda holder: (-piles[holder], holder[0] is None, holder[0] or b"", *holder[1:]))
    chosen = largest[: wording.MAX_PLACES]
    found = index.ask(WaitingAt(since, tuple(chosen))) if chosen else {}
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


class Waiting(NamedTuple):
    """Who holds many sockets for a service, and how many."""

    since: int

    def of(self, table: FlowTable) -> list[array[int]]:
        return [counting.held(table.flat, side, self.since) for side in _SIDES]

    def joined(self, answers: Sequence[list[array[int]]]) -> dict[Holder, int]:
        found: dict[Holder, int] = {}
        for side in _SIDES:
            parts = [answer[side] for answer in answers]
            holders = parts[0] if len(parts) == 1 else counting.held_together(parts)
            counts = holders[counting.HELD_WORDS - 1 :: counting.HELD_WORDS]
            for number, count in enumerate(counts):
                if count >= MIN_PILE:
                    r_hi, r_lo, port, o_hi, o_lo, _ = holders[number * counting.HELD_WORDS :][: counting.HELD_WORDS]
                    found[None if side else host_key(o_hi, o_lo), host_key(r_hi, r_lo), port] = count
        return found


class WaitingAt(NamedTuple):
    """Of those holders: the flows, in order, and the ports that their clients use."""

    since: int
    holders: tuple[Holder, ...]

    def of(self, table: FlowTable) -> dict[Holder, tuple[list[int], set[int]]]:
        value = table.facts.value
        told = {}
        for side in _SIDES:
            holders = [holder for holder in self.holders if (holder[0] is None) == bool(side)]
            words = array("Q")
            for client, server, port in holders:
                words.extend((*host_halves(server), port, *((0, 0) if client is None else host_halves(client)), 0))
            for holder, places in zip(holders, counting.held_by(table.flat, side, self.since, words), strict=True):
                told[holder] = (
                    sorted(value(at, "number") for at in places),
                    {value(at, "o_port") for at in places},
                )
        return told

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
