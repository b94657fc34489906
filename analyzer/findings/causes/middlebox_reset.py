"""A RST that its supposed sender did not send: a firewall, balancer or censor between both ends reset in its name.

Looks at the RST's time to live against that of the sender's other segments: another distance is another machine. And
at ends that went on sending after "their" RST.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: what hosts begin with (RFC 1700 says 64; Windows 128, Solaris and routers 255, some devices 32)
INITIAL_TTLS = (32, 64, 128, 255)
#: hops of difference; one alone, once, may be a change of route
MIN_HOPS = 2
#: of one sender: no change of route strikes RSTs only
SURE_COUNT = 2
#: IP identifications further apart than this are of no one counter
ID_JUMP = 4096

_FORGED = f.O_FORGED_RST | f.R_FORGED_RST


def look(index: Index) -> Iterator[Finding]:
    """One finding a supposed sender; those beyond the first few share one."""
    rows = [row for row in index.free(index.reset) if _hops(index, row)]
    near = dict(index.by(lambda row: _supposed(index, row), rows))
    rows = [row for row in rows if _hops(index, row) >= MIN_HOPS or len(near[_supposed(index, row)]) >= SURE_COUNT]
    known = set(rows)
    forged = [row for row in index.free(index.forged_rst) if row not in known]
    for host, group, others in places(index.by(lambda row: _supposed(index, row), [*rows, *forged])):
        yield _finding(index, host, group, others)


def distance(ttl: int) -> int:
    """Hops that a packet has come, from the nearest initial value above its time to live."""
    return next(initial for initial in INITIAL_TTLS if ttl <= initial) - ttl


def _side(index: Index, row: int) -> str:
    return "o_" if index.fact(row, "reset_by") == f.ORIGINATOR else "r_"


def _supposed(index: Index, row: int) -> Host:
    forged = index.fact(row, "bits") & _FORGED
    if forged:
        return index.originator(row) if forged & f.O_FORGED_RST else index.responder(row)
    return index.originator(row) if _side(index, row) == "o_" else index.responder(row)


def _hops(index: Index, row: int) -> int:
    """By how many hops the distance of the accepted RST differs from that of all else of its sender."""
    low, high, other = f.ttls(index.fact(row, _side(index, row) + "ttl"))
    # Captured on several devices of a router, the same segment comes from several distances.
    if not (low and other) or low <= other <= high:
        return 0
    return min(abs(distance(own) - distance(other)) for own in (low, high))


def _finding(index: Index, host: Host | None, rows: list[int], others: int) -> Finding:
    forged = sum(1 for row in rows if index.fact(row, "bits") & _FORGED)
    seen = [f.ttls(index.fact(row, _side(index, row) + "ttl")) for row in rows if _hops(index, row)]
    pairs = dict.fromkeys(
        f"{other} instead of {low if low == high else f'{low} to {high}'}" for low, high, other in seen
    )
    jumps = sum(1 for row in rows if ID_JUMP < index.fact(row, _side(index, row) + "rst_id_gap") < (1 << 16) - ID_JUMP)
    evidence = []
    if pairs:
        evidence.append(f"time to live of the RST: {wording.names(pairs)}")
    if forged:
        evidence.append(f"{forged:,} went on sending after the RST in its name")
    if jumps:
        evidence.append(f"{jumps:,} RSTs carry an IP identification far from that of the segment before")
    who = wording.many(others, "other host") if host is None else wording.host(host)
    return make(
        index,
        CAUSE.name,
        rows,
        severity="warning",
        confidence="high" if forged or len(rows) >= SURE_COUNT else "medium",
        summary=f"{wording.many(len(rows), 'connection')} reset in the name of {who} by a machine between (firewall,"
        " balancer, censor)",
        evidence=evidence,
        confirm="capture on that host at the same time: it sends no such RST; the time to live tells how many hops away"
        " the machine stands",
        advice=advise(
            "look for the device at that distance: intrusion prevention, a full or restarted connection table, an idle"
            " timeout",
            "keepalive",
        ),
    )


CAUSE = Cause(
    name="middlebox_reset",
    title="reset by a machine in between",
    threshold=f"a RST that comes from {MIN_HOPS} hops nearer or farther than its sender (one, where {SURE_COUNT} do),"
    " or whose sender goes on",
    weakened_by=(),
    look=look,
)
