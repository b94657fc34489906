"""The report as one document of plain values: what `report --json` prints.

Owns its shape, which programs rely on: `capture`, `summary`, `findings`, the three lists, and the `listeners`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from analyzer.aside import MAX_PORTIONS, Make, aside
from analyzer.flows.rendering import records
from analyzer.flows.table import FlowTable
from analyzer.garbage import uncollected
from analyzer.report import why
from analyzer.report.jsontext import objects
from analyzer.report.reported import LISTENERS

if TYPE_CHECKING:
    from analyzer.report.reported import Reported

#: list entries that take longer than to start a process
WORTH_A_PROCESS = 2000
#: of them made together: fewer, and what they have alike is worked out too often
LEAST_PORTION = 500


class Reason(Protocol):
    """Why a flow is in a list, in words."""

    def __call__(self, table: FlowTable, row: int, weak: why.Weakness) -> str: ...


def document(analysis: Reported, listed: int | None = None) -> dict[str, Any]:
    """Everything that a report says. List entries are whole records with a `why`; `listed` of each list at most."""
    return {
        **_head(analysis),
        **{name: list(_entries(analysis, rows[:listed], reason)) for name, rows, reason in _lists(analysis)},
        "listeners": _listeners(analysis),
    }


@uncollected()
def write(out: TextIO, analysis: Reported) -> None:
    """The document as JSON, a list entry at a time: a flood's lists are longer than memory likes."""
    lists = _lists(analysis)
    many = sum(len(rows) for _, rows, _ in lists) >= WORTH_A_PROCESS and analysis.options.jobs != 1
    with aside(_portions(analysis, lists), worth_it=many) as tables:
        head = _head(analysis)
        out.write("{\n")
        for name, value in head.items():
            out.write(f" {json.dumps(name)}: {json.dumps(value, indent=1)},\n")
        for text in tables():
            out.write(text)
        out.write("\n}\n")


def _portions(analysis: Reported, lists: Sequence[tuple[str, Sequence[int], Reason]]) -> list[Make]:
    """The three lists and the listeners, cut so that two processes have work to the end."""
    table, weak = analysis.table, why.Weakness.of(analysis.capture)
    size = max(LEAST_PORTION, -(-sum(len(rows) for _, rows, _ in lists) // (MAX_PORTIONS // 2)))

    def portion(name: str, rows: Sequence[int], reason: Reason, start: int) -> Iterator[str]:
        some = rows[start : start + size]
        entries = objects(table, some, why=partial(reason, table, weak=weak))
        yield from _array(name, entries, begins=start == 0, ends=start + size >= len(rows))
        if start + size >= len(rows):
            yield ",\n"

    made: list[Make] = []
    for name, rows, reason in lists:
        made += [partial(portion, name, rows, reason, start) for start in range(0, max(len(rows), 1), size)]
    return [*made, lambda: _array("listeners", map(json.dumps, _listeners(analysis)))]


def _array(name: str, entries: Iterable[str], *, begins: bool = True, ends: bool = True) -> Iterator[str]:
    """An array and its name, an entry a line; or the part of it that does not begin, or end, it."""
    before = f" {json.dumps(name)}: [\n  " if begins else ",\n  "
    empty = begins
    for entry in entries:
        yield before + entry
        before, empty = ",\n  ", False
    if ends:
        yield f" {json.dumps(name)}: []" if empty else "\n ]"


def summary(analysis: Reported) -> dict[str, Any]:
    """How many flows, how many got each verdict on handshake and close, and the length of the lists."""
    lists = analysis.lists
    return {
        "flows": analysis.selected,
        "handshake": lists.handshake,
        "close": lists.close,
        "incomplete_handshakes": len(lists.incomplete_handshakes),
        "half_closed": len(lists.half_closed),
        "synack_retransmissions": len(lists.synack_retransmissions),
    }


def _head(analysis: Reported) -> dict[str, Any]:
    return {
        "capture": analysis.capture,
        "summary": summary(analysis),
        "findings": [finding._asdict() for finding in analysis.found],
    }


def _listeners(analysis: Reported) -> list[dict[str, Any]]:
    return [listener._asdict() for listener in analysis.listeners[:LISTENERS]]


def _lists(analysis: Reported) -> tuple[tuple[str, Sequence[int], Reason], ...]:
    lists = analysis.lists
    return (
        ("incomplete_handshakes", lists.incomplete_handshakes, why.incomplete),
        ("half_closed", lists.half_closed, why.half_closed),
        ("synack_retransmissions", lists.synack_retransmissions, why.synack_again),
    )


def _entries(analysis: Reported, rows: Sequence[int], reason: Reason) -> Iterator[dict[str, Any]]:
    weak = why.Weakness.of(analysis.capture)
    for row, flow in zip(rows, records(analysis.table, rows), strict=True):
        flow["why"] = reason(analysis.table, row, weak)
        yield flow
