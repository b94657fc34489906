"""Wrong TCP checksums that are no error: the capturing host leaves them to its network card.

Linux leaves the pseudo-header's sum in the field, which tells; other systems leave anything, and there it tells that
offload spares hardly a segment. A host whose others are right has had these damaged (`damaged_segments`).
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make

#: share of a host's segments with a wrong checksum; a host that offloads gets some right by chance or by RSTs
MIN_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    capture = index.capture
    index.damaged = _by_host(index) if capture.bad_checksums > capture.partial_checksums else {}
    offloading = [host for host, (bad, sent) in index.damaged.items() if bad >= MIN_SHARE * sent]
    bad = capture.partial_checksums + sum(index.damaged.pop(host)[0] for host in offloading)
    if not bad:
        return
    evidence = ["their receivers answered them" if index.two_way else "no answer to them is in the capture"]
    if capture.partial_checksums:
        evidence.append(f"{capture.partial_checksums:,} hold the sum of the pseudo-header, as Linux leaves it")
    if offloading:
        evidence.append(f"the others are all or most segments of {wording.hosts(offloading)}")
    yield make(
        index,
        CAUSE.name,
        [],
        severity="info",
        confidence="high" if index.two_way else "medium",
        count=bad,
        summary=f"{wording.many(bad, 'segment')} of {capture.segments:,} carry an unfinished checksum: transmit"
        " offload, not an error",
        evidence=evidence,
        confirm="`ethtool -k INTERFACE | grep tx-checksum` on the capturing host (the filter needs Wireshark's"
        " checksum validation, tcp.check_checksum, switched on)",
        advice=advise(
            "nothing to do; such segments count here like any other, while a tool that leaves them out (Zeek"
            " without -C) loses the connections"
        ),
        wireshark_filter="tcp.checksum.status == 0",
    )


def _by_host(index: Index) -> dict[Host, tuple[int, int]]:
    """Hosts that sent wrong checksums → how many, and segments they sent in all."""
    column = index.table.facts.column
    counts: dict[Host, list[int]] = {}
    for side in ("o_", "r_"):
        facts = zip(column(side + "hi"), column(side + "lo"), column(side + "bad_checksums"), strict=True)
        for high, low, bad in facts:
            if bad:
                counts.setdefault((high, low), [0, 0])[0] += bad
    for side in ("o_", "r_"):
        facts = zip(column(side + "hi"), column(side + "lo"), column(side + "packets"), strict=True)
        for high, low, packets in facts:
            if (high, low) in counts:
                counts[high, low][1] += packets
    return {host: (bad, sent) for host, (bad, sent) in counts.items()}


CAUSE = Cause(
    name="checksum_offload",
    title="checksums left to the network card",
    threshold=f"one that holds the pseudo-header's sum; any wrong sum in {MIN_SHARE:.0%} of a host's segments",
    weakened_by=(),
    look=look,
)
