"""Data sets: captures decoded once into Parquet files of segments, which every command reads as it reads a capture.

Owns telling a data set from a capture, cheaply: what reads and writes one is imported only then. The parts: `store`
(where files lie), `form` (what is in them), `writing`, `indexing`, `plan` (order and packet numbers over all files),
`reading`, `tracking`, and `cluster` for many machines.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from analyzer.errors import UsageError

#: what makes a directory a data set
MARKER = "dataset.json"


def is_url(name: object) -> bool:
    """Whether fsspec opens it: `s3://…`, `gs://…`, `hdfs://…`."""
    return isinstance(name, str) and "://" in name


def location(sources: Sequence[Any]) -> str | None:
    """The data set that `sources` name, None where they are captures. Raises UsageError where they are both."""
    found = [source for source in sources if _is_dataset(source)]
    if not found:
        return None
    if len(sources) > 1:
        raise UsageError(f"{found[0]} is a data set, read alone; `handshake index` adds captures to it")
    return os.fspath(found[0])


def _is_dataset(source: object) -> bool:
    if is_url(source):
        from analyzer.dataset.store import Store

        return Store(str(source)).exists(MARKER)
    return isinstance(source, (str, os.PathLike)) and os.path.isfile(os.path.join(os.fspath(source), MARKER))
