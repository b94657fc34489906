"""Flows as pandas DataFrames.

Owns the dtype of each kind of column. Raw facts are taken from the table at numpy's speed; what follows from several
facts is asked of `COLUMNS`, flow by flow. The one module of the engine's side that imports pandas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy
import pandas

from analyzer.flows.columns import BY_NAME, NAMES, Column
from analyzer.flows.facts import INDEX, WIDTH
from analyzer.flows.table import FlowTable

#: pandas 3 has a dtype of its own for text; before it, text is objects
_TEXT = "str" if int(pandas.__version__.partition(".")[0]) >= 3 else object


def frame(table: FlowTable, rows: Sequence[int], names: Iterable[str] = NAMES) -> pandas.DataFrame:
    """The flows in `rows`, indexed by `flow`, with the columns `names` in that order.

    int64 and bool (Int64 and boolean where a value may be missing), str, category, datetime64[ns, UTC] and
    timedelta64[ns].
    """
    where = positions(table, rows)
    facts = numpy.frombuffer(table.facts.rows, dtype=numpy.uint64).reshape(-1, WIDTH)
    index = pandas.Index(facts[where, INDEX["number"]].astype(numpy.int64), name="flow")
    made = {}
    for name in names:
        if name != "flow":
            column = BY_NAME[name]
            if column.fact is not None:
                values: Any = facts[where, INDEX[column.fact]].astype(numpy.int64)
            else:
                values = [column.get(table, row) for row in rows]
            made[name] = pandas.Series(_typed(column, values), index=index, name=name)
    return pandas.DataFrame(made, index=index)


def positions(table: FlowTable, rows: Sequence[int]) -> numpy.ndarray:
    """Where the rows stand in the facts."""
    order = numpy.asarray(table.order, dtype=numpy.int64)
    return (
        order if isinstance(rows, range) and len(rows) == len(table) else order[numpy.asarray(rows, dtype=numpy.int64)]
    )


def _typed(column: Column, values: Any) -> Any:
    """Values of one column (a numpy array of int64, or a list) in the column's dtype."""
    if column.kind == "category":
        return pandas.Categorical(values, categories=list(column.words))
    if column.kind == "text":
        return pandas.array(values, dtype=_TEXT)
    if column.kind == "bool":
        return pandas.array(values, dtype="boolean") if column.nullable else numpy.asarray(values, dtype=bool)
    if column.kind == "time":
        return pandas.to_datetime(numpy.asarray(values, dtype=numpy.int64), unit="ns", utc=True)
    if column.kind == "span":
        return pandas.to_timedelta(pandas.array(values, dtype="Int64"), unit="ns").astype("timedelta64[ns]")
    if column.nullable:
        return pandas.array(values, dtype="Int64")
    return numpy.asarray(values, dtype=numpy.int64)
