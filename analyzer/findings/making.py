"""How a cause makes its findings: one shape, claims and bounds included.

Owns the step from rows and words to a `Finding`, and the split into the places that get one of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from analyzer.findings import wording
from analyzer.findings.finding import Finding
from analyzer.findings.index import Index

Key = TypeVar("Key")
Row = TypeVar("Row", bound="int | tuple[int, ...]")


def make(
    index: Index,
    name: str,
    rows: Sequence[int],
    *,
    severity: str,
    confidence: str,
    summary: str,
    evidence: list[str],
    confirm: str,
    advice: str,
    count: int | None = None,
    claim: bool = True,
    wireshark_filter: str | None = None,
) -> Finding:
    """A finding about `rows`, which it claims; its evidence ends with the best examples (the first rows)."""
    if claim:
        index.claim(rows)
    rows = index.selected_first(rows)
    if rows:
        evidence = [*evidence, wording.examples(index, rows)]
    return Finding(
        name=name,
        severity=severity,
        confidence=confidence,
        count=len(rows) if count is None else count,
        summary=summary,
        evidence=evidence,
        confirm=confirm,
        advice=advice,
        flows=wording.numbers(index, rows),
        wireshark_filter=wording.display_filter(index, rows) if wireshark_filter is None else wireshark_filter,
        filter_first=0 if wireshark_filter is not None or len(rows) <= wording.MAX_FILTERED else wording.MAX_FILTERED,
    )


def places(groups: Sequence[tuple[Key, list[Row]]]) -> Iterator[tuple[Key | None, list[Row], int]]:
    """The first MAX_PLACES groups one by one, then all others as one with key None: (key, rows, groups in it).

    A row is one of the index, or what stands for a flow and sorts by its number.
    """
    for key, rows in groups[: wording.MAX_PLACES]:
        yield key, rows, 1
    rest = groups[wording.MAX_PLACES :]
    if rest:
        yield None, sorted(row for _, rows in rest for row in rows), len(rest)
