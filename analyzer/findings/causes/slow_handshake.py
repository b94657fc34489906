"""Handshakes that take long, and which half of the round trip is the slow one.

Looks at SYN → SYN+ACK (between the capture point and the server, and its work) and SYN+ACK → ACK (between the capture
point and the client) of all handshakes of a listener.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.counting import round_trips
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import SECOND_NS, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows.facts import NO_VALUE, host_key
from analyzer.flows.table import FlowTable

#: longer than the way around the earth; satellite and mobile networks take as long
SLOW_NS = SECOND_NS * 3 // 10
#: longer than a geostationary satellite takes there and back (0.6 s); and SYNs begin to be repeated
TOO_SLOW_NS = SECOND_NS
#: measured handshakes of a listener; fewer may be one client's bad path
MIN_COUNT = 5
#: share of a listener's measured handshakes
MIN_SHARE = 0.5


#: a slow flow: its number, SYN → SYN+ACK and SYN+ACK → ACK in ns
SlowFlow = tuple[int, int, int]


def look(index: Index) -> Iterator[Finding]:
    """One finding a listener; those beyond the first few share one."""
    slow = {key: count for key, count in index.ask(SlowCounts()).items() if count >= MIN_COUNT}
    if not slow:
        return
    measured = index.ask(Measured(frozenset(slow)))
    chosen = frozenset(key for key, count in slow.items() if count >= MIN_SHARE * measured[key])
    groups = sorted(index.ask(SlowAt(chosen)).items(), key=lambda group: (-len(group[1]), group[1][0]))
    for key, flows, others in places(groups):
        yield _finding(index, key, flows, others)


def _slow(table: FlowTable) -> Iterator[tuple[int, ListenerKey]]:
    """The places of slow flows in the facts, and their listeners."""
    for place, total in enumerate(round_trips(table.flat)):
        if total >= SLOW_NS:
            yield place, table.facts.listener(place)


class SlowCounts(NamedTuple):
    """How many handshakes of each listener were slow."""

    def of(self, table: FlowTable) -> Counter[ListenerKey]:
        return Counter(key for _, key in _slow(table))

    def joined(self, answers: Sequence[Counter[ListenerKey]]) -> Counter[ListenerKey]:
        return sum(answers, Counter())


class Measured(NamedTuple):
    """How many handshakes of those listeners were measured."""

    listeners: frozenset[ListenerKey]

    def of(self, table: FlowTable) -> Counter[ListenerKey]:
        column = table.facts.column
        hosts = map(host_key, column("r_hi"), column("r_lo"))
        keys = zip(hosts, column("r_port"), column("scope"), strict=True)
        return Counter(key for key in compress(keys, round_trips(table.flat)) if key in self.listeners)

    def joined(self, answers: Sequence[Counter[ListenerKey]]) -> Counter[ListenerKey]:
        return sum(answers, Counter())


class SlowAt(NamedTuple):
    """The slow flows of those listeners, in order."""

    listeners: frozenset[ListenerKey]

    def of(self, table: FlowTable) -> dict[ListenerKey, list[SlowFlow]]:
        found: dict[ListenerKey, list[SlowFlow]] = {}
        for place, key in _slow(table):
            if key in self.listeners:
                number, *halves = (
                    table.facts.value(place, name) for name in ("number", "responder_rtt_ns", "originator_rtt_ns")
                )
                to_server, to_client = (0 if half == NO_VALUE else half for half in halves)
                found.setdefault(key, []).append((number, to_server, to_client))
        return found

    def joined(self, answers: Sequence[dict[ListenerKey, list[SlowFlow]]]) -> dict[ListenerKey, list[SlowFlow]]:
        found: dict[ListenerKey, list[SlowFlow]] = {}
        for answer in answers:
            for key, flows in answer.items():
                found.setdefault(key, []).extend(flows)
        return {key: sorted(flows) for key, flows in found.items()}


def _finding(index: Index, key: ListenerKey | None, flows: list[SlowFlow], others: int) -> Finding:
    from statistics import median  # its imports cost every start

    to_server = median([to_server for _, to_server, _ in flows])
    to_client = median([to_client for _, _, to_client in flows])
    half = "server" if to_server >= to_client else "client"
    where = wording.many(others, "other listener") if key is None else wording.listener(key)
    total = int(to_server + to_client)
    return make(
        index,
        CAUSE.name,
        index.named([number for number, _, _ in flows]),
        count=len(flows),
        severity="warning" if total >= TOO_SLOW_NS else "info",
        confidence="high",
        summary=f"handshakes of {where} take {wording.span(total)}: the slow half is between the capture point and the"
        f" {half}{'s' if half == 'client' else ''} ({wording.many(len(flows), 'connection')})",
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
    asks=lambda capture, end_ns, timers: (SlowCounts(),),
)
