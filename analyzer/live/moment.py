"""A look at a live capture: what is true now, from the flows as they stand.

Owns the choice of flows that speak of now, the counts of states by host, the worst listeners and the newest flows of
each kind. Works on whole columns (numpy): a flood of a hundred thousand flows must not hold up the reading of packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.analysis import Analysis
from analyzer.engine import Result
from analyzer.flows import facts as f
from analyzer.flows.columns import address_text
from analyzer.flows.facts import INDEX, FlowFacts
from analyzer.live.tally import Tally, matrix
from analyzer.live.watch import Watch
from analyzer.tcp import states
from analyzer.tcp.timers import Timers

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, Any]

SECOND_NS = 1_000_000_000
WINDOW_NS = 60 * SECOND_NS  # findings speak of flows that live, or of which a packet came within this time
LOOK_FLOWS = 20_000  # flows that findings are made of: half a second of the interpreter, which the capture needs too
NEWEST = 64  # flows of each kind that a look has ready to show
WORST = 32  # listeners

HERE, PEERS, OTHERS = "this host", "its peers", "others"
_LASTING = (states.ESTABLISHED, states.CLOSE_WAIT, states.FIN_WAIT_2)
_IPV4 = 0xFFFF << 32


class Pulse(NamedTuple):
    """Counters since the capture began, at one instant; cheap to ask for."""

    at_ns: int
    packets: int
    segments: int
    syns: int
    synacks: int
    fins: int
    rsts: int
    flows: int
    alive: int
    evicted: int
    received: int
    dropped_by_kernel: int
    dropped_by_interface: int | None
    ring_used: float
    notes: tuple[str, ...]
    handshake: dict[str, int]  # of the flows that have left the tracker
    close: dict[str, int]


class Listener(NamedTuple):
    """A (host, port) with its handshakes of now, and the states that its end is in."""

    host: str
    port: int
    attempts: int
    failed: int
    half_open: int
    close_wait: int


class Look(NamedTuple):
    """All that a view or a program shows of one instant. `analysis` holds the flows that speak of now."""

    at_ns: int
    analysis: Analysis
    states: dict[str, dict[str, int]]  # HERE, PEERS or OTHERS → state → ends in it
    handshake: dict[str, int]  # of all flows since the capture began
    close: dict[str, int]
    listeners: list[Listener]
    incomplete: list[int]  # rows of analysis.table, the newest first
    half_closed: list[int]
    synack_again: list[int]


def pulse(watch: Watch) -> Pulse:
    """A question to a watch: its counters."""
    if watch.running:
        watch.counters = watch.source.counters()
    tracker, counters = watch.tracker, watch.counters
    return Pulse(
        at_ns=watch.now_ns(),
        packets=watch.packets,
        segments=watch.decoder.segments,
        syns=watch.syns,
        synacks=watch.synacks,
        fins=watch.fins,
        rsts=watch.rsts,
        flows=tracker.flows_seen,
        alive=tracker.live,
        evicted=tracker.evicted_embryonic + tracker.evicted_other,
        received=counters.received,
        dropped_by_kernel=counters.dropped_by_kernel,
        dropped_by_interface=counters.dropped_by_interface,
        ring_used=counters.ring_used,
        notes=tuple(watch.notes()),
        handshake=dict(watch.tally.handshake),
        close=dict(watch.tally.close),
    )


class Taken(NamedTuple):
    """What a watch gives for a look; the look itself is made in another thread."""

    result: Result
    tally: Tally  # of the flows that have left
    held: int  # rows of the result's facts that have not


def taken(watch: Watch) -> Taken:
    """A question to a watch: its flows, and the verdicts on those that have left."""
    result = watch.result()
    return Taken(result, watch.tally.plus(), watch.held)


def look(given: Taken, hosts: Iterable[tuple[int, int]], timers: Timers | None = None) -> Look:
    """What is true at `given`'s end. `hosts`: the addresses of this host, as halves."""
    import numpy as np

    timers = timers or Timers()
    result = given.result
    now = result.end_ns
    rows = matrix(result.facts)
    total = given.tally.plus(rows[: given.held], now)
    o_state, r_state = ends_now(rows, "o_", now, timers), ends_now(rows, "r_", now, timers)
    last = rows[:, INDEX["last_ns"]].astype(np.int64)
    lasting = np.isin(o_state, _LASTING) | np.isin(r_state, _LASTING)
    gone = (o_state == states.CLOSED) | (r_state == states.CLOSED)
    lasting &= ~gone
    of_now, left_out = _bounded(np.flatnonzero((last >= now - WINDOW_NS) | lasting), last, lasting)
    if left_out:
        result.capture.notes.append(
            f"findings rest on the newest {len(of_now):,} connections; {left_out:,} are left out"
        )
    analysis = Analysis(result._replace(facts=chosen(result.facts, of_now)), timers=timers)
    counted = _states_by_host(rows, o_state, r_state, frozenset(hosts))
    kept = rows[of_now]
    number_to_row = {number: row for row, number in enumerate(analysis.table.raw("number"))}
    numbers = kept[:, INDEX["number"]]
    bits = kept[:, INDEX["bits"]]
    failed = (bits & np.uint64(f.COMPLETE)) == 0
    begun = (bits & np.uint64(f.SYN_SEEN | f.SYNACK_SEEN)) != 0
    ignored = (bits & np.uint64(f.COMPLETE | f.CONTRADICTED)) == np.uint64(f.COMPLETE | f.CONTRADICTED)
    failed = (failed & begun) | ignored
    half = (kept[:, INDEX["half_start_ns"]] > 0) & (kept[:, INDEX["half_end_ns"]] == 0)
    half &= (bits & np.uint64(f.RESET)) == 0
    again = (kept[:, INDEX["o_synack_retransmissions"]] > 0) | (kept[:, INDEX["r_synack_retransmissions"]] > 0)

    def newest(which: Rows, by: str) -> list[int]:
        places = np.flatnonzero(which)
        times = kept[places, INDEX[by]]
        order = np.argsort(times)[::-1][:NEWEST]
        return [number_to_row[int(numbers[place])] for place in places[order]]

    return Look(
        at_ns=now,
        analysis=analysis,
        states=counted,
        handshake=dict(total.handshake),
        close=dict(total.close),
        listeners=_listeners(kept, begun, failed, o_state[of_now], r_state[of_now]),
        incomplete=newest(failed, "first_ns"),
        half_closed=newest(half, "half_start_ns"),
        synack_again=newest(again, "last_synack_ns"),
    )


