"""One connection captured twice under two addresses: both sides of a NAT, a container and its host, a bridge's port.

Looks at flows that share the sequence numbers both ends began with (a NAT changes addresses and ports, never those)
and began at the same time. The second sight of each is claimed, so that no failure counts as two.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.counting import met_again
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import SECOND_NS, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows import facts as f

#: between both sights of a SYN: what a host adds on the way through, and clocks of merged captures
MAX_APART_NS = SECOND_NS
#: sights of one connection (container, bridge, host, balancer); more flows with one number number all alike (floods)
MAX_SIGHTS = 4

_BEGINS = f.SYN_SEEN | f.SYNACK_SEEN


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    pairs = _pairs(index)
    if not pairs:
        return
    seconds = sorted(second for _, second in pairs)
    first, second = pairs[0]
    failed = sum(1 for row in seconds if not index.fact(row, "bits") & f.COMPLETE)
    evidence = [
        f"the same initial sequence numbers, at most {wording.span(_widest_ns(index, pairs))} apart:"
        f" {wording.flow(index, first)} is {wording.flow(index, second)}",
        f"counted once in what follows; {failed:,} of them did not complete",
    ]
    yield make(
        index,
        CAUSE.name,
        seconds,
        severity="info",
        confidence="high" if any(index.fact(row, "bits") & f.SYNACK_SEEN for row in seconds) else "medium",
        summary=f"{wording.many(len(pairs), 'connection')} seen twice, before and behind a NAT, bridge or balancer",
        evidence=evidence,
        confirm="`conntrack -L` on the translating host shows both addresses in one line",
        advice=advise("capture on one side of it, or filter on one of the two addresses, to count each once"),
    )


def _pairs(index: Index) -> list[tuple[int, int]]:
    """(first, second sight) of each connection, as rows."""
    column = index.table.facts.column
    begun = array(
        "Q", (isn if bits & _BEGINS else 0 for isn, bits in zip(column("o_isn"), column("bits"), strict=True))
    )
    groups = met_again(begun, MAX_SIGHTS)
    pairs = []
    for places in groups:
        rows = sorted(index.rows_of(places), key=lambda row: index.fact(row, "first_ns"))
        pairs += [(rows[0], row) for row in rows[1:] if _same(index, rows[0], row)]
    return sorted(pairs)


def _same(index: Index, one: int, other: int) -> bool:
    def differs(name: str) -> bool:
        return index.fact(one, name) != index.fact(other, name)

    if not any(map(differs, ("o_hi", "o_lo", "r_hi", "r_lo", "r_port", "scope"))):
        return False  # no NAT changes the client's port alone
    if index.fact(other, "first_ns") - index.fact(one, "first_ns") > MAX_APART_NS or differs("o_syn_tsval"):
        return False
    both = index.fact(one, "bits") & index.fact(other, "bits")
    if both & f.SYNACK_SEEN:
        return not differs("r_isn")
    # Without the responder's number a time stamp, or a port that only one kind of NAT changes, has to do.
    return bool(index.fact(one, "o_syn_tsval")) or not (differs("r_port") or differs("o_port"))


def _widest_ns(index: Index, pairs: list[tuple[int, int]]) -> int:
    return max(index.fact(second, "first_ns") - index.fact(first, "first_ns") for first, second in pairs)


CAUSE = Cause(
    name="seen_twice",
    title="one connection captured under two addresses",
    threshold=f"one: the same initial sequence numbers within {MAX_APART_NS // SECOND_NS} s",
    weakened_by=(),
    look=look,
)
