"""Flows as JSON text, an object each: what `json.dumps` makes of their records, sooner.

Owns the text of one object: keys in the order asked for, which are written once. Who needs plain values takes
`flows.columns.records`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from analyzer.flows.columns import NAMES, rendered, runs
from analyzer.flows.table import FlowTable

_quoted = json.encoder.encode_basestring_ascii


def text(value: str | int | bool | None) -> str:
    """One plain value."""
    if isinstance(value, str):
        return _quoted(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def objects(
    table: FlowTable, rows: Sequence[int], names: Sequence[str] = NAMES, **more: Callable[[int], Any]
) -> Iterator[str]:
    """One object a flow: its columns `names`, then what `more` gives for its row by keyword."""
    form = [_member(run[0], "%s") if len(run) == 1 else "%s" for run in runs(names)]
    whole = "{" + ", ".join((*form, *(_member(key, "%s") for key in more))) + "}"
    extras = tuple(more.values())
    for row, values in zip(rows, rendered(table, rows, names, text, _members), strict=True):
        yield whole % (*values, *[text(extra(row)) for extra in extras])


def _member(name: str, value: Any) -> str:
    return f"{_quoted(name)}: {value}"


def _members(names: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(map(_member, names, values))
