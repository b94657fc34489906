"""What changes from one look at a live capture to the next: findings that arise and end, flows that end badly.

Owns the memory between two looks. Takes analyses, gives events as plain values; prints nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from analyzer.findings import Finding
from analyzer.flows import columns
from analyzer.flows.columns import record
from analyzer.flows.table import FlowTable

ABSENT_LOOKS = 2  # a finding at its threshold comes and goes: it has ended when two looks in a row do not show it
MAX_FLOW_EVENTS = 200  # flows named a look: a flood ends hundreds of thousands badly a second; the rest is counted
MAX_REMEMBERED = 131_072  # flows already told of: three looks' worth; beyond it the oldest numbers are forgotten

_WAITS = frozenset(("unanswered", "half_open", "ack_ignored"))  # bad only once nobody waits any more
_BAD_CLOSES = frozenset(("reset", "fin_unacked", "last_ack_missing"))
_PLACE = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-f]*:[0-9a-f:]+\]?)(?::\d+)?")


class Change(NamedTuple):
    """A finding that has arisen or ended, and when on the capture's clock."""

    arose: bool
    at_ns: int
    finding: Finding
    since_ns: int


def identity(finding: Finding) -> tuple[str, str]:
    """What makes it the same finding at the next look: its name, and the first host or listener that it names."""
    place = _PLACE.search(finding.summary)
    return finding.name, place[0] if place else ""


class Findings:
    """Findings of successive looks. `present`: those that hold, in order of weight, with the time since when."""

    def __init__(self) -> None:
        self.present: list[tuple[Finding, int]] = []
        self._known: dict[tuple[str, str], tuple[Finding, int, int]] = {}

    def look(self, findings: Sequence[Finding], at_ns: int) -> list[Change]:
        """What this look changes."""
        changes = []
        now: dict[tuple[str, str], Finding] = {}
        for finding in findings:
            now.setdefault(identity(finding), finding)
        known = {}
        for key, finding in now.items():
            if key in self._known:
                known[key] = (finding, self._known[key][1], 0)
            else:
                known[key] = (finding, at_ns, 0)
                changes.append(Change(True, at_ns, finding, at_ns))
        for key, (finding, since, absent) in self._known.items():
            if key in now:
                continue
            if absent + 1 >= ABSENT_LOOKS:
                changes.append(Change(False, at_ns, finding, since))
            else:
                known[key] = (finding, since, absent + 1)
        self._known = known
        self.present = [(finding, since) for finding, since, _ in known.values()]
        return changes


class Endings:
    """Flows that end badly, each told once."""

    def __init__(self) -> None:
        self._told: dict[int, None] = {}

    def look(self, table: FlowTable) -> tuple[list[int], Counter[str]]:
        """Rows that have ended badly since the last look, `MAX_FLOW_EVENTS` at most, and the others by verdict."""
        rows: list[int] = []
        others: Counter[str] = Counter()
        numbers = table.raw("number")
        for row in range(len(table)):
            if numbers[row] in self._told:
                continue
            word = bad_ending(table, row)
            if word is None:
                continue
            self._told[numbers[row]] = None
            if len(rows) < MAX_FLOW_EVENTS:
                rows.append(row)
            else:
                others[word] += 1
        while len(self._told) > MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
        return rows, others


def bad_ending(table: FlowTable, row: int) -> str | None:
    """The verdict on a flow that is over and did not go well; None for one that goes on or went well."""
    handshake = columns.handshake(table, row)
    if handshake in columns.verdict.INCOMPLETE:
        return None if handshake in _WAITS and table.is_waiting(row) else handshake
    close = columns.close(table, row)
    if close not in _BAD_CLOSES:
        return None
    return None if close != "reset" and table.is_waiting(row) else close


def told_flows(table: FlowTable, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
    """The flows as events."""
    for row in rows:
        yield {"event": "flow", "ended": bad_ending(table, row), **record(table, row)}
