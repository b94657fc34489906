"""Flows as Parquet, with the types that pandas has them in.

Owns the size of its row groups. Needs pyarrow, an extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from analyzer.errors import OutputError
from analyzer.flows.columns import NAMES
from analyzer.flows.table import FlowTable

try:
    import pyarrow
    import pyarrow.parquet
except ModuleNotFoundError:
    raise OutputError("parquet is written by pyarrow: pip install 'handshake-analyzer[parquet]'") from None

#: flows a row group: bounds what is held twice while a large table is written
GROUP = 100_000


def arrow(table: FlowTable, rows: Sequence[int], names: Sequence[str] = NAMES) -> pyarrow.Table:
    """The flows in `rows` as a table of pyarrow."""
    from analyzer.dataframes import frame

    data = frame(table, rows, names)
    data = (data.reset_index() if "flow" in names else data.reset_index(drop=True))[list(names)]
    return pyarrow.Table.from_pandas(data, preserve_index=False)


def write(out: BinaryIO, table: FlowTable, rows: Sequence[int], names: Sequence[str]) -> None:
    """Write the flows in `rows`."""
    writer = None
    for start in range(0, max(len(rows), 1), GROUP):
        group = arrow(table, rows[start : start + GROUP], names)
        writer = writer or pyarrow.parquet.ParquetWriter(out, group.schema)
        writer.write_table(group)
    if writer is not None:
        writer.close()
