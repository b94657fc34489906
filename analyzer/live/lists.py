"""The lists that a live view shows, as text: listeners, the newest flows of each kind, findings, what has happened.

Owns headings, cells and sort keys. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from analyzer.findings import Finding
from analyzer.flows.columns import record
from analyzer.live.changes import Change
from analyzer.live.moment import Look
from analyzer.live.processes import ENDS_OF_FLOW, Owners, owner_of
from analyzer.report import words


class Shown(NamedTuple):
    """What a view has to show; frozen while it is paused."""

    look: Look | None
    pulses: Sequence[Any]
    states: Sequence[tuple[int, dict[str, dict[str, int]]]]
    findings: Sequence[tuple[Finding, int]]
    past: Sequence[Change]
    owners: Owners
    differences: Sequence[str]


class Entry(NamedTuple):
    """A line: its cells, what they sort by, and what opening it opens: a row of the look's table, or a finding."""

    cells: tuple[str, ...]
    keys: tuple[Any, ...]
    row: int | None = None
    finding: Finding | None = None
    place: str = ""


class List(NamedTuple):
    """A list by name; `right`: columns aligned to the right; `make`: its entries."""

    name: str
    headings: tuple[str, ...]
    right: tuple[int, ...]
    make: Callable[[Shown], list[Entry]]


_OF_FLOW = ("flow", *ENDS_OF_FLOW, "first_ns", "handshake")


def _flow(shown: Shown, row: int, *names: str) -> tuple[dict[str, Any], tuple[str, str, str], tuple[Any, ...]]:
    """The record of a row, and its first three cells and keys."""
    assert shown.look is not None
    flow = record(shown.look.analysis.table, row, (*_OF_FLOW, *names))
    originator = words.endpoint(flow["originator"], flow["originator_port"])
    responder = words.endpoint(flow["responder"], flow["responder_port"])
    return flow, (str(flow["flow"]), originator, responder), (flow["flow"], originator, responder)


def _listeners(shown: Shown) -> list[Entry]:
    made = []
    for one in shown.look.listeners if shown.look else ():
        place = words.endpoint(one.host, one.port)
        numbers = (one.attempts, one.failed, one.half_open, one.close_wait)
        process = shown.owners.get((one.host, one.port, "", 0), "")
        cells = (place, *(f"{number:,}" for number in numbers), process)
        made.append(Entry(cells, (place, *numbers, process), place=place))
    return made


def _incomplete(shown: Shown) -> list[Entry]:
    made = []
    for row in shown.look.incomplete if shown.look else ():
        flow, cells, keys = _flow(shown, row, "syn_count", "synack_count")
        age = shown.look.at_ns - flow["first_ns"] if shown.look else 0
        more = (flow["handshake"], flow["syn_count"], flow["synack_count"], age)
        text = (more[0], str(more[1]), str(more[2]), words.span(max(age, 0)))
        made.append(Entry((*cells, *text), (*keys, *more), row))
    return made


def _half_closed(shown: Shown) -> list[Entry]:
    made = []
    for row in shown.look.half_closed if shown.look else ():
        flow, cells, keys = _flow(shown, row, "closed_by", "half_closed_ns", "originator_state", "responder_state")
        span = flow["half_closed_ns"] or 0
        more = (
            flow["closed_by"],
            span,
            flow["originator_state"],
            flow["responder_state"],
            owner_of(shown.owners, flow),
        )
        made.append(Entry((*cells, more[0], words.span(span), *more[2:]), (*keys, *more), row))
    return made


def _again(shown: Shown) -> list[Entry]:
    made = []
    for row in shown.look.synack_again if shown.look else ():
        flow, cells, keys = _flow(shown, row, "synack_retransmissions", "synack_cause")
        more = (flow["synack_retransmissions"], flow["synack_cause"], flow["handshake"], owner_of(shown.owners, flow))
        made.append(Entry((*cells, str(more[0]), *more[1:]), (*keys, *more), row))
    return made


def _findings(shown: Shown) -> list[Entry]:
    return [
        Entry(
            (one.severity, words.clock(since)[:8], f"{one.count:,}", one.summary),
            (one.severity, since, one.count, one.summary),
            finding=one,
        )
        for one, since in shown.findings
    ]


def _past(shown: Shown) -> list[Entry]:
    made = []
    for change in reversed(shown.past):
        what = "arose" if change.arose else "ended"
        lasted = "" if change.arose else words.span(max(change.at_ns - change.since_ns, 0))
        cells = (words.clock(change.at_ns)[:8], what, lasted, change.finding.summary)
        keys = (change.at_ns, what, change.at_ns - change.since_ns, change.finding.summary)
        made.append(Entry(cells, keys, finding=change.finding))
    return made


_ENDS = ("flow", "originator", "responder")
_COUNTED = ("attempts", "failed", "half open", "close wait")
LISTS = (
    List(
        "listeners", ("listener", "attempts", "failed", "half open", "close wait", "process"), (1, 2, 3, 4), _listeners
    ),
    List("incomplete", (*_ENDS, "verdict", "SYN", "S+A", "age"), (0, 4, 5, 6), _incomplete),
    List("half-closed", (*_ENDS, "closed by", "for", "originator is", "responder is", "process"), (0, 4), _half_closed),
    List("SYN+ACKs", (*_ENDS, "times", "cause", "handshake", "process"), (0, 3), _again),
    List("findings", ("severity", "since", "count", "summary"), (2,), _findings),
    List("history", ("time", "what", "lasted", "finding"), (2,), _past),
)