def _bounded(places: Rows, last: Rows, lasting: Rows) -> tuple[Rows, int]:
    """At most `LOOK_FLOWS` of `places`, those with the newest packets; and how many are left out.

    Half of them are for states that last, so that a flood of SYNs does not hide them.
    """
    import numpy as np

    if len(places) <= LOOK_FLOWS:
        return places, 0
    newest = places[np.argsort(last[places])[::-1]]
    lasts = newest[lasting[newest]][: LOOK_FLOWS // 2]
    others = newest[~lasting[newest]][: LOOK_FLOWS - len(lasts)]
    kept = np.sort(np.concatenate((lasts, others)))
    return kept, len(places) - len(kept)


def chosen(facts: FlowFacts, places: Rows) -> FlowFacts:
    """The flows at `places` of `facts`."""
    if len(places) == facts.count:
        return facts
    some = FlowFacts()
    some.rows.frombytes(matrix(facts)[places].tobytes())
    some.history = [facts.history[place] for place in places]
    some.late, some.foreign = facts.late, facts.foreign
    some.icmp_sender = [facts.icmp_sender[place] for place in places]
    some.transitions = [facts.transitions[place] for place in places]
    some.count = len(places)
    return some


def ends_now(rows: Rows, end: str, now_ns: int, timers: Timers) -> Rows:
    """The state of one end (`o_` or `r_`) of every flow at `now_ns`: `FlowTable.final` without hindsight.

    CLOSED also for what a timer has ended; an ACK in doubt keeps the state before.
    """
    import numpy as np

    state = rows[:, INDEX[end + "state"]].astype(np.int64)
    refresh = rows[:, INDEX[end + "refresh_ns"]].astype(np.int64)
    repeats = rows[:, INDEX[end + "repeats"]]
    interval = rows[:, INDEX[end + "interval_ns"]].astype(np.int64)
    doubt_until = rows[:, INDEX[end + "doubt_until_ns"]].astype(np.int64)
    inferred = rows[:, INDEX[end + "basis"]] == states.INFERRED
    doubted = (doubt_until > 0) & inferred & (now_ns <= doubt_until)
    longest = 120 * SECOND_NS
    next_wait = np.minimum(2 * interval, longest)
    syn_wait = np.minimum(np.maximum(2 * interval, timers.first_syn_ns), longest)
    wait = np.full(len(state), np.iinfo(np.int64).max // 4)
    percent = 100 + timers.overdue_percent

    def late(waits: Any) -> Any:
        return waits * percent // 100

    first = repeats == 0
    opening = state == states.SYN_SENT
    wait[opening] = late(np.where(first, timers.first_syn_ns, syn_wait))[opening]
    opening = state == states.SYN_RECEIVED
    wait[opening] = late(np.where(first, timers.first_syn_ns, next_wait))[opening]
    closing = np.isin(state, (states.FIN_WAIT_1, states.CLOSING, states.LAST_ACK))
    wait[closing] = np.where(first, timers.fin_ns, late(next_wait))[closing]
    wait[state == states.TIME_WAIT] = timers.time_wait_ns + timers.wheel_ns
    over = (now_ns - refresh > wait) & ~doubted
    shown = np.where(doubted, rows[:, INDEX[end + "doubt_state"]].astype(np.int64), state)
    shown[over] = states.CLOSED
    return shown


def _states_by_host(
    rows: Rows, o_state: Rows, r_state: Rows, hosts: frozenset[tuple[int, int]]
) -> dict[str, dict[str, int]]:
    """How many ends are in which state: on this host, on its peers, on hosts that only pass by."""
    import numpy as np

    o_here = is_one_of(rows, "o_", hosts)
    r_here = is_one_of(rows, "r_", hosts)
    found = {}
    for who, o_mask, r_mask in (
        (HERE, o_here, r_here),
        (PEERS, r_here & ~o_here, o_here & ~r_here),
        (OTHERS, ~(o_here | r_here), ~(o_here | r_here)),
    ):
        counts = np.bincount(o_state[o_mask], minlength=11) + np.bincount(r_state[r_mask], minlength=11)
        found[who] = {
            name: int(counts[number])
            for number, name in enumerate(states.STATES)
            if counts[number] and number not in (states.CLOSED, states.LISTEN)
        }
    return found


def is_one_of(rows: Rows, end: str, hosts: frozenset[tuple[int, int]]) -> Rows:
    """Which rows have one of `hosts` at that end."""
    import numpy as np

    high, low = rows[:, INDEX[end + "hi"]], rows[:, INDEX[end + "lo"]]
    here = np.zeros(len(rows), dtype=bool)
    for host_high, host_low in hosts:
        here |= (low == np.uint64(host_low)) & (high == np.uint64(host_high))
    return here


def _listeners(kept: Rows, begun: Rows, failed: Rows, o_state: Rows, r_state: Rows) -> list[Listener]:
    """The listeners with most failed handshakes and sockets that nobody closes."""
    import numpy as np

    if not len(kept):
        return []
    high, low, port = (kept[:, INDEX[name]] for name in ("r_hi", "r_lo", "r_port"))
    order = np.lexsort((port, low, high))
    new = np.ones(len(kept), dtype=bool)
    new[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0) | (np.diff(port[order]) != 0)
    inverse = np.empty(len(kept), dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    first = order[new]
    size = len(first)
    close_wait = (r_state == states.CLOSE_WAIT) | (r_state == states.LAST_ACK)
    half_open = r_state == states.SYN_RECEIVED
    counted = [np.bincount(inverse[which], minlength=size) for which in (begun, failed, half_open, close_wait)]
    ipv6 = (kept[first, INDEX["bits"]] & np.uint64(f.IPV6)) != 0
    order = np.argsort(-(counted[1] + counted[3]), kind="stable")[:WORST]
    return [
        Listener(
            address_text(int(high[first[at]]), int(low[first[at]]), bool(ipv6[at])),
            int(port[first[at]]),
            *(int(column[at]) for column in counted),
        )
        for at in order
    ]


def own_addresses() -> list[tuple[int, int]]:
    """The addresses of this host, as halves; of the network namespace that this process is in."""
    import ipaddress
    import socket

    import psutil

    found = []
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET:
                found.append((0, _IPV4 | int(ipaddress.IPv4Address(one.address))))
            elif one.family == socket.AF_INET6:
                number = int(ipaddress.IPv6Address(one.address.partition("%")[0]))
                found.append((number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF))
    return found


def rate(pulses: Sequence[Pulse], field: str) -> float:
    """How fast a counter grows a second, over the time that `pulses` span."""
    if len(pulses) < 2 or pulses[-1].at_ns <= pulses[0].at_ns:
        return 0.0
    grown = getattr(pulses[-1], field) - getattr(pulses[0], field)
    return float(grown * SECOND_NS / (pulses[-1].at_ns - pulses[0].at_ns))
