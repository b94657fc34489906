# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Columns of many flows, row after row: what `columns.record` gives for one, sooner.

Owns what is worked out once for flows that are alike. Which columns there are, what each follows from and its value for
one flow is in `columns`. Ordinary Python that Cython compiles; both give the same.
"""

from __future__ import annotations

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

from array import array
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.flows.columns import BY_NAME, NAMES, Column, address_text
from analyzer.flows.facts import INDEX, IPV6, WIDTH
from analyzer.flows.packed import gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from analyzer.flows.table import FlowTable

#: kinds of flows remembered for each set of facts that columns follow from; a flood or a scan has few
MAX_KINDS = 4096
#: flows whose facts are gathered together: they fit a processor's cache
BLOCK_ROWS = 512

# How the value of a part is had.
_RAW = cython.declare(cython.int, 0)
_ADDRESS = cython.declare(cython.int, 1)
_OWN = cython.declare(cython.int, 2)
_ALIKE = cython.declare(cython.int, 3)
_IPV6 = cython.declare(cython.ulonglong, IPV6)


def records(table: FlowTable, rows: Iterable[int], names: Sequence[str] = NAMES) -> Iterator[dict[str, Any]]:
    """What `columns.record` gives for each of many flows."""
    for values in rendered(table, rows, names, _as_it_is):
        yield dict(zip(names, values, strict=True))


def _as_it_is(value: Any) -> Any:
    return value


def runs(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Neighbours among these columns that flows may be alike in; every other column by itself."""
    found: list[tuple[str, ...]] = []
    run: tuple[str, ...] = ()
    for name in names:
        if run and not (BY_NAME[name].is_shared and BY_NAME[run[0]].is_shared):
            found.append(run)
            run = ()
        run += (name,)
    return [*found, run] if run else found


def rendered(
    table: FlowTable,
    rows: Iterable[int],
    names: Sequence[str],
    render: Callable[[Any], Any],
    join: Callable[[Sequence[str], Sequence[Any]], Any] | None = None,
) -> Iterator[list[Any]]:
    """The values of many flows as `render` gives them, but for raw facts, which stay the numbers that they are.

    With `join`, that gives one value for each of `runs` of several columns, and raw facts are text.
    """
    rendering = _Rendering(table, names, render, join)
    of_block = iter(rows)
    while block := array("Q", islice(of_block, BLOCK_ROWS)):
        yield from rendering.block(block)


class _Group(NamedTuple):
    """Columns that follow from the same, the places of that in a row of what is gathered, and their values by it."""

    columns: list[Column]
    facts: list[int]
    zeros: list[int]
    known: dict[Any, list[Any]]


