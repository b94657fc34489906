"""`Index`: one pass over the facts of all flows, shared by every cause.

Owns the counters by listener and by source, the rows sorted by what became of them, and which rows a cause has already
explained. Judges nothing: thresholds belong to the causes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from analyzer.findings.view import CaptureView
from analyzer.flows import facts as f
from analyzer.flows import verdict
from analyzer.flows.facts import INDEX, WIDTH
from analyzer.flows.table import FlowTable
from analyzer.tcp import states

#: (high, low) halves of an address
Host = tuple[int, int]
#: (high, low, port, scope)
ListenerKey = tuple[int, int, int, int]
Key = TypeVar("Key", bound=Hashable)

SECOND_NS = 1_000_000_000
#: a shorter half close is the ordinary pause between the two FINs, and is not even listed
HALF_CLOSED_LISTED_NS = SECOND_NS
#: SYN repeated twice: one loss is ordinary, two of two in a row at 1 % loss come once in 10,000 connections
SYN_REPEATS_LISTED = 2
#: one-way traffic counts as a missing direction from this many segments on; fewer may be a stray RST or probe
ONE_WAY_SEGMENTS = 3

_WAITING_FIN = frozenset(("fin_unacked", "last_ack_missing"))


class Listener:
    """Counters of one (host, port)."""

    __slots__ = ("answered", "attempts", "completed", "first_ns", "key", "last_answer_ns", "last_sign_ns", "refused")

    def __init__(self, key: ListenerKey) -> None:
        self.key = key
        self.attempts = 0  # flows that begin with a SYN or SYN+ACK
        self.answered = 0  # of them, those with a SYN+ACK
        self.completed = 0  # of them, those whose handshake completed and stayed so
        self.refused = 0
        self.first_ns = 0  # first packet of the first flow
        self.last_answer_ns = 0  # its last SYN+ACK
        self.last_sign_ns = 0  # last packet of any flow in which it sent something


class Source:
    """Counters of one originating host."""

    __slots__ = ("attempts", "completed")

    def __init__(self) -> None:
        self.attempts = 0
        self.completed = 0


class Index:
    """What all causes read. Rows are rows of `table`, in order of flow number.

    `unanswered` … `time_wait`: rows by what became of them (a row may be in several). `claim` marks rows as explained;
    `free` leaves those out.
    """

    def __init__(self, table: FlowTable, capture: CaptureView) -> None:
        self.table = table
        self.capture = capture
        self.end_ns = table.end_ns
        self.listeners: dict[ListenerKey, Listener] = {}
        self.sources: dict[Host, Source] = {}
        self.speaking: set[Host] = set()  # hosts of which at least one segment was captured
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
        self.reset = array("I")
        self.half_closed = array("I")
        self.fin_waiting = array("I")  # a FIN repeated, or left without an ACK
        self.time_wait = array("I")  # an end is in TIME_WAIT when the capture ends
        self.missing = array("I")
        self.one_way = array("I")
        self.duplicates = 0
        self.duplicated = array("I")
        self.flags_only = True  # no segment without SYN, FIN or RST
        self.both_closed = 0  # connections whose two FINs were captured
        self.two_way = 0  # connections of which both directions were captured
        self.overflowing: set[ListenerKey] = set()  # listeners with a full accept queue, once that is found
        self.doubts: dict[str, str] = {}  # what is wrong with the capture: its kind → in words
        self._claimed = bytearray(len(table))
        self._rows, self._order = table.facts.rows, table.order
        self._read()

    def _read(self) -> None:
        table, end_ns = self.table, self.end_ns
        rows, order = self._rows, self._order
        listeners, sources, speaking = self.listeners, self.sources, self.speaking
        time_wait_ns = table.timers.time_wait_ns
        flags_only = True
        for row, at in enumerate(order):
            start = at * WIDTH
            flow = rows[start : start + WIDTH]
            bits = flow[_BITS]
            key = (flow[_R_HI], flow[_R_LO], flow[_R_PORT], flow[_SCOPE])
            listener = listeners.get(key)
            if listener is None:
                listener = listeners[key] = Listener(key)
                listener.first_ns = flow[_FIRST_NS]
            host = (flow[_O_HI], flow[_O_LO])
            source = sources.get(host)
            if source is None:
                source = sources[host] = Source()
            o_packets, r_packets = flow[_O_PACKETS], flow[_R_PACKETS]
            if o_packets:
                speaking.add(host)
            if r_packets:
                if flow[_LAST_NS] > listener.last_sign_ns:
                    if not listener.last_sign_ns:
                        speaking.add(key[:2])
                    listener.last_sign_ns = flow[_LAST_NS]
                if o_packets:
                    self.two_way += 1
            if flags_only:
                flags_only = (
                    o_packets == flow[_O_SYNS] + flow[_O_SYNACKS] + flow[_O_FINS] + flow[_O_RSTS]
                    and r_packets == flow[_R_SYNS] + flow[_R_SYNACKS] + flow[_R_FINS] + flow[_R_RSTS]
                )  # fmt: skip
            copies = flow[_O_DUPLICATES] + flow[_R_DUPLICATES]
            if copies:
                self.duplicates += copies
                self.duplicated.append(row)
            if flow[_O_MISSING] or flow[_R_MISSING]:
                self.missing.append(row)
            if not (o_packets and r_packets) and (
                bits & f.COMPLETE or (o_packets + r_packets >= ONE_WAY_SEGMENTS and not bits & _BEGINS)
            ):
                self.one_way.append(row)
            if bits & _BEGINS:
                listener.attempts += 1
                source.attempts += 1
                if bits & f.SYNACK_SEEN:
                    listener.answered += 1
                    if flow[_LAST_SYNACK_NS] > listener.last_answer_ns:
                        listener.last_answer_ns = flow[_LAST_SYNACK_NS]
                if bits & f.COMPLETE:
                    if not bits & f.CONTRADICTED:
                        listener.completed += 1
                        source.completed += 1
                    if bits & f.STALE_RST:
                        self.stale_rst.append(row)
                    cause = flow[_SYNACK_CAUSE]
                    if cause:
                        if cause & f.CAUSE_AFTER_ACK:
                            self.after_ack.append(row)
                        elif cause & f.CAUSE_DEFERRED:
                            self.deferred.append(row)
                    if flow[_O_SYN_REPEATS] >= SYN_REPEATS_LISTED and not flow[_R_SYNACK_REPEATS]:
                        self.syn_repeated.append(row)
                else:
                    self._incomplete(row, bits, listener)
                if bits & f.CHALLENGED:
                    self.challenged.append(row)
                if bits & f.REUSED:
                    self.reused.append(row)
            if bits & f.RESET:
                self.reset.append(row)
            o_fins, r_fins = flow[_O_FINS], flow[_R_FINS]
            if o_fins or r_fins:
                if o_fins and r_fins:
                    self.both_closed += 1
                if (
                    flow[_HALF_START_NS]
                    and (flow[_HALF_END_NS] or end_ns) - flow[_HALF_START_NS] > HALF_CLOSED_LISTED_NS
                ):
                    self.half_closed.append(row)
                if (
                    (o_fins > 1 and flow[_O_REPEATS])
                    or (r_fins > 1 and flow[_R_REPEATS])
                    or verdict.close(bits, o_fins, r_fins) in _WAITING_FIN
                ):
                    self.fin_waiting.append(row)
                if (flow[_O_STATE] == states.TIME_WAIT and flow[_O_REFRESH_NS] + time_wait_ns >= end_ns) or (
                    flow[_R_STATE] == states.TIME_WAIT and flow[_R_REFRESH_NS] + time_wait_ns >= end_ns
                ):
                    self.time_wait.append(row)
        self.flags_only = flags_only

    def _incomplete(self, row: int, bits: int, listener: Listener) -> None:
        kind = verdict.handshake(bits)
        if kind == "refused":
            listener.refused += 1
            self.refused.append(row)
        elif kind == "aborted":
            self.aborted.append(row)
        elif kind == "unreachable":
            self.unreachable.append(row)
        elif kind == "half_open":
            self.half_open.append(row)
        elif not bits & f.REPLACED:
            self.unanswered.append(row)

    def fact(self, row: int, name: str) -> int:
        """One raw fact of a row."""
        return self._rows[self._order[row] * WIDTH + INDEX[name]]

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
        return rows[start + _R_HI], rows[start + _R_LO], rows[start + _R_PORT], rows[start + _SCOPE]

    def originator(self, row: int) -> Host:
        """The originating host of a row."""
        start = self._order[row] * WIDTH
        return self._rows[start + _O_HI], self._rows[start + _O_LO]

    def responder(self, row: int) -> Host:
        """The responding host of a row."""
        start = self._order[row] * WIDTH
        return self._rows[start + _R_HI], self._rows[start + _R_LO]

    def by(self, key: Callable[[int], Key], rows: Iterable[int]) -> list[tuple[Key, list[int]]]:
        """Rows by a key of each, the largest group first."""
        groups: dict[Key, list[int]] = {}
        for row in rows:
            name = key(row)
            group = groups.get(name)
            if group is None:
                groups[name] = [row]
            else:
                group.append(row)
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

    def repeats(self, row: int, end: str) -> int:
        """How often `o_` or `r_` has sent its FIN again, at most (copies made by the capture left out)."""
        return min(max(self.fact(row, end + "fins") - 1, 0), self.fact(row, end + "retransmissions"))


_BEGINS = f.SYN_SEEN | f.SYNACK_SEEN
_BITS = INDEX["bits"]
_SCOPE = INDEX["scope"]
_O_HI, _O_LO = INDEX["o_hi"], INDEX["o_lo"]
_R_HI, _R_LO, _R_PORT = INDEX["r_hi"], INDEX["r_lo"], INDEX["r_port"]
_FIRST_NS, _LAST_NS = INDEX["first_ns"], INDEX["last_ns"]
_SYNACK_CAUSE, _LAST_SYNACK_NS = INDEX["synack_cause"], INDEX["last_synack_ns"]
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
_O_STATE, _R_STATE = INDEX["o_state"], INDEX["r_state"]
_O_REFRESH_NS, _R_REFRESH_NS = INDEX["o_refresh_ns"], INDEX["r_refresh_ns"]
