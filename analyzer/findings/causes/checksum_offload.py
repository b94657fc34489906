"""Wrong TCP checksums that are no error: the capturing host leaves them to its network card."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    bad, segments = index.capture.bad_checksums, index.capture.segments
    if bad:
        yield Finding(
            name=CAUSE.name,
            severity="info",
            confidence="high" if index.two_way else "medium",
            count=bad,
            summary=f"{wording.many(bad, 'segment')} of {segments:,} carry an unfinished checksum:"
            " transmit offload, not an error",
            evidence=["their receivers answered them" if index.two_way else "no answer to them is in the capture"],
            confirm="`ethtool -k INTERFACE | grep tx-checksum` on the capturing host (the filter needs Wireshark's"
            " checksum validation, tcp.check_checksum, switched on)",
            advice=advise(
                "nothing to do; such segments count here like any other, while a tool that leaves them out (Zeek"
                " without -C) loses the connections"
            ),
            flows=[],
            wireshark_filter="tcp.checksum.status == 0",
        )


CAUSE = Cause(
    name="checksum_offload",
    title="checksums left to the network card",
    threshold="one",
    weakened_by=(),
    look=look,
)
