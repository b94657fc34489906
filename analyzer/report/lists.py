"""Counts of the verdicts, and the three lists of a report: which flows are in each.

Owns membership only; why a flow is in a list is told by `why`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from analyzer.flows import columns, verdict
from analyzer.flows.table import FlowTable


class Lists(NamedTuple):
    """Rows of a table, in order of flow number, and how many flows got each verdict (only those that occur)."""

    handshake: dict[str, int]
    close: dict[str, int]
    incomplete_handshakes: list[int]
    half_closed: list[int]
    synack_retransmissions: list[int]


def make_lists(table: FlowTable, rows: Sequence[int]) -> Lists:
    """Judge the flows in `rows`, once for all that are alike (a flood has few kinds)."""
    close_facts = columns.BY_NAME["close"].facts

    def chosen(*names: str) -> list[array[int]]:
        whole = [table.raw(name) for name in names]
        return whole if len(rows) == len(table) else [array("Q", [column[row] for row in rows]) for column in whole]

    (bits,) = chosen("bits")
    handshakes: Counter[str] = Counter()
    incomplete: set[int] = set()
    for kind, count in Counter(bits).items():
        word = verdict.handshake(kind)
        handshakes[word] += count
        if word in verdict.INCOMPLETE:
            incomplete.add(kind)
    facts = chosen(*close_facts)
    closes: Counter[str] = Counter()
    half_closed = set()
    examples = dict(zip(zip(*facts, strict=True), rows, strict=True))
    for alike, count in Counter(zip(*facts, strict=True)).items():
        word = columns.close(table, examples[alike])
        closes[word] += count
        if word == "half_closed":
            half_closed.add(alike)
    again = chosen("o_synack_retransmissions", "r_synack_retransmissions")
    return Lists(
        {word: handshakes[word] for word in verdict.HANDSHAKES if word in handshakes},
        {word: closes[word] for word in verdict.CLOSES if word in closes},
        [row for row, kind in zip(rows, bits, strict=True) if kind in incomplete],
        [row for row, alike in zip(rows, zip(*facts, strict=True), strict=True) if alike in half_closed],
        [row for row, o_again, r_again in zip(rows, *again, strict=True) if o_again or r_again],
    )
