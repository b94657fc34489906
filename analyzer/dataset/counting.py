"""Sockets of a data set by state, counted by the workers that tracked it: counts come together, and who listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.dataset.judging import Judged, Shards
from analyzer.sockets import Counts, Steps, counted, steps


def counts_over(
    shards: Shards, instants: Sequence[int], host: str | None = None, *, ports: Sequence[int] = ()
) -> Iterator[Counts]:
    """What `sockets.counts_over` gives of the selected flows of all shards."""
    whole = Steps({}, {})
    for part in shards.each(changes, rest=(instants, host, ports)):
        whole.add(part)
    return counted(whole, instants)


def changes(shard: Judged, instants: Sequence[int], host: str | None, ports: Sequence[int]) -> Steps:
    """How the counts of a shard change, on its worker."""
    return steps(shard.table, instants, host, rows=shard.rows, ports=ports)
