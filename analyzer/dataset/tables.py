"""The flow table of a data set, written by the workers that tracked it: a Parquet file for what was tracked together.
Rows never leave their worker.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from analyzer.dataset import is_url
from analyzer.dataset.cluster import Progress
from analyzer.dataset.judging import Judged, judged, table_of_none
from analyzer.dataset.store import Store
from analyzer.engine import Options, Result
from analyzer.errors import OutputError
from analyzer.flows.table import FlowTable
from analyzer.selection import Selection
from analyzer.tcp.timers import Timers


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
    out = Store(target if is_url(target) else os.path.abspath(target))
    check_empty(out)
    with judged(root, options, scheduler, timers, selection, progress) as shards:
        parts = [f"flows-{shard:02}.parquet" for shard in range(len(shards))]
        try:
            if not any(shards.each(write_shard, parts, rest=(columns, out))):
                write_rows(table_of_none(shards), (), parts[0], columns, out)  # a table without rows has its columns
        except BaseException:
            for part in parts:
                out.remove(part)
            raise
        return shards.whole


def check_empty(out: Store) -> None:
    """Raise OutputError where something else is there: rows of two tables must not mix."""
    there = out.root
    if not is_url(there) and os.path.exists(there) and (not os.path.isdir(there) or os.listdir(there)):
        raise OutputError(f"{there} is there already: with --scheduler, parquet is a new directory of files")
    if is_url(there) and out.names(""):
        raise OutputError(f"{there} holds Parquet files already; name another place")


def write_shard(shard: Judged, part: str, columns: tuple[str, ...], out: Store) -> int:
    """Write the selected rows of a shard, on its worker; how many. One without rows gets no file."""
    if len(shard.rows):
        write_rows(shard.table, shard.rows, part, columns, out)
    return len(shard.rows)


def write_rows(table: FlowTable, rows: Sequence[int], part: str, columns: tuple[str, ...], out: Store) -> None:
    """Write rows of a table as the file `part`."""
    from analyzer.report import parquet

    with out.appearing(part) as path, open(path, "wb") as file:
        parquet.write(file, table, rows, columns)
