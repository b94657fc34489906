"""Handshakes that take long, and which half of the round trip is the slow one.

Looks at SYN → SYN+ACK (between the capture point and the server, and its work) and SYN+ACK → ACK (between the capture
point and the client) of all handshakes of a listener.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

from analyzer.findings import wording
from analyzer.findings.counting import round_trips
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import SECOND_NS, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows.facts import host_key

#: longer than the way around the earth; satellite and mobile networks take as long
SLOW_NS = SECOND_NS * 3 // 10
#: longer than a geostationary satellite takes there and back (0.6 s); and SYNs begin to be repeated
TOO_SLOW_NS = SECOND_NS
#: measured handshakes of a listener; fewer may be one client's bad path
MIN_COUNT = 5
#: share of a listener's measured handshakes
MIN_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    slow = _slow(index)
    if len(slow) < MIN_COUNT:
        return
    measured = _measured(index, {index.listener_key(row) for row in slow})
    groups = [
        (key, rows)
        for key, rows in index.by_listener(slow)
        if len(rows) >= MIN_COUNT and len(rows) >= MIN_SHARE * measured[key]
    ]
    for key, rows, others in places(groups):
        yield _finding(index, key, rows, others)


def _slow(index: Index) -> list[int]:
    return index.rows_of(place for place, total in enumerate(round_trips(index.table.flat)) if total >= SLOW_NS)


def _measured(index: Index, wanted: set[ListenerKey]) -> dict[ListenerKey, int]:
    """How many handshakes of each listener were measured."""
    counts = dict.fromkeys(wanted, 0)
    column = index.table.facts.column
    hosts = map(host_key, column("r_hi"), column("r_lo"))
    keys = zip(hosts, column("r_port"), column("scope"), strict=True)
    for key in compress(keys, round_trips(index.table.flat)):
        if key in counts:
            counts[key] += 1
    return counts


def _finding(index: Index, key: ListenerKey | None, rows: list[int], others: int) -> Finding:
    from statistics import median  # its imports cost every start

    to_server = median([index.table.rtt(row, "responder") or 0 for row in rows])
    to_client = median([index.table.rtt(row, "originator") or 0 for row in rows])
    half = "server" if to_server >= to_client else "client"
    where = wording.many(others, "other listener") if key is None else wording.listener(key)
    total = int(to_server + to_client)
    return make(
        index,
        CAUSE.name,
        rows,
        severity="warning" if total >= TOO_SLOW_NS else "info",
        confidence="high",
        summary=f"handshakes of {where} take {wording.span(total)}: the slow half is between the capture point and the"
        f" {half}{'s' if half == 'client' else ''} ({wording.many(len(rows), 'connection')})",
        evidence=[
            f"median SYN → SYN+ACK {wording.span(int(to_server))}, SYN+ACK → ACK {wording.span(int(to_client))};"
            " handshakes with repetitions are left out"
        ],
        confirm=f"`ping` or `ss -ti` (rtt) from the capture point towards the {half}; where ping is fast, the host is"
        " busy",
        advice=advise("look for distance, full queues on the way (bufferbloat), or an overloaded host on that half"),
        claim=False,
    )


CAUSE = Cause(
    name="slow_handshake",
    title="handshakes take long",
    threshold=f"{MIN_COUNT} and {MIN_SHARE:.0%} of a listener's handshakes over {SLOW_NS // 1_000_000} ms,"
    f" {TOO_SLOW_NS // SECOND_NS} s for a warning",
    weakened_by=(),
    look=look,
)
