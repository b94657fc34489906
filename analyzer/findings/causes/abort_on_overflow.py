"""A listener that resets finished handshakes because its accept queue is full (tcp_abort_on_overflow=1).

Looks at a RST without ACK at exactly the responder's first sequence number, right after the third ACK: that answers
an ACK for which there is no room. A socket that closes would send RST+ACK.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make

#: two at one listener, beside others that were served, are a pattern
SURE = 2
#: from the SYN+ACK to the RST, where the client sends data at once: one trip for the ACK, one for a slow answer
ROUND_TRIPS = 2


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener."""
    for key, rows in index.by_listener(row for row in index.free(index.stale_rst) if _at_once(index, row)):
        served = index.listeners[key].completed - len(rows)
        sure = len(rows) >= SURE and served > 0
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="critical" if sure else "warning",
            confidence="high" if sure else "medium",
            summary=f"{wording.listener(key)} resets finished handshakes: accept queue full and"
            f" tcp_abort_on_overflow=1 ({wording.many(len(rows), 'connection')} reset)",
            evidence=[
                "RST without ACK at the server's first sequence number, right after the third ACK;"
                f" {wording.many(served, 'other connection')} of this listener completed",
                *([] if sure else ["a SYN proxy, a load balancer or a security device does the same"]),
            ],
            confirm="`sysctl net.ipv4.tcp_abort_on_overflow` is 1, and `nstat -az TcpExtListenOverflows"
            " TcpExtEmbryonicRsts` rises",
            advice=advise(
                "set net.ipv4.tcp_abort_on_overflow back to 0 (the default), so that a short burst is waited out",
                "make the application accept() faster",
                "somaxconn",
            ),
        )


def _at_once(index: Index, row: int) -> bool:
    """Whether the RST answers the third ACK: one that answers a FIN or later data is no_socket's matter."""
    if index.fact(row, "o_fins"):
        return False
    if not index.fact(row, "o_bytes"):
        return True
    trips = (index.table.rtt(row, "responder"), index.table.rtt(row, "originator"))
    took = index.fact(row, "last_ns") - index.fact(row, "last_synack_ns")
    return None not in trips and took <= ROUND_TRIPS * sum(trip or 0 for trip in trips)


CAUSE = Cause(
    name="abort_on_overflow",
    title="finished handshakes are reset",
    threshold=f"one; {SURE} beside connections that were served for high confidence",
    weakened_by=(),
    look=look,
)
