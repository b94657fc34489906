"""TIME_WAIT by the thousand on one side: who closes first, and whether ports run out.

Looks at ends in TIME_WAIT when the capture ends. On a server they cost a little memory and nothing else; on a client
each blocks a local port towards one service for a minute.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.tcp import states

#: below this nobody notices
MIN_PILE = 500
#: ports of the default range, 32768 to 60999
EPHEMERAL_PORTS = 28_232
#: from half of it on, picking a free port takes long and its end is near
MIN_PORT_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding a side and service."""
    if len(index.time_wait) < MIN_PILE:
        return

    def pile(row: int) -> tuple[Host | None, Host, int]:
        client = index.originator(row) if index.fact(row, "o_state") == states.TIME_WAIT else None
        return client, index.responder(row), index.fact(row, "r_port")

    groups = [group for group in index.by(pile, index.time_wait) if len(group[1]) >= MIN_PILE]
    for key, rows, _ in places(groups):
        if key is None:
            continue
        client, server, port = key
        used = len({index.fact(row, "o_port") for row in rows})
        service = wording.endpoint(server, port)
        if client is None:
            summary = f"{wording.many(len(rows), 'socket')} in TIME_WAIT at {service}: the server closes first"
            evidence = ["incoming connections: TIME_WAIT blocks no port there and costs little memory"]
            severity = "info"
        else:
            summary = (
                f"{wording.host(client)} holds {wording.many(len(rows), 'port')} to {service} in TIME_WAIT:"
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
            rows,
            severity=severity,
            confidence="high",
            summary=summary,
            evidence=evidence,
            confirm="`ss -s` and `ss -tan state time-wait | wc -l` on that host; connect() fails with EADDRNOTAVAIL"
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


CAUSE = Cause(
    name="time_wait_pile",
    title="closed connections pile up in TIME_WAIT",
    threshold=f"{MIN_PILE} at one side of a service; {MIN_PORT_SHARE:.0%} of the default port range for a warning",
    weakened_by=(),
    look=look,
)
