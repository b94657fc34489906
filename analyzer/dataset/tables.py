"""The flow table of a data set, written by the workers that tracked it: a Parquet file a shard.

Owns what the shards have to tell each other so that each row is that of one process: a number a flow (the packet that
opened it) for the flow numbers, and what flows show of their listeners. Facts and rows never leave their worker.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from analyzer import selection as choosing
from analyzer.dataset import cluster, is_url
from analyzer.dataset.cluster import RETRIES, Progress
from analyzer.dataset.plan import Damaged, make_plan
from analyzer.dataset.store import Store
from analyzer.dataset.tracking import Shard, check_scopes, result
from analyzer.engine import Options, Result
from analyzer.errors import OutputError
from analyzer.flows.evidence import Evidence
from analyzer.flows.facts import INDEX, WIDTH, FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.selection import Selection
from analyzer.tcp.timers import Timers


class Summary(NamedTuple):
    """What the machine that asked gets of one shard."""

    opened: bytes  # the packet at which each of its flows was opened, 64 bits each
    streams: bytes
    counts: dict[str, int]
    last_ns: int
    names: list[str]
    damaged: list[Damaged]
    holes: bool


class View(NamedTuple):
    """How flows are judged and shown: the same in all shards."""

    end_ns: int
    timers: Timers
    scopes: list[str]
    selection: Selection
    columns: tuple[str, ...]


def write(
    root: str,
    target: str,
    options: Options,
    scheduler: str,
    timers: Timers,
    selection: Selection,
    columns: tuple[str, ...],
    progress: Progress | None = None,
) -> Result:
    """Write the selected flows of the data set `root` into `target`, a directory or URL that holds nothing yet.

    The result is without flows. Raises OutputError, ClusterError, CaptureError, UsageError.
    """
    root, target = (name if is_url(name) else os.path.abspath(name) for name in (root, target))
    out = Store(target)
    check_empty(out)
    plan = make_plan(root)
    scoped = check_scopes(plan, options)
    shards = range(plan.settings.shards)
    with cluster.connected(scheduler) as client:

        def each(task: Any, *of_shards: Sequence[Any], rest: tuple[Any, ...] = (), tell: Progress | None = None) -> Any:
            futures = [
                client.submit(task, *mine, *rest, pure=False, retries=RETRIES) for mine in zip(*of_shards, strict=True)
            ]
            found = dict(cluster.finished(client, futures, tell))
            return [found[future] for future in futures]

        planned = client.submit(make_plan, root, pure=False)
        tracked = [
            client.submit(cluster.track_shard, planned, options, scoped, shard, pure=False, retries=RETRIES)
            for shard in shards
        ]
        summaries: list[Summary] = each(summary, tracked, tell=progress)
        whole = _result(plan, summaries)
        numbers = _numbers(summaries)
        view = View(whole.end_ns, timers, summaries[0].names, selection, columns)
        known = Evidence(holes=any(one.holes for one in summaries))
        for shown in each(shown_by, tracked, rest=(view, known)):
            for listener, one in shown.listeners.items():
                known.with_this(listener, one)
        parts = [f"flows-{shard:02}.parquet" for shard in shards]
        try:
            written = each(write_shard, tracked, [one.tobytes() for one in numbers], parts, rest=(view, known, out))
            if not any(written):
                write_rows(FlowFacts(), b"", parts[0], view, known, out)  # a table without rows has its columns
        except BaseException:
            for part in parts:
                out.remove(part)
            raise
    return whole


def check_empty(out: Store) -> None:
    """Raise OutputError where something else is there: rows of two tables must not mix."""
    there = out.root
    if not is_url(there) and os.path.exists(there) and (not os.path.isdir(there) or os.listdir(there)):
        raise OutputError(f"{there} is there already: with --scheduler, parquet is a new directory of files")
    if is_url(there) and out.names(""):
        raise OutputError(f"{there} holds Parquet files already; name another place")


def summary(shard: Shard) -> Summary:
    """On the worker that has the shard."""
    facts = shard.facts
    holes = any(any(facts.column(end + "missing")) for end in ("o_", "r_"))
    opened = facts.column("opened_packet").tobytes()
    return Summary(opened, shard.streams, shard.counts, shard.last_ns, shard.names, shard.damaged, holes)


def shown_by(shard: Shard, view: View, known: Evidence) -> Evidence:
    """What the flows of a shard show of their listeners, on its worker."""
    return FlowTable(shard.facts, view.end_ns, view.timers, view.scopes, known).evidence()


def write_shard(shard: Shard, numbers: bytes, part: str, view: View, known: Evidence, out: Store) -> int:
    """Write the rows of a shard, on its worker; how many. One without rows gets no file."""
    return write_rows(shard.facts, numbers, part, view, known, out) if shard.facts.count else 0


def write_rows(facts: FlowFacts, numbers: bytes, part: str, view: View, known: Evidence, out: Store) -> int:
    """Write the selected flows of `facts`, whose numbers are `numbers`, as the file `part`."""
    from analyzer.report import parquet

    if facts.count:
        facts.rows[INDEX["number"] :: WIDTH] = array("Q", numbers)
    table = FlowTable(facts, view.end_ns, view.timers, view.scopes, known)
    rows = choosing.rows(table, view.selection)
    if len(rows) or not facts.count:
        with out.appearing(part) as path, open(path, "wb") as file:
            parquet.write(file, table, rows, view.columns)
    return len(rows)


def _result(plan: Any, summaries: Sequence[Summary]) -> Result:
    counts: dict[str, int] = {}
    for one in summaries:
        for name, count in one.counts.items():
            counts[name] = counts.get(name, 0) + count
    damaged = [each for one in summaries for each in one.damaged]
    return result(plan, FlowFacts(), counts, max(one.last_ns for one in summaries), summaries[0].names, damaged)


def _numbers(summaries: Sequence[Summary]) -> list[Any]:
    """The flow numbers of each shard, as `tcp.sharding.number_flows` gives them."""
    import numpy

    opened = [numpy.frombuffer(one.opened, dtype=numpy.uint64) for one in summaries]
    streams = [numpy.frombuffer(one.streams, dtype=numpy.uint64) for one in summaries]
    events = numpy.concatenate([*opened, *streams])
    events.sort()
    return [numpy.searchsorted(events, mine).astype(numpy.uint64) for mine in opened]
