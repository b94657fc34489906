"""One connection captured twice under two addresses: both sides of a NAT, a container and its host, a bridge's port.

Looks at flows that share the sequence numbers both ends began with (a NAT changes addresses and ports, never those)
and began at the same time. The second sight of each is claimed, so that no failure counts as two.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.counting import first_numbers, met_again
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import SECOND_NS, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows import facts as f
from analyzer.flows.facts import INDEX, WIDTH
from analyzer.flows.packed import gathered
from analyzer.flows.table import FlowTable

#: between both sights of a SYN: what a host adds on the way through, and clocks of merged captures
MAX_APART_NS = SECOND_NS
#: sights of one connection (container, bridge, host, balancer); more flows with one number number all alike (floods)
MAX_SIGHTS = 4

#: what tells whether two flows are one, in the order in which a row of `Sights.parts` has it
_NEEDED = (
    *("o_isn", "bits", "number", "first_ns", "o_syn_tsval", "r_isn"),
    *("o_hi", "o_lo", "r_hi", "r_lo", "o_port", "r_port", "scope"),
)
_WIDTH = len(_NEEDED)


class Flow(NamedTuple):
    """One row of them."""

    o_isn: int
    bits: int
    number: int
    first_ns: int
    o_syn_tsval: int
    r_isn: int
    o_hi: int
    o_lo: int
    r_hi: int
    r_lo: int
    o_port: int
    r_port: int
    scope: int


class Pair(NamedTuple):
    """Two sights of one connection: the flow numbers of both, and the bits of the second."""

    first: int
    second: int
    bits: int
    apart_ns: int


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    pairs = index.ask(Sights())
    if not pairs:
        return
    seconds = sorted(pair.second for pair in pairs)
    first, second = index.named(pairs[0][:2])
    failed = sum(1 for pair in pairs if not pair.bits & f.COMPLETE)
    evidence = [
        f"the same initial sequence numbers, at most {wording.span(max(pair.apart_ns for pair in pairs))} apart:"
        f" {wording.flow(index, first)} is {wording.flow(index, second)}",
        f"counted once in what follows; {failed:,} of them did not complete",
    ]
    index.claim_flows(seconds)
    yield make(
        index,
        CAUSE.name,
        index.named(seconds),
        count=len(seconds),
        claim=False,
        severity="info",
        confidence="high" if any(pair.bits & f.SYNACK_SEEN for pair in pairs) else "medium",
        summary=f"{wording.many(len(pairs), 'connection')} seen twice, before and behind a NAT, bridge or balancer",
        evidence=evidence,
        confirm="`conntrack -L` on the translating host shows both addresses in one line",
        advice=advise("capture on one side of it, or filter on one of the two addresses, to count each once"),
    )


class Sights(NamedTuple):
    """All pairs of sights, in order. Two of one connection lie in any two shards: `parts` brings those together that
    may be a pair, in as many `ways` as there are to be parts, and `met` finds the pairs of one."""

    def of(self, table: FlowTable) -> list[Pair]:
        groups = met_again(first_numbers(table.flat), MAX_SIGHTS)
        return self.met([_rows(table, sorted(place for group in groups for place in group))])

    def parts(self, table: FlowTable, ways: int) -> list[array[int]]:
        places: list[list[int]] = [[] for _ in range(ways)]
        for place, isn in enumerate(first_numbers(table.flat)):
            if isn:
                places[isn * ways >> 32].append(place)
        return [_rows(table, each) for each in places]

    def met(self, parts: Sequence[array[int]]) -> list[Pair]:
        rows = array("Q")
        for part in parts:
            rows.extend(part)
        pairs = []
        for group in met_again(rows[::_WIDTH], MAX_SIGHTS):
            flows = [Flow(*rows[at * _WIDTH : (at + 1) * _WIDTH]) for at in group]
            first, *others = sorted(flows, key=lambda flow: (flow.first_ns, flow.number))
            pairs += [
                Pair(first.number, other.number, other.bits, other.first_ns - first.first_ns)
                for other in others
                if _same(first, other)
            ]
        return sorted(pairs)

    def joined(self, answers: Sequence[list[Pair]]) -> list[Pair]:
        return sorted(pair for answer in answers for pair in answer)


def _rows(table: FlowTable, places: Sequence[int]) -> array[int]:
    columns = [INDEX[name] for name in _NEEDED]
    return gathered(table.flat, WIDTH, array("Q", places), range(len(places)), columns)


def _same(one: Flow, other: Flow) -> bool:
    if (one.o_hi, one.o_lo, one.r_hi, one.r_lo, one.r_port, one.scope) == (
        *(other.o_hi, other.o_lo, other.r_hi, other.r_lo, other.r_port, other.scope),
    ):
        return False  # no NAT changes the client's port alone
    if other.first_ns - one.first_ns > MAX_APART_NS or one.o_syn_tsval != other.o_syn_tsval:
        return False
    if one.bits & other.bits & f.SYNACK_SEEN:
        return one.r_isn == other.r_isn
    # Without the responder's number a time stamp, or a port that only one kind of NAT changes, has to do.
    return bool(one.o_syn_tsval) or (one.r_port, one.o_port) == (other.r_port, other.o_port)


CAUSE = Cause(
    name="seen_twice",
    title="one connection captured under two addresses",
    threshold=f"one: the same initial sequence numbers within {MAX_APART_NS // SECOND_NS} s",
    weakened_by=(),
    look=look,
    asks=lambda capture, end_ns, timers: (Sights(),),
)
