"""A finished handshake with no socket behind it: the first data, or the FIN, is answered by a RST.

Looks at connections reset by the responder before it ever confirmed the handshake, once the client had sent
something, by a RST without ACK: that answers a segment for which there is no socket (RFC 9293 section 3.10.7.1), while
one that closes with data unread sends RST+ACK. A SYN cookie accepted while the accept queue was full ends so, and a
balancer without a back end.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: more than one at a listener: a single one may be a process that ended
PATTERN = 2
#: several: no coincidence
SURE = 3


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    for key, rows, others in places(index.by_listener(row for row in index.free(index.reset) if _bare(index, row))):
        where = wording.many(others, "other listener") if key is None else wording.listener(key)
        beyond = len(rows) - others  # the first of each listener
        data = sum(1 for row in rows if index.fact(row, "o_bytes"))
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning" if beyond >= PATTERN - 1 else "info",
            confidence="medium" if beyond >= SURE - 1 else "low",
            summary=f"{where}: handshakes complete, but a RST answers the first data or FIN: no socket behind them"
            f" ({wording.many(len(rows), 'connection')})",
            evidence=[
                f"the RST answered data in {data:,}, a FIN in {len(rows) - data:,}; the server had confirmed none of"
                " these handshakes"
            ],
            confirm="`nstat -az TcpExtListenOverflows TcpExtSyncookiesRecv` (a cookie accepted while the accept queue"
            " was full leaves no socket); on a load balancer the health of its back ends",
            advice=advise(
                "if ListenOverflows rises, make the application accept() faster",
                "somaxconn",
            ),
        )


def _bare(index: Index, row: int) -> bool:
    bits = index.fact(row, "bits")
    return bool(
        bits & f.COMPLETE
        and bits & f.SYNACK_SEEN
        and not bits & (f.CONFIRMED | f.FAST_OPEN | f.REPLACED | f.RST_ACK)
        and index.fact(row, "reset_by") == f.RESPONDER
        and (index.fact(row, "o_bytes") or index.fact(row, "o_fins"))
        and not (index.fact(row, "r_bytes") or index.fact(row, "r_fins"))
    )


CAUSE = Cause(
    name="no_socket",
    title="the handshake completes, but nobody is behind it",
    threshold=f"one for notice, {PATTERN} at a listener for a warning, {SURE} for medium confidence",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
