"""A client comes back from a port whose old connection the server still holds: challenge ACK, RST, and it goes on.

Looks at SYNs first answered by an ACK of an older connection, and at old connections that their own originator resets
while its new SYN waits. Harmless; claimed here so that the RST does not count as a failure.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows import facts as f

FourTuple = tuple[bytes, int, bytes, int, int]


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    rows = sorted({*index.free(index.challenged), *_replaced(index)})
    if not rows:
        return
    done = sum(1 for row in rows if index.fact(row, "bits") & f.COMPLETE)
    yield make(
        index,
        CAUSE.name,
        rows,
        severity="info",
        confidence="high",
        summary=f"{wording.many(len(rows), 'connection')} reopened on a port whose old connection the peer still"
        f" held (challenge ACK): harmless, {done:,} went on",
        evidence=["SYN, an ACK of the old connection, RST by the client, SYN again about 10 ms later"],
        confirm="`nstat -az TcpExtTCPChallengeACK TcpExtTCPSYNChallenge` on the server",
        advice=advise(
            "nothing to do; a client that loses its connections often (crash, NAT, short port range) is the thing to"
            " look at",
            "tcp_invalid_ratelimit",
        ),
    )


def _replaced(index: Index) -> list[int]:
    """New connections during whose SYN the originator reset the old one on the same ports; claims the old ones."""
    waiting: dict[FourTuple, int] = {}
    for row in index.free(index.reused):
        if index.fact(row, "o_syn_retransmissions"):
            waiting.setdefault(_tuple(index, row), row)
    if not waiting:
        return []
    found = []
    for old in index.free(index.reset):
        new = waiting.get(_tuple(index, old))
        if new is None or old > new or index.fact(old, "reset_by") != f.ORIGINATOR:
            continue
        if index.fact(old, "last_ns") >= index.fact(new, "first_ns"):
            index.claim([old])
            found.append(new)
    return found


def _tuple(index: Index, row: int) -> FourTuple:
    fact = index.fact
    return index.originator(row), fact(row, "o_port"), index.responder(row), fact(row, "r_port"), fact(row, "scope")


CAUSE = Cause(
    name="challenge_ack",
    title="a stale connection on a reused port",
    threshold="one",
    weakened_by=(),
    look=look,
)
