"""Findings of one cause that are many: some of each are shown, and how many more there are is said.

Owns the choice, for reports that people read: thousands of scanners are thousands of findings. Documents for programs
have them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from analyzer.report import words

if TYPE_CHECKING:
    from analyzer.findings import Finding

Found = TypeVar("Found", bound="Finding")


def some_of_each(findings: Sequence[Found], room: int) -> tuple[list[Found], dict[str, int]]:
    """The first `room` findings of every cause, in the order they have; causes that have more, and how many."""
    met: Counter[str] = Counter()
    shown = []
    for finding in findings:
        met[finding.name] += 1
        if met[finding.name] <= room:
            shown.append(finding)
    return shown, {name: count - room for name, count in met.items() if count > room}


def more_of(name: str, count: int) -> str:
    """How many findings of a cause are not shown."""
    return f"… and {words.many(count, 'more finding')} of {name}"
