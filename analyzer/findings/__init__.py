"""Findings: why connections hang, fail or pile up, in order of weight.

Owns the way from a flow table to findings. Each cause is one file of `causes`; `index` reads the flows once for all.
"""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.findings.causes import CAUSES
from analyzer.findings.finding import Cause, Finding, lowered, weight
from analyzer.findings.index import Elsewhere, Index
from analyzer.findings.view import CaptureView
from analyzer.flows.table import FlowTable
from analyzer.garbage import uncollected

__all__ = ["CAUSES", "CaptureView", "Cause", "Finding", "find"]


def find(
    table: FlowTable,
    capture: CaptureView,
    selected: Sequence[int] | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[Finding]:
    """All findings of a capture, what matters most first.

    `selected`: rows that someone asks about. Where a finding has some of them, they come first among its examples and
    its flows, which are not all listed. `elsewhere`: where flows are that are not in the table; with it, raises
    AbsentError where a finding names one of those.
    """
    # An index is one large web of small objects that all stay: collecting meanwhile costs half as much again.
    with uncollected():
        index = Index(table, capture, selected, elsewhere)
        found = [_doubted(finding, cause, index) for cause in CAUSES for finding in cause.look(index)]
    return sorted(found, key=weight)


def _doubted(finding: Finding, cause: Cause, index: Index) -> Finding:
    """The finding as sure as its capture allows."""
    doubts = [index.doubts[kind] for kind in cause.weakened_by if kind in index.doubts]
    if not doubts:
        return finding
    doubt = f"less sure than it looks, because of the capture: {'; '.join(doubts)}"
    # The examples stay last.
    return finding._replace(
        confidence=lowered(finding.confidence), evidence=[*finding.evidence[:-1], doubt, *finding.evidence[-1:]]
    )
