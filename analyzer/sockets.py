"""The socket tables of all hosts at a moment: what `netstat -na` would have shown there.

Owns which flow's end is the socket of a 4-tuple, SYN cookies in hindsight, and the inferred listeners. Needs a table
whose flows carry their transitions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from analyzer.findings.counting import repeated
from analyzer.flows import facts as f
from analyzer.flows.columns import address_text
from analyzer.flows.table import FlowTable
from analyzer.tcp import states, timeline

#: host and port of an end, of its peer, family, scope
EndKey = tuple[bytes, int, bytes, int, int, int]

#: no socket of a connection: nothing there, or the listener itself
_NO_SOCKET = frozenset((states.CLOSED, states.LISTEN))


class Socket(NamedTuple):
    """One line of a socket table. LISTEN is inferred from SYN+ACKs: no peer ("" and 0), no flow (None).

    `unsure`: why packets do not settle the state, a reason of docs/unknowable.md; "" where nothing speaks against it.
    """

    state: str
    basis: str
    local: str
    local_port: int
    peer: str
    peer_port: int
    flow: int | None
    since_ns: int
    unsure: str = ""


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
                    _unsure(table, row, side, moment, when),
                )
    for position, when in enumerate(instants):
        listeners = [
            Socket("LISTEN", "inferred", local, port, "", 0, None, first)
            for (local, port), first in sorted(listening.items())
            if first <= when
        ]
        yield listeners + list(found[position].values())


def _unsure(table: FlowTable, row: int, side: int, moment: timeline.Moment, when: int) -> str:
    """What else the state may be as far as packets tell: the reason's name in docs/unknowable.md, or ""."""
    if moment.basis == states.OBSERVED:
        return ""
    if not table.fact(row, "o_packets") or not table.fact(row, "r_packets"):
        return "direction"
    if moment.state == states.FIN_WAIT_2:
        return "orphan" if when - moment.since_ns > table.timers.fin_timeout_ns else ""
    if moment.doubt is not None and when <= moment.doubt.until_ns:
        return "doubt"
    bits = table.fact(row, "bits")
    if moment.state == states.ESTABLISHED and not bits & (f.SYN_SEEN | f.SYNACK_SEEN):
        return "before"
    if moment.state == states.ESTABLISHED and side == timeline.RESPONDER:
        if table.listener(row) in table.cookie_listeners():
            return "cookie"
        if table.defers(row):
            return "deferred"
    return ""


class Counts(NamedTuple):
    """How many sockets stand in each state at an instant, by (host, state)."""

    at_ns: int
    by_host: dict[tuple[str, str], int]

    @property
    def total(self) -> dict[str, int]:
        """Over all hosts."""
        found: dict[str, int] = {}
        for (_, state), count in self.by_host.items():
            found[state] = found.get(state, 0) + count
        return found


#: first and last instant, by their place, and the state between them
Run = tuple[int, int, int]


def counts_over(
    table: FlowTable,
    instants: Sequence[int],
    host: str | None = None,
    *,
    rows: Sequence[int] | None = None,
    ports: Sequence[int] = (),
) -> Iterator[Counts]:
    """What `sockets_over` would give, counted: one pass over the flows, whatever the number of instants.

    `rows`: only the sockets of these flows; `ports`: only sockets with one of these ports at either end.
    """
    return counted(steps(table, instants, host, rows=rows, ports=ports), instants)


class Steps(NamedTuple):
    """How counts change: by place of an instant, and by host and state; and since when (ns) who listens on which port.

    4-tuples that lie apart can be counted apart; a listener may have answered several of them.
    """

    changes: dict[int, dict[tuple[str, str], int]]
    listening: dict[tuple[str, int], int]

    def add(self, other: Steps) -> None:
        """Add those of other 4-tuples."""
        for place, changes in other.changes.items():
            for key, step in changes.items():
                self._step(place, key, step)
        for listener, first_ns in other.listening.items():
            self.listening[listener] = min(first_ns, self.listening.get(listener, first_ns))

    def stay(self, key: tuple[str, str], first: int, last: int) -> None:
        """Count a socket from one instant to another."""
        self._step(first, key, 1)
        self._step(last + 1, key, -1)

    def _step(self, place: int, key: tuple[str, str], step: int) -> None:
        at = self.changes.setdefault(place, {})
        at[key] = at.get(key, 0) + step


def steps(
    table: FlowTable,
    instants: Sequence[int],
    host: str | None = None,
    *,
    rows: Sequence[int] | None = None,
    ports: Sequence[int] = (),
) -> Steps:
    """How the counts of `counts_over` change."""
    made = Steps({}, {})
    for where, state, first, last in _stays(table, instants, host, rows, ports, made.listening):
        made.stay((where, state), first, last)
    return made


