"""Segments with a wrong checksum from hosts whose others are right: damaged on the way, and dropped on arrival.

Looks at what `checksum_offload` left over. A damaged segment is a lost one, though the capture shows it: the ACK that
"was ignored" may have been one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.table import FlowTable

#: share of a host's segments; every path damages one in a million, a broken one many
MIN_SHARE = 0.001
#: fewer say nothing about a share
MIN_COUNT = 3


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    if not index.damaged:
        return
    bad = sum(count for count, _ in index.damaged.values())
    sent = sum(packets for _, packets in index.damaged.values())
    flows = index.ask(DamagedOf(frozenset(index.damaged)))
    many = bad >= MIN_COUNT and bad >= MIN_SHARE * sent
    yield make(
        index,
        CAUSE.name,
        index.named(flows),
        severity="warning" if many else "info",
        confidence="high" if many else "medium",
        count=bad,
        summary=f"{wording.many(bad, 'segment')} of {wording.hosts(index.damaged)} arrived damaged (wrong checksum),"
        f" {sent - bad:,} others are right: their receiver drops them",
        evidence=[f"in {wording.many(len(flows), 'connection')}; what such a segment said is taken here as received"],
        confirm="`nstat -az TcpInCsumErrors` on the receiver; error counters of cards and switches on the way",
        advice=advise(
            "look for a bad cable, memory or card, or a device that rewrites packets and forgets the checksum"
        ),
        claim=False,
        wireshark_filter="tcp.checksum.status == 0",
    )


class DamagedOf(NamedTuple):
    """The flows with wrong checksums of which one end is one of those hosts, by number."""

    hosts: frozenset[Host]

    def of(self, table: FlowTable) -> list[int]:
        column = table.facts.column
        sums = zip(column("o_bad_checksums"), column("r_bad_checksums"), strict=True)
        return sorted(
            table.facts.value(place, "number")
            for place, (one, other) in enumerate(sums)
            if (one or other) and any(table.facts.host(place, end) in self.hosts for end in ("o_", "r_"))
        )

    def joined(self, answers: Sequence[list[int]]) -> list[int]:
        return [*merge(*answers)]


CAUSE = Cause(
    name="damaged_segments",
    title="segments damaged on the way",
    threshold=f"one for notice; {MIN_COUNT} and {MIN_SHARE:.1%} of the sender's segments for a warning",
    weakened_by=(),
    look=look,
)
