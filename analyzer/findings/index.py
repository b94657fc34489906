"""`Index`: one pass over the facts of all flows, shared by every cause.

Owns the counters by listener and by source, the rows sorted by what became of them, and which rows a cause has already
explained. Judges nothing: thresholds belong to the causes.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cached_property
from typing import TypeVar

from analyzer.findings.view import CaptureView
from analyzer.flows import facts as f
from analyzer.flows import verdict
from analyzer.flows.facts import INDEX, WIDTH, host_key
from analyzer.flows.table import FlowTable
from analyzer.segments import OPT_SACK_PERMITTED
from analyzer.tcp import states

#: an address, as `flows.facts.host_key` makes it
Host = bytes
#: (host, port, scope)
ListenerKey = tuple[Host, int, int]
Key = TypeVar("Key", bound=Hashable)

SECOND_NS = 1_000_000_000
#: a shorter half close is the ordinary pause between the two FINs, and is not even listed
HALF_CLOSED_LISTED_NS = SECOND_NS
#: SYN repeated twice: one loss is ordinary, two of two in a row at 1 % loss come once in 10,000 connections
SYN_REPEATS_LISTED = 2
#: one-way traffic counts as a missing direction from this many segments on; fewer may be a stray RST or probe
ONE_WAY_SEGMENTS = 3

#: flows whose columns are copied out at once: 8 bytes a column each, whatever the size of the capture
CHUNK_ROWS = 8192

_WAITING_FIN = frozenset(("fin_unacked", "last_ack_missing"))


class Listener:
    """Counters of one (host, port)."""

    __slots__ = ("key", "last_sign_ns", "others", "others_completed", "plain")

    def __init__(self, key: ListenerKey) -> None:
        self.key = key
        self.plain = 0
        self.others = 0
        self.others_completed = 0
        self.last_sign_ns = 0  # last packet of any flow in which it sent something; 0 if it never did

    @property
    def attempts(self) -> int:
        """Flows to it that begin with a SYN or SYN+ACK."""
        return self.plain + self.others

    @property
    def completed(self) -> int:
        """Of them, those whose handshake completed and was not contradicted later."""
        return self.plain + self.others_completed


class Source:
    """Counters of one originating host."""

    __slots__ = ("others", "others_completed", "plain", "spoke")

    def __init__(self) -> None:
        self.plain = 0
        self.others = 0
        self.others_completed = 0
        self.spoke = False  # outside plain connections

    @property
    def attempts(self) -> int:
        """Its flows that begin with a SYN or SYN+ACK."""
        return self.plain + self.others

    @property
    def completed(self) -> int:
        """Of them, those whose handshake completed and was not contradicted later."""
        return self.plain + self.others_completed


class Index:
    """What all causes read. Rows are rows of `table`, in order of flow number.

    `unanswered` … `duplicated`: rows by what became of them (a row may be in several). `claim` marks rows as explained;
    `free` leaves those out.
    """

    def __init__(self, table: FlowTable, capture: CaptureView) -> None:
        self.table = table
        self.capture = capture
        self.end_ns = table.end_ns
        self.listeners: dict[ListenerKey, Listener] = {}
        self.sources: dict[Host, Source] = {}
        self.unanswered = array("I")  # SYN, and nothing came back
        self.refused = array("I")
        self.unreachable = array("I")
        self.half_open = array("I")
        self.aborted = array("I")
        self.after_ack = array("I")  # SYN+ACK repeated after its ACK
        self.deferred = array("I")
        self.syn_repeated = array("I")  # answered by one SYN+ACK after at least SYN_REPEATS_LISTED repeats
        self.challenged = array("I")
        self.reused = array("I")
        self.stale_rst = array("I")
        self.retried = array("I")  # completed after at least one repeated SYN
        self.fast_open_dropped = array("I")
        self.forged_rst = array("I")
        self.stuck = array("I")  # data sent again and never acknowledged, or keep-alives without an answer
        self.evicted = array("I")  # left the tracker at its bound
        self.reset = array("I")
        self.half_closed = array("I")
        self.fin_waiting = array("I")  # a FIN repeated, or left without an ACK
        self.missing = array("I")
        self.one_way = array("I")
        self.duplicates = 0
        self.duplicated = array("I")
        self.flags_only = True  # no segment without SYN, FIN or RST
        self.both_closed = 0  # connections whose two FINs were captured
        self.two_way = 0  # connections of which both directions were captured
        self.overflowing: set[ListenerKey] = set()  # listeners with a full accept queue, once that is found
        self.damaged: dict[Host, tuple[int, int]] = {}  # hosts with wrong checksums that are no offload: of how many
        self.doubts: dict[str, str] = {}  # what is wrong with the capture: its kind → in words
        self._claimed = bytearray(len(table))
        self._rows, self._order = table.facts.rows, table.order
        self._read()

    def _read(self) -> None:
        """Plain connections are counted chunk by chunk, everything else is looked at one by one."""
        order = self._order
        odd: list[int] = []
        for first in range(0, len(order), CHUNK_ROWS):
            odd.extend(self._count_plain(first, min(first + CHUNK_ROWS, len(order))))
        place = dict(zip(order, range(len(order)), strict=True)) if odd else {}
        for row in sorted(place[at] for at in odd):
            self._look_at(row)
        if self.evicted:
            self._leave_out_pieces()

    def _leave_out_pieces(self) -> None:
        """Connections let go at the tracker's bound that went on are several rows: no one saw the whole of any."""
        latest: dict[tuple[Host, Host, int, int, int], int] = {}
        held = {self._tuple(row) for row in self.evicted}
        pieces: set[int] = set()
        for row in range(len(self._order)):
            key = self._tuple(row)
            if key in held:
                latest[key] = row
                pieces.add(row)
        went_on = {row for row in self.evicted if latest[self._tuple(row)] > row}
        for name in _WAITING_LISTS:
            setattr(self, name, array("I", (row for row in getattr(self, name) if row not in went_on)))
        alone = {row for row in self.evicted if row not in went_on}
        self.one_way = array("I", (row for row in self.one_way if row not in pieces or row in alone))

    def _tuple(self, row: int) -> tuple[Host, Host, int, int, int]:
        """The 4-tuple and scope of a row, the same for both directions."""
        ends = (self.originator(row), self.fact(row, "o_port")), (self.responder(row), self.fact(row, "r_port"))
        (low, low_port), (high, high_port) = min(ends), max(ends)
        return low, high, low_port, high_port, self.fact(row, "scope")

    def _count_plain(self, first: int, stop: int) -> Iterator[int]:
        """Count rows of the facts, by their place there; those that need a closer look come back."""
        rows, sources, listeners, end_ns = self._rows, self.sources, self.listeners, self.end_ns

        def column(position: int) -> array[int]:
            return rows[first * WIDTH + position : stop * WIDTH : WIDTH]

        rare: set[int] = set()
        for position in _RARE:
            values = column(position)
            if any(values):
                rare.update(place for place, value in enumerate(values) if value)
        flags_only, plain = self.flags_only, 0
        for place, (key, host, bits, last_ns, half_start, half_end, o_fins, r_fins, o_packets, o_syns) in enumerate(
            zip(
                zip(map(host_key, column(_R_HI), column(_R_LO)), column(_R_PORT), column(_SCOPE), strict=True),
                map(host_key, column(_O_HI), column(_O_LO)),
                column(_BITS),
                column(_LAST_NS),
                column(_HALF_START_NS),
                column(_HALF_END_NS),
                column(_O_FINS),
                column(_R_FINS),
                column(_O_PACKETS),
                column(_O_SYNS),
                strict=True,
            )
        ):
            fins = o_fins + r_fins
            if (
                bits & _PLAIN_MASK != _PLAIN
                or (fins and (fins != 2 or not o_fins or bits & _BOTH_ACKED != _BOTH_ACKED))
                or (half_start and (half_end or end_ns) - half_start > HALF_CLOSED_LISTED_NS)
                or place in rare
            ):
                yield first + place
                continue
            plain += 1
            if fins:
                self.both_closed += 1
            if flags_only:
                flags_only = o_packets == o_syns + o_fins
            listener = listeners.get(key)
            if listener is None:
                listener = listeners[key] = Listener(key)
            listener.plain += 1
            if last_ns > listener.last_sign_ns:
                listener.last_sign_ns = last_ns
            source = sources.get(host)
            if source is None:
                source = sources[host] = Source()
            source.plain += 1
        self.flags_only = flags_only
        self.two_way += plain

    def _look_at(self, row: int) -> None:
        start = self._order[row] * WIDTH
        flow = self._rows[start : start + WIDTH]
        bits = flow[_BITS]
        key = (host_key(flow[_R_HI], flow[_R_LO]), flow[_R_PORT], flow[_SCOPE])
        listener = self.listeners.get(key)
        if listener is None:
            listener = self.listeners[key] = Listener(key)
        host = host_key(flow[_O_HI], flow[_O_LO])
        source = self.sources.get(host)
        if source is None:
            source = self.sources[host] = Source()
        o_packets, r_packets = flow[_O_PACKETS], flow[_R_PACKETS]
        if o_packets:
            source.spoke = True
        if r_packets:
            if flow[_LAST_NS] > listener.last_sign_ns:
                listener.last_sign_ns = flow[_LAST_NS]
            if o_packets:
                self.two_way += 1
        if self.flags_only:
            self.flags_only = (
                o_packets == flow[_O_SYNS] + flow[_O_SYNACKS] + flow[_O_FINS] + flow[_O_RSTS]
                and r_packets == flow[_R_SYNS] + flow[_R_SYNACKS] + flow[_R_FINS] + flow[_R_RSTS]
            )  # fmt: skip
        copies = flow[_O_DUPLICATES] + flow[_R_DUPLICATES]
        if copies:
            self.duplicates += copies
            self.duplicated.append(row)
        if flow[_O_MISSING] or flow[_R_MISSING]:
            self.missing.append(row)
        if flow[_O_STUCK] or flow[_R_STUCK]:
            self.stuck.append(row)
        if bits & _FORGED:
            self.forged_rst.append(row)
        if bits & f.EVICTED:
            self.evicted.append(row)
        if not (o_packets and r_packets) and (
            bits & f.COMPLETE or (o_packets + r_packets >= ONE_WAY_SEGMENTS and not bits & _BEGINS)
        ):
            self.one_way.append(row)
        if bits & _BEGINS:
            listener.others += 1
            source.others += 1
            if bits & f.COMPLETE:
                if not bits & f.CONTRADICTED:
                    listener.others_completed += 1
                    source.others_completed += 1
                if bits & f.STALE_RST:
                    self.stale_rst.append(row)
                if flow[_O_SYN_REPEATS] and not bits & f.CONTRADICTED:
                    self.retried.append(row)
                cause = flow[_SYNACK_CAUSE]
                if cause & f.CAUSE_AFTER_ACK:
                    self.after_ack.append(row)
                elif cause & f.CAUSE_DEFERRED:
                    self.deferred.append(row)
                if flow[_O_SYN_REPEATS] >= SYN_REPEATS_LISTED and not flow[_R_SYNACK_REPEATS]:
                    self.syn_repeated.append(row)
            else:
                self._incomplete(row, bits)
            if bits & f.FAST_OPEN_DROPPED:
                self.fast_open_dropped.append(row)
            if bits & f.CHALLENGED:
                self.challenged.append(row)
            if bits & f.REUSED:
                self.reused.append(row)
        if bits & f.RESET:
            self.reset.append(row)
        o_fins, r_fins = flow[_O_FINS], flow[_R_FINS]
        if o_fins or r_fins:
            self._closed(row, flow, o_fins, r_fins)

    def _closed(self, row: int, flow: array[int], o_fins: int, r_fins: int) -> None:
        if o_fins and r_fins:
            self.both_closed += 1
        start = flow[_HALF_START_NS]
        if start and (flow[_HALF_END_NS] or self.end_ns) - start > HALF_CLOSED_LISTED_NS:
            self.half_closed.append(row)
        if (
            (o_fins > 1 and flow[_O_REPEATS])
            or (r_fins > 1 and flow[_R_REPEATS])
            or verdict.close(flow[_BITS], o_fins, r_fins) in _WAITING_FIN
        ):
            self.fin_waiting.append(row)

    def _incomplete(self, row: int, bits: int) -> None:
        kind = verdict.handshake(bits)
        if kind == "refused":
            self.refused.append(row)
        elif kind == "aborted":
            self.aborted.append(row)
        elif kind == "unreachable":
            self.unreachable.append(row)
        elif kind == "half_open":
            self.half_open.append(row)
        elif not bits & f.REPLACED:
            self.unanswered.append(row)

    @cached_property
    def speaking(self) -> set[Host]:
        """Hosts of which at least one segment was captured."""
        spoke = {host for host, source in self.sources.items() if source.plain or source.spoke}
        return spoke.union(key[0] for key, listener in self.listeners.items() if listener.last_sign_ns)

    def fact(self, row: int, name: str) -> int:
        """One raw fact of a row."""
        return self._rows[self._order[row] * WIDTH + INDEX[name]]

    @cached_property
    def last_signs(self) -> dict[Host, int]:
        """When each responding host last sent something, in ns (the last packet of such a flow)."""
        signs: dict[Host, int] = {}
        for key, listener in self.listeners.items():
            if listener.last_sign_ns > signs.get(key[0], 0):
                signs[key[0]] = listener.last_sign_ns
        return signs

    def facts(self, rows: Iterable[int], name: str) -> list[int]:
        """One raw fact of many rows: for causes that may meet a million of them."""
        flat, order, position = self._rows, self._order, INDEX[name]
        return [flat[order[row] * WIDTH + position] for row in rows]

    def originators(self, rows: Iterable[int]) -> set[Host]:
        """The originating hosts of rows."""
        flat, order = self._rows, self._order
        starts = [order[row] * WIDTH for row in rows]
        return {host_key(flat[start + _O_HI], flat[start + _O_LO]) for start in starts}

    def free(self, rows: Iterable[int]) -> list[int]:
        """Those rows that no cause has explained yet."""
        claimed = self._claimed
        return [row for row in rows if not claimed[row]]

    def claim(self, rows: Iterable[int]) -> None:
        """Mark rows as explained."""
        for row in rows:
            self._claimed[row] = 1

    def listener(self, row: int) -> Listener:
        """The listener that a row was meant for."""
        return self.listeners[self.listener_key(row)]

    def listener_key(self, row: int) -> ListenerKey:
        """The key of that listener."""
        start, rows = self._order[row] * WIDTH, self._rows
        return host_key(rows[start + _R_HI], rows[start + _R_LO]), rows[start + _R_PORT], rows[start + _SCOPE]

    def originator(self, row: int) -> Host:
        """The originating host of a row."""
        start = self._order[row] * WIDTH
        return host_key(self._rows[start + _O_HI], self._rows[start + _O_LO])

    def responder(self, row: int) -> Host:
        """The responding host of a row."""
        start = self._order[row] * WIDTH
        return host_key(self._rows[start + _R_HI], self._rows[start + _R_LO])

    def ordinary(self, row: int) -> bool:
        """Whether its SYN offers SACK, as every system in use does, and tools that flood or scan mostly do not."""
        return bool(self.fact(row, "o_options") & OPT_SACK_PERMITTED)

    def by(self, key: Callable[[int], Key], rows: Iterable[int]) -> list[tuple[Key, list[int]]]:
        """Rows by a key of each, the largest group first."""
        groups: defaultdict[Key, list[int]] = defaultdict(list)
        for row in rows:
            groups[key(row)].append(row)
        return sorted(groups.items(), key=lambda group: -len(group[1]))

    def by_listener(self, rows: Iterable[int]) -> list[tuple[ListenerKey, list[int]]]:
        """Rows by listener, the largest group first."""
        return self.by(self.listener_key, rows)

    def waited_out(self, row: int) -> bool:
        """Whether the originator's attempt was over, by its retransmission timer, before the capture ended."""
        expiry = self.table.timers.expiry_ns(
            states.SYN_SENT,
            self.fact(row, "o_refresh_ns"),
            self.fact(row, "o_repeats"),
            self.fact(row, "o_interval_ns"),
        )
        return expiry is not None and expiry < self.end_ns

    def rows_of(self, places: Iterable[int]) -> list[int]:
        """Rows, in order, of places in the facts (which are in order of leaving the tracker)."""
        wanted = set(places)
        return [row for row, place in enumerate(self._order) if place in wanted] if wanted else []

    def repeats(self, row: int, end: str) -> int:
        """How often `o_` or `r_` has sent its FIN again, at most (copies made by the capture left out)."""
        return min(max(self.fact(row, end + "fins") - 1, 0), self.fact(row, end + "retransmissions"))


