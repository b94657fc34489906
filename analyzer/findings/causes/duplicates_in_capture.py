"""The same packet captured twice: `-i any`, a mirror port that copies both directions, a bridge and its ports."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import Cause, Finding
from analyzer.findings.index import Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make

#: share of all segments; below it copies may come from the network itself
MIN_SHARE = 0.01


def look(index: Index) -> Iterator[Finding]:
    """One finding for the whole capture."""
    segments = index.capture.segments
    if not index.duplicates or index.duplicates < MIN_SHARE * segments:
        return
    share = f" ({index.duplicates / segments:.0%} of all)" if segments else ""
    yield make(
        index,
        CAUSE.name,
        index.duplicated,
        severity="info",
        confidence="high",
        count=index.duplicates,
        summary=f"{wording.many(index.duplicates, 'segment')}{share} captured twice: copies, not retransmissions",
        evidence=[f"in {wording.many(len(index.duplicated), 'connection')}, with the same IP identification or stamp"],
        confirm="was it captured on `any`, on a mirror port for both directions, or on a bridge and its port?",
        advice=advise("capture on one interface, or remove copies with `editcap -d`; verdicts here leave them out"),
        claim=False,
    )


CAUSE = Cause(
    name="duplicates_in_capture",
    title="packets captured twice",
    threshold=f"{MIN_SHARE:.0%} of all segments",
    weakened_by=(),
    look=look,
)
