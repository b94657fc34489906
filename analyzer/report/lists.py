"""Counts of the verdicts, and the three lists of a report: which flows are in each.

Owns membership only; why a flow is in a list is told by `why`.
"""

from __future__ import annotations

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
    """Judge the flows in `rows`: those without a FIN by their bits, once for all alike (a flood has few kinds)."""
    bits, o_fins, r_fins = table.raw("bits"), table.raw("o_fins"), table.raw("r_fins")
    o_again, r_again = table.raw("o_synack_retransmissions"), table.raw("r_synack_retransmissions")
    handshakes: Counter[str] = Counter()
    closes: Counter[str] = Counter()
    incomplete: set[int] = set()
    for kind, count in Counter([bits[row] for row in rows]).items():
        word = verdict.handshake(kind)
        handshakes[word] += count
        if word in verdict.INCOMPLETE:
            incomplete.add(kind)
    for kind, count in Counter([bits[row] for row in rows if not (o_fins[row] or r_fins[row])]).items():
        closes[verdict.close(kind, 0, 0)] += count
    half_closed = []
    facts = [table.raw(name) for name in columns.BY_NAME["close"].facts]
    known: dict[tuple[int, ...], str] = {}
    for row in rows:
        if not (o_fins[row] or r_fins[row]):
            continue
        alike = tuple([fact[row] for fact in facts])
        word = known.get(alike) or known.setdefault(alike, columns.close(table, row))
        closes[word] += 1
        if word == "half_closed":
            half_closed.append(row)
    return Lists(
        {word: handshakes[word] for word in verdict.HANDSHAKES if word in handshakes},
        {word: closes[word] for word in verdict.CLOSES if word in closes},
        [row for row in rows if bits[row] in incomplete],
        half_closed,
        [row for row in rows if o_again[row] or r_again[row]],
    )
