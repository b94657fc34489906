"""Flows as JSON text, an object each: what `json.dumps` makes of their records, sooner.

Owns the text of one object: keys in the order asked for, which are written once. Who needs plain values takes
`flows.rendering.records`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from analyzer.flows.columns import NAMES
from analyzer.flows.rendering import rendered, runs
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
    keys = [_key(run[0]) if len(run) == 1 else "" for run in runs(names)] + [_key(key) for key in more]
    # What stands before each value, and a place for that.
    pieces = [piece for number, key in enumerate(keys) for piece in (f", {key}" if number else key, "")]
    extras = tuple(more.values())
    for row, values in zip(rows, rendered(table, rows, names, text, _members), strict=True):
        pieces[1::2] = (*values, *[text(extra(row)) for extra in extras])
        yield f"{{{''.join(pieces)}}}"


def _key(name: str) -> str:
    return f"{_quoted(name)}: "


def _members(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(_key(name) + value for name, value in zip(names, values, strict=True))
