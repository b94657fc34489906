"""Which flows of a table are shown.

Owns narrowing by address, port, time and expression. A selection never changes what is tracked, only what is seen of
it. Expressions are the concern of `analyzer.expression`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.errors import UsageError
from analyzer.flows import columns
from analyzer.flows.table import FlowTable


class Selection(NamedTuple):
    """A flow belongs if every part that is given holds for it.

    `hosts`: addresses or networks, `ports`: one of them at either end. `from_ns`, `to_ns`: its packets' time overlaps
    the span. `where`: a pandas query over the columns.
    """

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    where: str | None = None


def rows(table: FlowTable, selection: Selection) -> Sequence[int]:
    """The rows of `table` that belong, in order. Raises UsageError where the expression is wrong."""
    chosen: Sequence[int] = range(len(table))
    if selection.from_ns is not None or selection.to_ns is not None:
        chosen = list(_in_time(table, chosen, selection.from_ns, selection.to_ns))
    if selection.ports:
        ports = frozenset(selection.ports)
        o_port, r_port = table.raw("o_port"), table.raw("r_port")
        chosen = [row for row in chosen if o_port[row] in ports or r_port[row] in ports]
    if selection.hosts:
        chosen = list(_with_host(table, chosen, selection.hosts))
    if selection.where is not None:
        from analyzer.expression import matching

        chosen = matching(table, chosen, selection.where)
    return chosen


def row_of(table: FlowTable, number: int) -> int:
    """The row of flow `number`. Raises UsageError where there is none."""
    return rows_by_number(table, (number,))[number]


def rows_of(table: FlowTable, numbers: Sequence[int]) -> list[int]:
    """The rows of these flows, in order. Raises UsageError where there is none."""
    return sorted(rows_by_number(table, numbers).values())


def rows_by_number(table: FlowTable, wanted: Sequence[int]) -> dict[int, int]:
    """The row of each of these flows, by its number. Raises UsageError where there is none."""
    numbers = table.raw("number")
    rows = {}
    for number in wanted:
        row = bisect_left(numbers, number)
        if row == len(numbers) or numbers[row] != number:
            if not numbers:
                raise UsageError(f"there is no flow {number}: the capture holds no TCP connection")
            raise UsageError(f"there is no flow {number}: they are numbered {numbers[0]} to {numbers[-1]}")
        rows[number] = row
    return rows


def _in_time(table: FlowTable, chosen: Sequence[int], from_ns: int | None, to_ns: int | None) -> Iterator[int]:
    first, last = table.raw("first_ns"), table.raw("last_ns")
    for row in chosen:
        if (from_ns is None or last[row] >= from_ns) and (to_ns is None or first[row] <= to_ns):
            yield row


def _with_host(table: FlowTable, chosen: Sequence[int], hosts: Sequence[str]) -> Iterator[int]:
    import ipaddress

    single = frozenset(host for host in hosts if "/" not in host)
    networks = [ipaddress.ip_network(host) for host in hosts if "/" in host]
    known: dict[str, bool] = {}
    for row in chosen:
        for address in (columns.originator(table, row), columns.responder(table, row)):
            inside = known.get(address)
            if inside is None:
                inside = address in single
                if networks and not inside:
                    parsed = ipaddress.ip_address(address)
                    inside = any(parsed in network for network in networks)
                known[address] = inside
            if inside:
                yield row
                break
