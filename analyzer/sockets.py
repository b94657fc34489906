"""The socket tables of all hosts at a moment: what `netstat -na` would have shown there.

Owns which flow's end is the socket of a 4-tuple, SYN cookies in hindsight, and the inferred listeners. Needs a table
whose flows carry their transitions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from analyzer.flows import columns
from analyzer.flows import facts as f
from analyzer.flows.columns import address_text
from analyzer.flows.table import FlowTable
from analyzer.tcp import states, timeline

#: no socket of a connection: nothing there, or the listener itself
_NO_SOCKET = frozenset((states.CLOSED, states.LISTEN))


class Socket(NamedTuple):
    """One line of a socket table. LISTEN is inferred from SYN+ACKs: no peer ("" and 0), no flow (None)."""

    state: str
    basis: str
    local: str
    local_port: int
    peer: str
    peer_port: int
    flow: int | None
    since_ns: int


def sockets_at(table: FlowTable, at_ns: int, host: str | None = None) -> list[Socket]:
    """The sockets of `host`, or of all hosts, at `at_ns`: the newest of each 4-tuple that is not CLOSED or LISTEN."""
    return next(sockets_over(table, [at_ns], host))


def sockets_over(table: FlowTable, instants: Sequence[int], host: str | None = None) -> Iterator[list[Socket]]:
    """The same for several instants; every flow's log is read once."""
    found: list[dict[tuple[object, ...], Socket]] = [{} for _ in instants]
    listening: dict[tuple[str, int], int] = {}
    for row in range(len(table)):
        ipv6 = bool(table.fact(row, "bits") & f.IPV6)
        o_address = address_text(table.fact(row, "o_hi"), table.fact(row, "o_lo"), ipv6)
        r_address = address_text(table.fact(row, "r_hi"), table.fact(row, "r_lo"), ipv6)
        if host is not None and host not in (o_address, r_address):
            continue
        o_port, r_port = table.fact(row, "o_port"), table.fact(row, "r_port")
        if table.fact(row, "r_synacks") and (host is None or host == r_address):
            first = table.fact(row, "first_ns")
            listening[r_address, r_port] = min(first, listening.get((r_address, r_port), first))
        entries = timeline.unpack(table.transitions(row))
        flow = table.fact(row, "number")
        scope = table.fact(row, "scope")
        for side, local, port, peer, peer_port in (
            (timeline.ORIGINATOR, o_address, o_port, r_address, r_port),
            (timeline.RESPONDER, r_address, r_port, o_address, o_port),
        ):
            if host is not None and host != local:
                continue
            course = timeline.course(entries, side)
            key = (local, port, peer, peer_port, scope)
            for position, when in enumerate(instants):
                moment = state_at(table, row, side, course, when)
                if moment is None or moment.state in _NO_SOCKET:
                    continue
                found[position][key] = Socket(
                    states.STATES[moment.state],
                    states.BASES[moment.basis],
                    local,
                    port,
                    peer,
                    peer_port,
                    flow,
                    moment.since_ns,
                )
    for position, when in enumerate(instants):
        listeners = [
            Socket("LISTEN", "inferred", local, port, "", 0, None, first)
            for (local, port), first in sorted(listening.items())
            if first <= when
        ]
        yield listeners + list(found[position].values())


def counts_over(table: FlowTable, instants: Sequence[int], host: str | None = None) -> list[Counter[str]]:
    """How many of `sockets_over`'s sockets are in each state at each of the `instants`, which are in order.

    A state only changes where its log does or its timer ends, so that many instants cost little more than one.
    """
    counts: list[Counter[str]] = [Counter() for _ in instants]
    shared: list[dict[tuple[int, ...], int]] = [{} for _ in instants]  # of 4-tuples that hold several flows
    reused = {_tuple(table, row) for row, bits in enumerate(table.raw("bits")) if bits & f.REUSED}
    listening: dict[tuple[int, ...], int] = {}
    for row in range(len(table)):
        ends = (columns.originator(table, row), columns.responder(table, row)) if host is not None else (None, None)
        if host is not None and host not in ends:
            continue
        if table.fact(row, "r_synacks") and host in (None, ends[1]):
            key = table.listener(row)[:3]
            first = table.fact(row, "first_ns")
            listening[key] = min(first, listening.get(key, first))
        log = timeline.unpack(table.transitions(row))
        own = _tuple(table, row)
        for side in (timeline.ORIGINATOR, timeline.RESPONDER):
            if host is not None and host != ends[side]:
                continue
            for state, start, stop in _stays(table, row, side, timeline.course(log, side), instants):
                if own in reused:
                    local = (*own, table.fact(row, ("o_lo", "r_lo")[side]), table.fact(row, ("o_port", "r_port")[side]))
                    for place in range(start, stop):
                        shared[place][local] = state
                else:
                    for place in range(start, stop):
                        counts[place][states.STATES[state]] += 1
    for place, when in enumerate(instants):
        counts[place].update(states.STATES[state] for state in shared[place].values())
        listeners = sum(1 for first in listening.values() if first <= when)
        if listeners:
            counts[place]["LISTEN"] = listeners
    return counts


def _tuple(table: FlowTable, row: int) -> tuple[int, ...]:
    """What flows on the same 4-tuple share, whichever end opened them."""
    ends = sorted(
        (table.fact(row, end + "hi"), table.fact(row, end + "lo"), table.fact(row, end + "port"))
        for end in ("o_", "r_")
    )
    return (*ends[0], *ends[1], table.fact(row, "scope"))


def _stays(
    table: FlowTable, row: int, side: int, course: Sequence[timeline.Entry], instants: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    """(state, first place, place behind the last) of the instants at which the end is a socket."""

    def state(place: int) -> int:
        moment = state_at(table, row, side, course, instants[place])
        return states.CLOSED if moment is None else moment.state

    for entry, after in pairwise((*course, None)):
        if entry is None:
            continue
        low = bisect_left(instants, entry.ts_ns)
        high = len(instants) if after is None else bisect_left(instants, after.ts_ns)
        while low < high:
            here = state(low)
            stop = high
            if high - low > 1 and state(high - 1) != here:
                before = low  # the last place that is known to be alike
                while stop - before > 1:
                    middle = (before + stop) // 2
                    before, stop = (middle, stop) if state(middle) == here else (before, middle)
            if here not in _NO_SOCKET:
                yield here, low, stop
            low = stop


def state_at(
    table: FlowTable, row: int, side: int, course: Sequence[timeline.Entry], when: int
) -> timeline.Moment | None:
    """The state at `when` of the end whose `course` this is; doubts and SYN cookies settled with all flows in view."""
    moment = timeline.at(course, when, table.timers)
    if moment is not None and moment.doubt is not None and moment.basis == states.INFERRED:
        state, basis = table.settle(row, moment.state, moment.basis, moment.doubt, when)
        return moment._replace(state=state, basis=basis)
    if (
        moment is not None
        and side == timeline.RESPONDER
        and moment.state == states.ESTABLISHED
        and moment.basis == states.INFERRED
        and table.never_accepted(row)
    ):
        return moment._replace(state=states.LISTEN, basis=states.TIMER)
    if moment is None or moment.state != states.SYN_RECEIVED or side != timeline.RESPONDER:
        return moment
    answer = timeline.cookie(course)
    if answer is not None and (table.waited_without_state(answer) or table.kept_no_state(row, when)):
        return moment._replace(state=states.LISTEN, basis=states.TIMER)
    return moment