@cython.final
@cython.cclass
class _Rendering:
    """How some columns of a table are had, block by block."""

    if cython.compiled:
        _table = cython.declare(object)
        _render = cython.declare(object)
        _join = cython.declare(object)
        _gathered = cython.declare(list)
        _alike_facts = cython.declare(cython.Py_ssize_t)
        _zero_facts = cython.declare(cython.Py_ssize_t)
        _bits = cython.declare(cython.Py_ssize_t)
        _final = cython.declare(cython.bint)
        _history = cython.declare(cython.bint)
        _sender = cython.declare(cython.bint)
        _groups = cython.declare(list)
        _parts = cython.declare(list)
        _known = cython.declare(dict)
        _count = cython.declare(cython.Py_ssize_t)
        _how = cython.declare(cython.int[::1])
        _where = cython.declare(cython.int[::1])
        _getters = cython.declare(list)

    def __init__(self, table: Any, names: Sequence[str], render: Any, join: Any) -> None:
        self._table = table
        self._render = render
        self._join = join
        columns = [BY_NAME[name] for name in names]
        shared = [column for column in columns if column.is_shared]
        # In a row of what is gathered: the facts that flows may be alike in, those that are 0 or not, and the others.
        alike = sorted({INDEX[name] for column in shared for name in column.facts})
        zeros = sorted({INDEX[name] for column in shared for name in column.zeros})
        others = {INDEX["bits"]}
        for column in columns:
            if column.fact is not None:
                others.add(INDEX[column.fact])
            elif column.end:
                others.update((INDEX[column.end + "hi"], INDEX[column.end + "lo"]))
        self._gathered = [*alike, *zeros, *sorted(others)]
        self._alike_facts = len(alike)
        self._zero_facts = len(zeros)
        alike_at = {fact: at for at, fact in enumerate(alike)}
        zero_at = {fact: len(alike) + at for at, fact in enumerate(zeros)}
        other_at = {fact: len(alike) + len(zeros) + at for at, fact in enumerate(sorted(others))}
        self._bits = other_at[INDEX["bits"]]
        self._final = any(column.final for column in shared)
        self._history = any(column.history for column in shared)
        self._sender = any(column.sender for column in shared)
        groups: dict[Any, list[Column]] = {}
        for column in shared:
            groups.setdefault(column.follows, []).append(column)
        self._groups = [
            _Group(
                group,
                [alike_at[INDEX[name]] for name in group[0].facts],
                [zero_at[INDEX[name]] for name in group[0].zeros],
                {},
            )
            for group in groups.values()
        ]
        # Where the value of each shared column is among those that a row's groups have, one after the other.
        place = {column.name: at for at, column in enumerate([one for group in groups.values() for one in group])}
        parts = [(name,) for name in names] if join is None else runs(names)
        self._parts = []
        how, where = array("i"), array("i")
        self._getters = []
        for part in parts:
            column = BY_NAME[part[0]]
            if column.fact is not None:
                how.append(_RAW)
                where.append(other_at[INDEX[column.fact]])
            elif column.end:
                how.append(_ADDRESS)
                where.append(other_at[INDEX[column.end + "hi"]])
            elif column.is_shared:
                how.append(_ALIKE)
                where.append(len(self._parts))
                self._parts.append((part, [place[name] for name in part]))
            else:
                how.append(_OWN)
                where.append(len(self._getters))
                self._getters.append(column.get)
        self._count = len(parts)
        self._how, self._where = how or array("i", (0,)), where or array("i", (0,))
        self._known = {}

    def block(self, rows: array) -> list:
        """The values of those flows."""
        table = self._table
        render = self._render
        getters = self._getters
        facts = table.facts
        history_of: list = facts.history
        sender_of: list = facts.icmp_sender
        order: cython.ulonglong[::1] = table.order or array("Q", (0,))
        found = gathered(table.flat, WIDTH, table.order, rows, self._gathered)
        data: bytes = found.tobytes()
        words: cython.ulonglong[::1] = found
        wide: cython.Py_ssize_t = len(self._gathered)
        count: cython.Py_ssize_t = len(rows)
        as_text: cython.bint = self._join is not None
        row_of: cython.ulonglong[::1] = rows
        number: cython.Py_ssize_t
        part: cython.Py_ssize_t
        at: cython.Py_ssize_t
        where: cython.Py_ssize_t
        how: cython.int
        zeros: cython.ulonglong
        high: cython.ulonglong
        low: cython.ulonglong
        made: list = []
        values: list
        alike: list
        for number in range(count):
            at = number * wide
            row = row_of[number]
            zeros = 0
            for part in range(self._zero_facts):
                zeros = zeros << 1 | (words[at + self._alike_facts + part] == 0)
            kind = (
                data[8 * at : 8 * (at + self._alike_facts)],
                zeros,
                table.final(row) if self._final else None,
                history_of[order[row]] if self._history else None,
                sender_of[order[row]] if self._sender else None,
            )
            known = self._known.get(kind)
            if known is None:
                known = self._alike(row, found[at : at + wide], kind)
                _remember(self._known, kind, known)
            alike = known
            values = []
            for part in range(self._count):
                how = self._how[part]
                where = self._where[part]
                if how == _RAW:
                    if as_text:
                        values.append(f"{words[at + where]}")
                    else:
                        values.append(words[at + where])
                elif how == _OWN:
                    values.append(render(getters[where](table, row)))
                elif how == _ADDRESS:
                    high, low = words[at + where], words[at + where + 1]
                    values.append(render(address_text(high, low, words[at + self._bits] & _IPV6 != 0)))
                else:
                    values.append(alike[where])
            made.append(values)
        return made

    def _alike(self, row: int, words: array[int], kind: tuple) -> list:
        """The values, by part, of what flows like this one are alike in."""
        told: list = []
        _, _, final, history, sender = kind
        for group in self._groups:
            follows = group.columns[0]
            like = (
                tuple([words[at] for at in group.facts]),
                tuple([words[at] == 0 for at in group.zeros]),
                final if follows.final else None,
                history if follows.history else None,
                sender if follows.sender else None,
            )
            some = group.known.get(like)
            if some is None:
                some = [self._render(column.get(self._table, row)) for column in group.columns]
                _remember(group.known, like, some)
            told += some
        return [
            told[places[0]]
            if self._join is None or len(places) == 1
            else self._join(part, [told[place] for place in places])
            for part, places in self._parts
        ]


@cython.cfunc
def _remember(known: dict, kind: object, told: object) -> cython.void:
    """Keep what is known of a kind, of MAX_KINDS at most."""
    if len(known) >= MAX_KINDS:
        known.clear()
    known[kind] = told
