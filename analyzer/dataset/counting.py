"""Sockets of a data set by state, counted by the workers that tracked it: counts come together, and who listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.dataset.judging import Judged, Shards
from analyzer.flows.evidence import Evidence, Listener
from analyzer.flows.table import FlowTable
from analyzer.sockets import Counts, Steps, counted, steps


def counts_over(
    shards: Shards, instants: Sequence[int], host: str | None = None, *, ports: Sequence[int] = ()
) -> Iterator[Counts]:
    """What `sockets.counts_over` gives of the selected flows of all shards."""
    answers: dict[Listener, list[int]] = {}
    doubted: set[Listener] = set().union(*shards.each(doubts))
    for some in shards.each(answered, rest=(doubted,)) if doubted else ():
        for listener, times in some.items():
            answers.setdefault(listener, []).extend(times)
    whole = Steps({}, {})
    for part in shards.each(changes, rest=(instants, host, ports, {key: sorted(answers[key]) for key in answers})):
        whole.add(part)
    return counted(whole, instants)


# --- on workers --------------------------------------------------------------------------------------------------


def doubts(shard: Judged) -> set[Listener]:
    """The listeners whose answers in other shards decide states in this one."""
    return shard.table.doubted()


def answered(shard: Judged, listeners: set[Listener]) -> dict[Listener, list[int]]:
    """When those answered first SYNs."""
    return shard.table.answers(listeners)


def changes(
    shard: Judged, instants: Sequence[int], host: str | None, ports: Sequence[int], answers: dict[Listener, list[int]]
) -> Steps:
    """The counts of a shard."""
    table, rows = shard
    known = Evidence(table.known.listeners, holes=table.known.holes, answers=answers)
    settled = FlowTable(table.facts, table.end_ns, table.timers, table.scopes, known)
    return steps(settled, instants, host, rows=rows, ports=ports)
