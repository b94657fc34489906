"""TIME_WAIT by the thousand on one side: who closes first, and whether ports run out.

Looks at ends in TIME_WAIT when the capture ends. On a server they cost a little memory and nothing else; on a client
each blocks a local port towards one service for a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import compress

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.facts import host_key
from analyzer.tcp import states

#: the client, where it is the one that waits; the server; its port
Key = tuple[Host, int] | tuple[Host, Host, int]

#: below this nobody notices
MIN_PILE = 500
#: ports of the default range, 32768 to 60999
EPHEMERAL_PORTS = 28_232
#: from half of it on, picking a free port takes long and its end is near
MIN_PORT_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding a side and service."""
    piles = [
        (side, key, count) for side in ("o_", "r_") for key, count in _count(index, side).items() if count >= MIN_PILE
    ]
    piles.sort(key=lambda pile: (-pile[2], pile[:2]))
    for side, key, _ in piles[: wording.MAX_PLACES]:
        group = _rows(index, side, key)
        client: Host | None = key[0] if side == "o_" else None
        server, port = key[-2], key[-1]
        used = len({index.fact(row, "o_port") for row in group})
        service = wording.endpoint(server, port)
        if client is None:
            summary = f"{wording.many(len(group), 'socket')} in TIME_WAIT at {service}: the server closes first"
            evidence = ["incoming connections: TIME_WAIT blocks no port there and costs little memory"]
            severity = "info"
        else:
            summary = (
                f"{wording.host(client)} holds {wording.many(len(group), 'port')} to {service} in TIME_WAIT:"
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
            group,
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


def _count(index: Index, side: str) -> Counter[Key]:
    """Ends in TIME_WAIT when the capture ends, by service and, on the client's side, by client."""
    return Counter(compress(_keys(index, side), _waiting(index, side)))


def _rows(index: Index, side: str, wanted: Key) -> list[int]:
    places = enumerate(zip(_keys(index, side), _waiting(index, side), strict=True))
    found = {place for place, (key, waiting) in places if waiting and key == wanted}
    return [row for row, place in enumerate(index.table.order) if place in found]


def _keys(index: Index, side: str) -> Iterator[Key]:
    column = index.table.facts.column
    servers, ports = map(host_key, column("r_hi"), column("r_lo")), column("r_port")
    if side == "r_":
        return zip(servers, ports, strict=True)
    return zip(map(host_key, column("o_hi"), column("o_lo")), servers, ports, strict=True)


def _waiting(index: Index, side: str) -> list[bool]:
    since = index.end_ns - index.table.timers.time_wait_ns
    column = index.table.facts.column
    return [
        state == states.TIME_WAIT and refreshed >= since
        for state, refreshed in zip(column(side + "state"), column(side + "refresh_ns"), strict=True)
    ]


CAUSE = Cause(
    name="time_wait_pile",
    title="closed connections pile up in TIME_WAIT",
    threshold=f"{MIN_PILE} at one side of a service; {MIN_PORT_SHARE:.0%} of the default port range for a warning",
    weakened_by=(),
    look=look,
)
