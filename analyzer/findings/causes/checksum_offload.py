"""Wrong TCP checksums that are no error: the capturing host leaves them to its network card.

Linux leaves the pseudo-header's sum in the field, which tells; other systems leave anything, and there it tells that
offload spares hardly a segment. A host whose others are right has had these damaged (`damaged_segments`), but only
where they had to be sent again: what its receiver took was right when it arrived, and was changed for the capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.flows.facts import host_key

#: share of a host's segments with a wrong checksum; a host that offloads gets some right by chance or by RSTs
MIN_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    capture = index.capture
    hosts = _by_host(index) if capture.bad_checksums > capture.partial_checksums else {}
    offloading = {host: None for host, counts in hosts.items() if counts.bad >= MIN_SHARE * counts.sent}
    taken = [host for host, counts in hosts.items() if not counts.lost and host not in offloading]
    index.damaged = {
        host: (counts.lost, counts.sent) for host, counts in hosts.items() if counts.lost and host not in offloading
    }
    bad = capture.bad_checksums - sum(lost for lost, _ in index.damaged.values())
    if not bad:
        return
    evidence = ["their receivers answered them" if index.two_way else "no answer to them is in the capture"]
    if capture.partial_checksums:
        evidence.append(f"{capture.partial_checksums:,} hold the sum of the pseudo-header, as Linux leaves it")
    if offloading:
        evidence.append(f"all or most segments of {wording.hosts(offloading)}")
    if taken:
        evidence.append(
            f"single segments of {wording.hosts(taken)}, which never came again: a capture that was edited, or"
            " a card that joins segments"
        )
    yield make(
        index,
        CAUSE.name,
        [],
        severity="info",
        confidence="high" if index.two_way else "medium",
        count=bad,
        summary=f"{wording.many(bad, 'segment')} of {capture.segments:,} carry "
        + ("a wrong" if taken and not offloading and not capture.partial_checksums else "an unfinished")
        + " checksum that is no error: transmit offload"
        + (", or an edited capture" if taken else ""),
        evidence=evidence,
        confirm="`ethtool -k INTERFACE | grep tx-checksum` on the capturing host (the filter needs Wireshark's"
        " checksum validation, tcp.check_checksum, switched on)",
        advice=advise(
            "nothing to do; such segments count here like any other, while a tool that leaves them out (Zeek"
            " without -C) loses the connections"
        ),
        wireshark_filter="tcp.checksum.status == 0",
    )


class Counts(NamedTuple):
    """Segments of a host: with a wrong checksum, of those the ones that had to be sent again, and all."""

    bad: int
    lost: int
    sent: int


def _by_host(index: Index) -> dict[Host, Counts]:
    """Hosts that sent wrong checksums, by address."""
    column = index.table.facts.column
    counts: dict[Host, list[int]] = {}
    for side in ("o_", "r_"):
        hosts = map(host_key, column(side + "hi"), column(side + "lo"))
        numbers = (column(side + name) for name in ("bad_checksums", "retransmissions", "packets"))
        for host, bad, again, packets in zip(hosts, *numbers, strict=True):
            count = counts.get(host)
            if count is None:
                count = counts[host] = [0, 0, 0]
            count[2] += packets
            if bad:
                count[0] += bad
                if again >= bad:
                    count[1] += bad
    return {host: Counts(*counts[host]) for host in sorted(counts) if counts[host][0]}


CAUSE = Cause(
    name="checksum_offload",
    title="checksums left to the network card",
    threshold=f"one that holds the pseudo-header's sum; any wrong sum in {MIN_SHARE:.0%} of a host's segments",
    weakened_by=(),
    look=look,
)
