"""Counts of the verdicts, and the three lists of a report: which flows are in each.

Owns membership only; why a flow is in a list is told by `why`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from analyzer.flows import verdict
from analyzer.flows.table import FlowTable


class Lists(NamedTuple):
    """Rows of a table, in order of flow number, and how many flows got each verdict (only those that occur)."""

    handshake: dict[str, int]
    close: dict[str, int]
    incomplete_handshakes: list[int]
    half_closed: list[int]
    synack_retransmissions: list[int]


def make_lists(table: FlowTable, rows: Sequence[int]) -> Lists:
    """Judge the flows in `rows`; flows with the same facts are judged once."""
    everything = isinstance(rows, range) and len(rows) == len(table)
    columns = [table.raw(name) for name in ("bits", "o_fins", "r_fins")]
    if not everything:
        columns = [[column[row] for row in rows] for column in columns]  # type: ignore[misc]
    keys = list(zip(*columns, strict=True))
    handshakes: Counter[str] = Counter()
    closes: Counter[str] = Counter()
    wanted: dict[tuple[int, ...], tuple[bool, bool]] = {}
    for key, count in Counter(keys).items():
        handshake, close = verdict.handshake(key[0]), verdict.close(*key)
        handshakes[handshake] += count
        closes[close] += count
        wanted[key] = (handshake in verdict.INCOMPLETE, close == "half_closed")
    again = [table.raw(name) for name in ("o_synack_retransmissions", "r_synack_retransmissions")]
    return Lists(
        {word: handshakes[word] for word in verdict.HANDSHAKES if word in handshakes},
        {word: closes[word] for word in verdict.CLOSES if word in closes},
        [row for row, key in zip(rows, keys, strict=True) if wanted[key][0]],
        [row for row, key in zip(rows, keys, strict=True) if wanted[key][1]],
        [row for row in rows if again[0][row] or again[1][row]],
    )
