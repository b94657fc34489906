"""TIME_WAIT by the thousand on one side: who closes first, and whether ports run out.

Looks at ends in TIME_WAIT when the capture ends. On a server they cost a little memory and nothing else; on a client
each blocks a local port towards one service for a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.findings import wording
from analyzer.findings.counting import in_time_wait
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.facts import host_key

#: below this nobody notices
MIN_PILE = 500
#: ports of the default range, 32768 to 60999
EPHEMERAL_PORTS = 28_232
#: from half of it on, picking a free port takes long and its end is near
MIN_PORT_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding a side and service."""
    since = max(index.end_ns - index.table.timers.time_wait_ns, 0)
    piles = [
        _Pile(index, of_server, places)
        for of_server in (False, True)
        for places in in_time_wait(index.table.flat, of_server, since)
        if len(places) >= MIN_PILE
    ]
    for pile in sorted(piles, key=_Pile.weight)[: wording.MAX_PLACES]:
        group, client, server, port = index.rows_of(pile.places), pile.client, pile.server, pile.port
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


class _Pile:
    """Rows of which the client's, or the server's, end waits; `client` is None where it is the server's."""

    def __init__(self, index: Index, of_server: bool, places: Sequence[int]) -> None:
        facts = index.table.facts
        at = places[0]
        self.places = places
        self.client = None if of_server else host_key(facts.value(at, "o_hi"), facts.value(at, "o_lo"))
        self.server: Host = host_key(facts.value(at, "r_hi"), facts.value(at, "r_lo"))
        self.port = facts.value(at, "r_port")

    def weight(self) -> tuple[int, bool, Host, Host, int]:
        """What sorts piles: the largest first."""
        return -len(self.places), self.client is None, self.client or b"", self.server, self.port


CAUSE = Cause(
    name="time_wait_pile",
    title="closed connections pile up in TIME_WAIT",
    threshold=f"{MIN_PILE} at one side of a service; {MIN_PORT_SHARE:.0%} of the default port range for a warning",
    weakened_by=(),
    look=look,
)
