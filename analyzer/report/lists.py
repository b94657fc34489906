"""Counts of the verdicts, and the three lists of a report: which flows are in each.

Owns membership only; why a flow is in a list is told by `why`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import NamedTuple

from analyzer.flows import columns, verdict
from analyzer.flows.facts import INDEX, WIDTH
from analyzer.flows.packed import Kinds, kinds, of_kinds
from analyzer.flows.table import FlowTable


class Lists(NamedTuple):
    """Rows of a table, in order of flow number, and how many flows got each verdict (only those that occur)."""

    handshake: dict[str, int]
    close: dict[str, int]
    incomplete_handshakes: list[int]
    half_closed: list[int]
    synack_retransmissions: list[int]

    def renamed(self, named: Callable[[int], int]) -> Lists:
        """The same flows by other names than rows of this table."""
        lists = (self.incomplete_handshakes, self.half_closed, self.synack_retransmissions)
        return Lists(self.handshake, self.close, *(list(map(named, rows)) for rows in lists))


def make_lists(table: FlowTable, rows: Sequence[int]) -> Lists:
    """Judge the flows in `rows`, once for all that are alike (a flood has few kinds)."""
    places = table.places(rows)

    def judged(judge: Callable[[FlowTable, int], Hashable], *facts: str) -> _Judged:
        """What `judge` says of the flows, which follows from these facts."""
        found = kinds(table.flat, WIDTH, places, [INDEX[name] for name in facts])
        return _Judged(rows, found, [judge(table, rows[at]) for at in found.first])

    handshakes = judged(columns.handshake, "bits")
    closes = judged(columns.close, *columns.BY_NAME["close"].facts)
    again = judged(
        columns.BY_NAME["synack_retransmissions"].get, "o_synack_retransmissions", "r_synack_retransmissions"
    )
    return Lists(
        handshakes.counted(verdict.HANDSHAKES),
        closes.counted(verdict.CLOSES),
        handshakes.rows_of(verdict.INCOMPLETE),
        closes.rows_of({"half_closed"}),
        again.rows_of(set(again.told) - {0}),
    )


def united(parts: Sequence[Lists]) -> Lists:
    """The lists of all parts, rows of one table all of them."""

    def counted(name: str, words: Sequence[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(getattr(part, name))
        return {word: counts[word] for word in words if word in counts}

    def listed(name: str) -> list[int]:
        return sorted(row for part in parts for row in getattr(part, name))

    return Lists(
        counted("handshake", verdict.HANDSHAKES),
        counted("close", verdict.CLOSES),
        *map(listed, ("incomplete_handshakes", "half_closed", "synack_retransmissions")),
    )


class _Judged(NamedTuple):
    """What is said of the flows in `rows`, by kind."""

    rows: Sequence[int]
    kinds: Kinds
    told: list[Hashable]

    def counted(self, words: Sequence[str]) -> dict[str, int]:
        """How many flows each of the words is said of, less those of none."""
        counter: Counter[Hashable] = Counter()
        for word, count in zip(self.told, self.kinds.counts, strict=True):
            counter[word] += count
        return {word: counter[word] for word in words if word in counter}

    def rows_of(self, wanted: Collection[Hashable]) -> list[int]:
        """The rows of which one of those is said."""
        return [self.rows[at] for at in of_kinds(self.kinds, [word in wanted for word in self.told])]