_BEGINS = f.SYN_SEEN | f.SYNACK_SEEN
_FORGED = f.O_FORGED_RST | f.R_FORGED_RST
# A plain connection: its handshake is there and done, and nothing is wrong with it.
_PLAIN = f.SYN_SEEN | f.SYNACK_SEEN | f.COMPLETE
_PLAIN_MASK = (_PLAIN | f.CONTRADICTED | f.RESET | f.STALE_RST | f.CHALLENGED | f.REUSED | f.REPLACED) | (
    f.EVICTED | _FORGED | f.FAST_OPEN_DROPPED
)
_BOTH_ACKED = f.O_FIN_ACKED | f.R_FIN_ACKED
_BITS = INDEX["bits"]
_SCOPE = INDEX["scope"]
_O_HI, _O_LO = INDEX["o_hi"], INDEX["o_lo"]
_R_HI, _R_LO, _R_PORT = INDEX["r_hi"], INDEX["r_lo"], INDEX["r_port"]
_LAST_NS = INDEX["last_ns"]
_SYNACK_CAUSE = INDEX["synack_cause"]
_HALF_START_NS, _HALF_END_NS = INDEX["half_start_ns"], INDEX["half_end_ns"]
_O_PACKETS, _R_PACKETS = INDEX["o_packets"], INDEX["r_packets"]
_O_SYNS, _R_SYNS = INDEX["o_syns"], INDEX["r_syns"]
_O_SYNACKS, _R_SYNACKS = INDEX["o_synacks"], INDEX["r_synacks"]
_O_FINS, _R_FINS = INDEX["o_fins"], INDEX["r_fins"]
_O_RSTS, _R_RSTS = INDEX["o_rsts"], INDEX["r_rsts"]
_O_DUPLICATES, _R_DUPLICATES = INDEX["o_duplicates"], INDEX["r_duplicates"]
_O_MISSING, _R_MISSING = INDEX["o_missing"], INDEX["r_missing"]
_O_REPEATS, _R_REPEATS = INDEX["o_retransmissions"], INDEX["r_retransmissions"]
_O_SYN_REPEATS, _R_SYNACK_REPEATS = INDEX["o_syn_retransmissions"], INDEX["r_synack_retransmissions"]
_O_STUCK, _R_STUCK = INDEX["o_stuck"], INDEX["r_stuck"]
# 0 in all but a few flows, which are looked at one by one.
_RARE = (
    *(_SYNACK_CAUSE, _O_SYN_REPEATS, _O_DUPLICATES, _R_DUPLICATES, _O_MISSING, _R_MISSING),
    *(_O_STUCK, _R_STUCK),
)
# What rests on something that did not come.
_WAITING_LISTS = ("unanswered", "half_open", "after_ack", "deferred", "half_closed", "fin_waiting", "stuck")
