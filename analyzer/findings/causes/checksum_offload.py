"""Wrong TCP checksums that are no error: the capturing host leaves them to its network card.

Linux leaves the pseudo-header's sum in the field, which tells; other systems leave anything, and there it tells that
offload spares hardly a segment. A host whose others are right has had these damaged (`damaged_segments`), but only
where they had to be sent again: what its receiver took was right when it arrived, and was changed for the capture.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.counting import Hosts, checksums, sums, sums_together
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make
from analyzer.findings.view import CaptureView
from analyzer.flows.table import FlowTable

#: share of a host's segments with a wrong checksum; a host that offloads gets some right by chance or by RSTs
MIN_SHARE = 0.5


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    capture = index.capture
    offloading = taken = Hosts(0, [])
    if _unexplained(capture):
        offloading, index.damaged, taken = checksums(index.ask(Sums()), MIN_SHARE, wording.MAX_NAMED)
    bad = capture.bad_checksums - sum(lost for lost, _ in index.damaged.values())
    if not bad:
        return
    evidence = ["their receivers answered them" if index.two_way else "no answer to them is in the capture"]
    if capture.partial_checksums:
        evidence.append(f"{capture.partial_checksums:,} hold the sum of the pseudo-header, as Linux leaves it")
    if offloading.number:
        evidence.append(f"all or most segments of {wording.some_hosts(offloading)}")
    if taken.number:
        evidence.append(
            f"single segments of {wording.some_hosts(taken)}, which never came again: a capture that was edited, or"
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
        + ("a wrong" if taken.number and not offloading.number and not capture.partial_checksums else "an unfinished")
        + " checksum that is no error: transmit offload"
        + (", or an edited capture" if taken.number else ""),
        evidence=evidence,
        confirm="`ethtool -k INTERFACE | grep tx-checksum` on the capturing host (the filter needs Wireshark's"
        " checksum validation, tcp.check_checksum, switched on)",
        advice=advise(
            "nothing to do; such segments count here like any other, while a tool that leaves them out (Zeek"
            " without -C) loses the connections"
        ),
        wireshark_filter="tcp.checksum.status == 0",
    )


def _unexplained(capture: CaptureView) -> bool:
    """Whether wrong sums are more than Linux leaves to its card."""
    return capture.bad_checksums > capture.partial_checksums


class Sums(NamedTuple):
    """The checksums of each host, as `counting.sums` gives them."""

    def of(self, table: FlowTable) -> array[int]:
        return sums(table.flat)

    def joined(self, answers: Sequence[array[int]]) -> array[int]:
        return answers[0] if len(answers) == 1 else sums_together(answers)


CAUSE = Cause(
    name="checksum_offload",
    title="checksums left to the network card",
    threshold=f"one that holds the pseudo-header's sum; any wrong sum in {MIN_SHARE:.0%} of a host's segments",
    weakened_by=(),
    look=look,
    asks=lambda capture, end_ns, timers: (Sums(),) if _unexplained(capture) else (),
)