def counted(made: Steps, instants: Sequence[int]) -> Iterator[Counts]:
    """The counts at each instant; uses `made` up."""
    for (where, _), first_ns in made.listening.items():
        first = bisect_left(instants, first_ns)
        if first < len(instants):
            made.stay((where, "LISTEN"), first, len(instants) - 1)
    standing: dict[tuple[str, str], int] = {}
    for place, when in enumerate(instants):
        for key, step in made.changes.get(place, {}).items():
            standing[key] = standing.get(key, 0) + step
        yield Counts(when, {key: count for key, count in standing.items() if count})


def _stays(
    table: FlowTable,
    instants: Sequence[int],
    host: str | None,
    rows: Sequence[int] | None,
    ports: Sequence[int],
    listening: dict[tuple[str, int], int],
) -> Iterator[tuple[str, str, int, int]]:
    """(host, state, first, last instant) of every socket; listeners are noted in `listening`."""
    selected = None if rows is None or len(rows) == len(table) else set(rows)
    texts: dict[tuple[bytes, int], str] = {}  # by bytes: whoever sends chooses numbers
    # Where a 4-tuple has more than one flow, the newest socket hides the older ones.
    several = {place for places in repeated(table.flat) for place in places}
    held: dict[tuple[object, ...], tuple[str, list[tuple[Run, bool]]]] = {}
    fact = table.fact
    for row in range(len(table)):
        ipv6 = fact(row, "bits") & f.IPV6
        addresses = []
        for end_of in ("o_", "r_"):
            high, low = fact(row, end_of + "hi"), fact(row, end_of + "lo")
            known = f.host_key(high, low), ipv6
            if known not in texts:
                texts[known] = address_text(high, low, bool(ipv6))
            addresses.append(texts[known])
        if host is not None and host not in addresses:
            continue
        o_port, r_port = fact(row, "o_port"), fact(row, "r_port")
        if fact(row, "r_synacks") and (host is None or host == addresses[1]) and (not ports or r_port in ports):
            first_ns = fact(row, "first_ns")
            listener = (addresses[1], r_port)
            listening[listener] = min(first_ns, listening.get(listener, first_ns))
        if ports and o_port not in ports and r_port not in ports:
            continue
        wanted = selected is None or row in selected
        entries = timeline.unpack(table.transitions(row))
        for side, where in enumerate(addresses):
            if host is not None and host != where:
                continue
            runs = list(_runs(table, row, side, timeline.course(entries, side), instants))
            if table.order[row] in several:
                key = _end_key(table, row, side)
                kept = held.setdefault(key, (where, []))[1]
                held[key] = (where, [*_without(kept, runs), *((run, wanted) for run in runs)])
            elif wanted:
                for first, last, state in runs:
                    yield where, states.STATES[state], first, last
    for where, stays in held.values():
        for (first, last, state), wanted in stays:
            if wanted:
                yield where, states.STATES[state], first, last


def _end_key(table: FlowTable, row: int, side: int) -> EndKey:
    """What tells one socket from another: its end first, then the peer's."""
    own, peer = ("o_", "r_") if side == timeline.ORIGINATOR else ("r_", "o_")
    fact = table.fact
    return (
        *(f.host_key(fact(row, own + "hi"), fact(row, own + "lo")), fact(row, own + "port")),
        *(f.host_key(fact(row, peer + "hi"), fact(row, peer + "lo")), fact(row, peer + "port")),
        *(fact(row, "bits") & f.IPV6, fact(row, "scope")),
    )


def _runs(
    table: FlowTable, row: int, side: int, course: Sequence[timeline.Entry], instants: Sequence[int]
) -> Iterator[Run]:
    """The runs of instants at which the end is a socket.

    A state only changes where its log does or by a timer, and never back, so that many instants cost little more than
    one.
    """

    def state(place: int) -> int:
        moment = state_at(table, row, side, course, instants[place])
        return states.CLOSED if moment is None else moment.state

    if len(instants) == 1:
        only = state(0)
        if only not in _NO_SOCKET:
            yield 0, 0, only
        return
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
                yield low, stop - 1, here
            low = stop


def _without(kept: Sequence[tuple[Run, bool]], newer: Sequence[Run]) -> Iterator[tuple[Run, bool]]:
    """What is left of older sockets where newer ones on the same ports hide them."""
    for (first, last, state), wanted in kept:
        pieces = [(first, last)]
        for begin, end, _ in newer:
            pieces = [
                (low, high)
                for start, stop in pieces
                for low, high in ((start, min(stop, begin - 1)), (max(start, end + 1), stop))
                if low <= high
            ]
        yield from (((low, high, state), wanted) for low, high in dict.fromkeys(pieces))


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
