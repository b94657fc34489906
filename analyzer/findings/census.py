"""`Census`: what an index has counted of its flows, for one that has not all of them at hand.

Owns the shape, and how those of several shards are one. Flows are spoken of by number.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple


class Census(NamedTuple):
    """`listeners` and `sources` as `counting` tells them; `lists`: flow numbers by name of the list, in order."""

    flows: int
    listeners: list[tuple[tuple[bytes, int, int], tuple[int, int, int, int]]]
    sources: array[int]
    duplicates: int
    both_closed: int
    two_way: int
    flags_only: bool
    lists: dict[str, array[int]]


def united(parts: Sequence[Census]) -> Census:
    """What was counted of the flows of all parts; the same listener or source may come more than once."""
    sources = array("Q")
    for part in parts:
        sources.extend(part.sources)
    return Census(
        flows=sum(part.flows for part in parts),
        listeners=[listener for part in parts for listener in part.listeners],
        sources=sources,
        duplicates=sum(part.duplicates for part in parts),
        both_closed=sum(part.both_closed for part in parts),
        two_way=sum(part.two_way for part in parts),
        flags_only=all(part.flags_only for part in parts),
        lists={name: array("Q", sorted(one for part in parts for one in part.lists[name])) for name in parts[0].lists},
    )
