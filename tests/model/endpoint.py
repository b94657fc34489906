"""A host's TCP as RFC 9293 and Linux have it, without any I/O: segments and calls in, segments and states out.

Owns sockets, request sockets, listeners and their timers on one host. Must not know the tracker, nor what of its
segments is lost, seen or believed. Written from RFC 9293, 5961, 6298 and 7413 and from the records of real kernels;
data are only counted, windows never close, and congestion control is left out, since no state hangs on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MS = 1_000_000
SECOND = 1_000 * MS

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

NO_SOCKET = "CLOSED"
MSS = 1000
WINDOW = 64240  # never scaled, never closed

TIME_WAIT_NS = 60 * SECOND  # Linux TCP_TIMEWAIT_LEN
FIN_TIMEOUT_NS = 60 * SECOND  # Linux tcp_fin_timeout, of an orphaned FIN_WAIT_2
DELAYED_ACK_NS = 40 * MS  # Linux TCP_DELACK_MIN
MIN_RTO_NS = 200 * MS  # Linux TCP_RTO_MIN
MAX_RTO_NS = 120 * SECOND  # Linux TCP_RTO_MAX
FIRST_RTO_NS = SECOND  # RFC 6298 section 2.1
RATE_LIMIT_NS = 500 * MS  # Linux tcp_invalid_ratelimit
AFTER_BAD_ACK_NS = 10 * MS  # Linux repeats the SYN that soon after it has reset an old connection
SYN_LINEAR = 4  # Linux tcp_syn_linear_timeouts
SYN_RETRIES = 6  # Linux tcp_syn_retries
SYNACK_RETRIES = 5  # Linux tcp_synack_retries
DATA_RETRIES = 15  # Linux tcp_retries2
ORPHAN_RETRIES = 8  # Linux tcp_orphan_retries
TW_REUSE_NS = SECOND  # Linux tcp_tw_reuse: an own TIME_WAIT may be replaced when its time stamps are that old
UNKNOWN_SEQ = 3_000_000_000  # a RST of no connection has number 0, which is anywhere relative to an ISN

_M = 0xFFFF_FFFF
_SYNCHRONIZED = frozenset(("ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"))
_MAY_WRITE = frozenset(("SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "CLOSE_WAIT"))
_RECEIVES_DATA = frozenset(("SYN_RECEIVED", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"))


def before(a: int, b: int) -> bool:
    """Whether sequence number `a` lies before `b` (RFC 9293 section 3.4)."""
    return (a - b) & _M > 0x7FFF_FFFF


class Rules(NamedTuple):
    """The habits of one host."""

    linear_syn: bool = True  # Linux 6.5 and later
    delayed_ack: bool = False
    timestamps: bool = True
    tw_reuse: bool = False
    piggyback: bool = False  # data written before the answer go out with the handshake's ACK
    backlog: int = 8
    accepts: bool = True  # the application accepts at once
    abort_on_overflow: bool = False
    defer_accept: int = 0  # in repetitions of the SYN+ACK
    fast_open: bool = False
    challenges_crossing: bool = False  # only challenges a SYN+ACK that crossed its own (RFC 5961), as Linux before 6.12
    late_permille: int = 10  # how late timers run


@dataclass(slots=True)
class Segment:
    """One segment, and what was true of its sender just after it had sent it."""

    source: str
    target: str
    flags: int
    seq: int
    ack: int
    payload: int
    ip_id: int
    tsval: int | None
    tsecr: int
    fast_open: bool
    state: str
    incarnation: int
    sent_ns: int

    @property
    def end(self) -> int:
        """The sequence number after the segment."""
        return (self.seq + self.payload + bool(self.flags & SYN) + bool(self.flags & FIN)) & _M


class Change(NamedTuple):
    """From `at_ns` on, the socket `local`, `peer` is in `state`."""

    at_ns: int
    local: str
    peer: str
    state: str


@dataclass(slots=True)
class Piece:
    """A stretch of sequence space on its way: payload, or a SYN, or both, with or without FIN."""

    seq: int
    payload: int
    flags: int

    @property
    def end(self) -> int:
        return (self.seq + self.payload + bool(self.flags & SYN) + bool(self.flags & FIN)) & _M


@dataclass(slots=True, eq=False)
class Socket:
    """One end of one connection: RFC 9293's TCB. `request`: Linux's request socket, which no application has yet."""

    local: str
    peer: str
    incarnation: int
    iss: int
    state: str = NO_SOCKET
    snd_una: int = 0
    snd_nxt: int = 0
    irs: int = 0
    rcv_nxt: int = 0
    request: bool = False
    child_of_fast_open: bool = False
    accepted: bool = True
    orphan: bool = False
    acked_while_deferred: bool = False
    pending: int = 0
    closing: bool = False
    fin_sent: bool = False
    sent: list[Piece] = field(default_factory=list)
    ahead: list[tuple[int, int, bool]] = field(default_factory=list)
    rto_ns: int = FIRST_RTO_NS
    interval_ns: int = FIRST_RTO_NS
    retries: int = 0
    recovering: bool = False
    duplicate_acks: int = 0
    retransmit_at: int | None = None
    ack_at: int | None = None
    expire_at: int | None = None
    limited_until: int = 0
    first_sent_ns: int = 0
    time_wait_since: int = 0
    next_id: int = 0
    timestamps: bool = False
    ts_recent: int = 0


class Host:
    """One host: its sockets, its listeners, and what it sends (`outbox`, which the caller empties)."""

    def __init__(self, letters: str, rules: Rules) -> None:
        self.letters = letters
        self.rules = rules
        self.now = 0
        self.sockets: dict[tuple[str, str], Socket] = {}
        self.queues: dict[str, list[Socket]] = {}
        self.outbox: list[Segment] = []
        self.changes: list[Change] = []
        self._incarnations = 0
        self._known: set[tuple[str, str]] = set()

    # --- what the application asks -----------------------------------------------------------------------------

    def listen(self, local: str) -> None:
        self.queues.setdefault(local, [])

    def unlisten(self, local: str) -> None:
        """Close the listener: requests end silently, connections nobody accepted are reset."""
        for socket in self.queues.pop(local, []):
            if self._alive(socket):
                self._reset(socket)
        for socket in [one for one in self.sockets.values() if one.local == local and one.request]:
            self._end(socket)

    def accept(self, local: str) -> None:
        for socket in self.queues.get(local, []):
            socket.accepted = True
        if local in self.queues:
            self.queues[local].clear()

    def connect(self, local: str, peer: str, data: int = 0) -> None:
        """Active open; `data` > 0: fast open with as many bytes in the SYN."""
        old = self.sockets.get((local, peer))
        iss = self._new_iss(local, peer)
        if old is not None:
            reusable = self.rules.tw_reuse and old.timestamps and old.state == "TIME_WAIT"
            if not reusable or self.now - old.time_wait_since <= TW_REUSE_NS:
                return
            iss = (old.snd_nxt + 65537) & _M
            self._end(old)
        socket = self._open(local, peer, iss)
        socket.timestamps = self.rules.timestamps
        self._move(socket, "SYN_SENT")
        socket.sent.append(Piece(iss, 0, SYN))
        socket.snd_nxt = (iss + 1) & _M
        if data:
            socket.sent.append(Piece(socket.snd_nxt, data, 0))
            socket.snd_nxt = (socket.snd_nxt + data) & _M
        socket.first_sent_ns = self.now
        self._emit(socket, SYN, iss, 0, data, fast_open=bool(data))
        self._arm(socket)

    def send(self, local: str, peer: str, size: int) -> None:
        socket = self._owned(local, peer)
        if socket is None or socket.closing or socket.state not in _MAY_WRITE:
            return
        socket.pending += size
        self._push(socket)

    def shutdown(self, local: str, peer: str) -> None:
        """No more data from here; the socket still reads."""
        socket = self._owned(local, peer)
        if socket is not None:
            self._finish(socket)

    def close(self, local: str, peer: str) -> None:
        """No more data from here, and nobody reads any longer."""
        socket = self._owned(local, peer)
        if socket is None:
            return
        socket.orphan = True
        self._finish(socket)
        if socket.state == "FIN_WAIT_2" and socket.expire_at is None:
            socket.expire_at = self.now + FIN_TIMEOUT_NS

    def abort(self, local: str, peer: str) -> None:
        """SO_LINGER 0, or unread data at close: a RST, where the state calls for one."""
        socket = self._owned(local, peer)
        if socket is not None:
            self._reset(socket)

    def _reset(self, socket: Socket) -> None:
        needs_reset = socket.state not in ("SYN_SENT", "CLOSING", "LAST_ACK")
        self._end(socket)
        if needs_reset:
            self._emit(socket, RST | ACK, socket.snd_nxt, socket.rcv_nxt)

    def probe(self, local: str, peer: str) -> None:
        """A keep-alive probe."""
        socket = self.sockets.get((local, peer))
        if socket is None or socket.sent or socket.state not in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_2"):
            return
        if socket.state != "FIN_WAIT_2" or not socket.orphan:
            self._emit(socket, ACK, (socket.snd_una - 1) & _M, socket.rcv_nxt)

    def crash(self) -> None:
        """The host forgets everything and is back at once."""
        self.queues.clear()
        for socket in list(self.sockets.values()):
            self._end(socket)

    # --- timers ------------------------------------------------------------------------------------------------

    def next_timer(self) -> int | None:
        times = [
            at
            for socket in self.sockets.values()
            for at in (socket.retransmit_at, socket.ack_at, socket.expire_at)
            if at is not None
        ]
        return min(times, default=None)

    def fire(self) -> None:
        """Run the timers that are due."""
        for socket in list(self.sockets.values()):
            if socket.expire_at is not None and socket.expire_at <= self.now:
                self._end(socket)
                continue
            if socket.ack_at is not None and socket.ack_at <= self.now:
                self._ack(socket)
            if socket.retransmit_at is not None and socket.retransmit_at <= self.now:
                self._timeout(socket)

    def _arm(self, socket: Socket) -> None:
        wait = socket.interval_ns
        socket.retransmit_at = self.now + wait + wait * self.rules.late_permille // 1000

    def _timeout(self, socket: Socket) -> None:
        if socket.retries >= self._retries(socket):
            self._end(socket)
            return
        socket.retries += 1
        linear = socket.state == "SYN_SENT" and self.rules.linear_syn and socket.retries <= SYN_LINEAR
        if not linear:
            socket.interval_ns = min(2 * socket.interval_ns, MAX_RTO_NS)
        self._arm(socket)
        if socket.acked_while_deferred and socket.retries < self.rules.defer_accept:
            return
        socket.recovering = True
        self._resend(socket)

    def _retries(self, socket: Socket) -> int:
        if socket.state == "SYN_SENT":
            return SYN_RETRIES + (SYN_LINEAR if self.rules.linear_syn else 0)
        if socket.request or (socket.child_of_fast_open and socket.state == "SYN_RECEIVED"):
            return max(SYNACK_RETRIES, self.rules.defer_accept + 1)
        if socket.orphan:
            return ORPHAN_RETRIES
        return DATA_RETRIES

    def _resend(self, socket: Socket) -> None:
        piece = socket.sent[0]
        if piece.flags & SYN and socket.state == "SYN_SENT":
            self._emit(socket, SYN, piece.seq, 0)
        elif piece.flags & SYN:
            self._emit(socket, SYN | ACK, piece.seq, socket.rcv_nxt)
        else:
            self._emit(socket, piece.flags | ACK, piece.seq, socket.rcv_nxt, piece.payload)

    # --- segments ----------------------------------------------------------------------------------------------

    def receive(self, g: Segment) -> None:
        socket = self.sockets.get((g.target, g.source))
        if socket is not None and g.tsval is not None and socket.timestamps:
            socket.ts_recent = g.tsval
        if socket is None:
            self._without_socket(g)
        elif socket.state == "SYN_SENT":
            self._in_syn_sent(socket, g)
        elif socket.request:
            self._in_request(socket, g)
        elif socket.state == "TIME_WAIT":
            self._in_time_wait(socket, g)
        else:
            self._in_synchronized(socket, g)

    def _without_socket(self, g: Segment) -> None:
        """RFC 9293 section 3.10.7.1 and 3.10.7.2."""
        if g.flags & RST:
            return
        if g.target not in self.queues or g.flags & ACK:
            self._refuse(g)
            return
        if g.flags & SYN and not g.flags & FIN:
            self._passive_open(g, None)

    def _passive_open(self, g: Segment, iss: int | None) -> None:
        if self._is_full(g.target):  # Linux drops the SYN then
            return
        socket = self._open(g.target, g.source, self._new_iss(g.target, g.source) if iss is None else iss)
        socket.timestamps = self.rules.timestamps and g.tsval is not None
        socket.ts_recent = g.tsval or 0
        socket.irs = g.seq
        socket.rcv_nxt = (g.seq + 1) & _M
        socket.sent.append(Piece(socket.iss, 0, SYN))
        socket.snd_nxt = (socket.iss + 1) & _M
        socket.first_sent_ns = self.now
        self._move(socket, "SYN_RECEIVED")
        if g.payload and g.fast_open and self.rules.fast_open:
            socket.child_of_fast_open = True
            socket.rcv_nxt = g.end
            self._enqueue(socket)
        else:
            socket.request = True
            socket.accepted = False
        self._emit(socket, SYN | ACK, socket.iss, socket.rcv_nxt)
        self._arm(socket)

    def _in_syn_sent(self, socket: Socket, g: Segment) -> None:
        """RFC 9293 section 3.10.7.3."""
        fits = g.flags & ACK and before(socket.snd_una, g.ack) and not before(socket.snd_nxt, g.ack)
        if g.flags & ACK and not fits:
            if not g.flags & RST:
                self._refuse(g)
                if socket.retries == 0:
                    socket.retransmit_at = self.now + AFTER_BAD_ACK_NS
            return
        if g.flags & RST:
            if fits:
                self._end(socket)
            return
        if not g.flags & SYN:
            return
        socket.irs = g.seq
        socket.rcv_nxt = (g.seq + 1) & _M
        socket.timestamps = socket.timestamps and g.tsval is not None
        socket.ts_recent = g.tsval or 0
        if not fits:
            self._move(socket, "SYN_RECEIVED")
            self._emit(socket, SYN | ACK, socket.iss, socket.rcv_nxt)
            return
        self._measure(socket)
        self._acknowledged(socket, g.ack)
        self._move(socket, "ESTABLISHED")
        again = bool(socket.sent)
        if not (self.rules.piggyback and socket.pending) and not again:
            self._emit(socket, ACK, socket.snd_nxt, socket.rcv_nxt)
        if again:
            self._resend(socket)
        self._push(socket)

    def _in_request(self, socket: Socket, g: Segment) -> None:
        """Linux `tcp_check_req`."""
        flags = g.flags
        if flags & (SYN | ACK | RST | FIN) == SYN and g.seq == socket.irs:
            if self._may_answer(socket):
                self._arm(socket)
                self._emit(socket, SYN | ACK, socket.iss, socket.rcv_nxt)
            return
        if flags & ACK and not flags & RST and g.ack != socket.snd_nxt:
            self._refuse(g)
            return
        if not self._in_window(socket, g):
            if not flags & RST and self._may_answer(socket):
                self._emit(socket, ACK, socket.snd_nxt, socket.rcv_nxt)
            return
        if g.seq == socket.irs:
            flags &= ~SYN
        if flags & (RST | SYN):
            self._end(socket)
            if not flags & RST:
                self._refuse(g)
            return
        if not flags & ACK:
            return
        deferring = self.rules.defer_accept > socket.retries
        if deferring and g.end == socket.rcv_nxt:
            socket.acked_while_deferred = True
            return
        if self._is_full(socket.local):
            if self.rules.abort_on_overflow:
                self._end(socket)
                self._refuse(g)
            return
        socket.request = False
        self._enqueue(socket)
        self._in_synchronized(socket, g)

    def _in_time_wait(self, socket: Socket, g: Segment) -> None:
        """Linux `tcp_timewait_state_process`."""
        if g.seq == socket.rcv_nxt and (g.flags & RST or g.end == g.seq):
            if g.flags & RST:
                self._end(socket)
            else:
                socket.expire_at = self._time_wait_end()
            return
        if g.flags & RST:
            return
        newer = before(socket.rcv_nxt, g.seq) or (socket.timestamps and g.tsval is not None)
        if g.flags & (SYN | ACK) == SYN and newer and socket.local in self.queues:
            if self._is_full(socket.local):
                return
            iss = (socket.snd_nxt + 65537) & _M
            self._end(socket)
            self._passive_open(g, iss)
            return
        if g.flags & ACK:
            socket.expire_at = self._time_wait_end()
        if (g.end != g.seq and not g.flags & SYN) or self._may_answer(socket):
            self._emit(socket, ACK, socket.snd_nxt, socket.rcv_nxt, without_id=True)

    def _in_synchronized(self, socket: Socket, g: Segment) -> None:
        """RFC 9293 section 3.10.7.4 with RFC 5961, from SYN_RECEIVED to LAST_ACK."""
        if not self._is_valid(socket, g):
            return
        if not g.flags & ACK:
            return
        if socket.state == "SYN_RECEIVED" and not self._completes(socket, g):
            return
        if not self._on_ack(socket, g):
            return
        if g.flags & SYN:  # a SYN+ACK that crossed: its number is old, which draws an ACK
            self._ack(socket)
            return
        fin = bool(g.flags & FIN)
        data_end = (g.end - fin) & _M
        if socket.orphan and before(socket.rcv_nxt, data_end):  # RFC 1122: data that nobody will read
            self._end(socket)
            self._refuse(g)
            return
        if g.payload or fin:
            self._take(socket, g.seq, data_end, fin)

    def _is_valid(self, socket: Socket, g: Segment) -> bool:
        """The first checks: sequence, RST, SYN."""
        if socket.state == "SYN_RECEIVED" and g.flags & SYN and g.seq == socket.irs:
            if g.flags & ACK:
                return self._takes_crossing(socket, g)
            if socket.child_of_fast_open and self._may_answer(socket):
                self._arm(socket)
                self._emit(socket, SYN | ACK, socket.iss, socket.rcv_nxt)
            return False
        if not self._in_window(socket, g):
            if g.flags & RST:
                self._reset_below(socket, g)
            elif (g.end != g.seq and not g.flags & SYN) or self._may_answer(socket):
                self._ack(socket)
            return False
        if g.flags & RST:
            if g.seq == socket.rcv_nxt:
                self._end(socket)
            elif not self._reset_below(socket, g) and self._may_answer(socket):
                self._ack(socket)
            return False
        if g.flags & SYN:
            if self._may_answer(socket):
                self._ack(socket)
            return False
        return True

    def _takes_crossing(self, socket: Socket, g: Segment) -> bool:
        """A SYN+ACK in SYN_RECEIVED: Linux since 6.12 takes its ACK; before, and in RFC 5961, it is challenged."""
        if self.rules.challenges_crossing:
            if self._may_answer(socket):
                self._ack(socket)
            return False
        return g.ack == socket.snd_nxt

    def _reset_below(self, socket: Socket, g: Segment) -> bool:
        """Linux `tcp_reset_check`: after the peer's FIN, a RST without its number is taken too."""
        fits = g.seq == (socket.rcv_nxt - 1) & _M and socket.state in ("CLOSE_WAIT", "LAST_ACK", "CLOSING")
        if fits:
            self._end(socket)
        return fits

    def _completes(self, socket: Socket, g: Segment) -> bool:
        """The ACK of a SYN+ACK."""
        if not before(socket.iss, g.ack) or before(socket.snd_nxt, g.ack):
            self._refuse(g)
            return False
        if not (socket.child_of_fast_open and socket.retries):
            self._measure(socket)
        self._move(socket, "ESTABLISHED")
        return True

    def _on_ack(self, socket: Socket, g: Segment) -> bool:
        """Take the acknowledgment; False where the segment is dropped or the socket is gone."""
        if before(socket.snd_nxt, g.ack):
            if self._may_answer(socket):
                self._ack(socket)
            return False
        if g.ack == socket.snd_una and socket.sent and g.end == g.seq:
            socket.duplicate_acks += 1
            if socket.duplicate_acks == 3 and not socket.sent[0].flags & SYN:
                self._resend(socket)
        elif before(socket.snd_una, g.ack):
            self._acknowledged(socket, g.ack)
        if socket.state == "ESTABLISHED":
            self._push(socket)
        if not socket.fin_sent or socket.sent:
            return True
        if socket.state == "FIN_WAIT_1":
            self._move(socket, "FIN_WAIT_2")
            if socket.orphan:
                socket.expire_at = self.now + FIN_TIMEOUT_NS
        elif socket.state == "CLOSING":
            self._time_wait(socket)
            return False
        elif socket.state == "LAST_ACK":
            self._end(socket)
            return False
        return True

    def _take(self, socket: Socket, start: int, end: int, fin: bool) -> None:
        """Data and FIN from `start`, in or out of order."""
        if socket.state not in _RECEIVES_DATA:
            self._ack(socket)
            return
        socket.ahead.append((start, end, fin))
        old, closed, progress = socket.rcv_nxt, False, True
        while progress and not closed:
            progress = False
            for first, last, final in socket.ahead:
                if before(socket.rcv_nxt, first):
                    continue
                if before(socket.rcv_nxt, last):
                    socket.rcv_nxt = last
                    progress = True
                if final and socket.rcv_nxt == last:
                    closed = True
        socket.ahead = [] if closed else [one for one in socket.ahead if before(socket.rcv_nxt, one[1]) or one[2]]
        if closed:
            self._fin(socket)
        elif socket.rcv_nxt == old or socket.ahead or socket.ack_at is not None or not self.rules.delayed_ack:
            self._ack(socket)
        else:
            socket.ack_at = self.now + DELAYED_ACK_NS

    def _fin(self, socket: Socket) -> None:
        """All of the peer's data and its FIN have come."""
        socket.rcv_nxt = (socket.rcv_nxt + 1) & _M
        if socket.state in ("SYN_RECEIVED", "ESTABLISHED"):
            self._move(socket, "CLOSE_WAIT")
            if self.rules.delayed_ack:
                socket.ack_at = self.now + DELAYED_ACK_NS
                return
        elif socket.state == "FIN_WAIT_1":
            self._move(socket, "CLOSING")
        elif socket.state == "FIN_WAIT_2":
            self._time_wait(socket)
        self._ack(socket)

    # --- sending -----------------------------------------------------------------------------------------------

    def _finish(self, socket: Socket) -> None:
        if socket.state == "SYN_SENT":
            self._end(socket)
            return
        if socket.closing:
            return
        socket.closing = True
        if socket.state in ("SYN_RECEIVED", "ESTABLISHED"):
            self._move(socket, "FIN_WAIT_1")
        elif socket.state == "CLOSE_WAIT":
            self._move(socket, "LAST_ACK")
        self._push(socket)

    def _push(self, socket: Socket) -> None:
        """Send what the application has written, and the FIN it asked for."""
        early = socket.state == "SYN_RECEIVED" and socket.child_of_fast_open
        if not early and socket.state not in _SYNCHRONIZED:
            return
        while socket.pending or (socket.closing and not socket.fin_sent):
            size = min(socket.pending, MSS)
            socket.pending -= size
            flags = PSH if size and not socket.pending else 0
            if socket.closing and not socket.pending:
                flags |= FIN
                socket.fin_sent = True
            piece = Piece(socket.snd_nxt, size, flags)
            socket.sent.append(piece)
            socket.snd_nxt = piece.end
            self._emit(socket, flags | ACK, piece.seq, socket.rcv_nxt, size)
            socket.ack_at = None
            if socket.retransmit_at is None:
                socket.interval_ns = socket.rto_ns
                self._arm(socket)

    def _acknowledged(self, socket: Socket, ack: int) -> None:
        socket.snd_una = ack
        socket.duplicate_acks = 0
        kept = []
        for piece in socket.sent:
            if not before(ack, piece.end):
                continue
            if before(piece.seq, ack):  # in part: a SYN of fast open, or a middlebox
                piece.payload -= (ack - piece.seq) & _M
                piece.seq = ack
            kept.append(piece)
        socket.sent = kept
        recovering = socket.recovering
        socket.retries = 0
        socket.recovering = False
        socket.interval_ns = socket.rto_ns
        socket.retransmit_at = None
        if kept:
            self._arm(socket)
            if recovering and socket.state in _SYNCHRONIZED:
                socket.recovering = True
                self._resend(socket)

    def _measure(self, socket: Socket) -> None:
        """The round trip of the handshake makes the timer of everything later (RFC 6298; not after a repetition)."""
        if socket.retries == 0:
            socket.rto_ns = MIN_RTO_NS + (self.now - socket.first_sent_ns)

    def _ack(self, socket: Socket) -> None:
        socket.ack_at = None
        self._emit(socket, ACK, socket.snd_nxt, socket.rcv_nxt, without_id=socket.state == "TIME_WAIT")

    def _refuse(self, g: Segment) -> None:
        """A RST for a segment that fits nothing (RFC 9293 section 3.10.7.1)."""
        if g.flags & RST:
            return
        if g.flags & ACK:
            self._emit_stateless(g, RST, g.ack, 0)
        else:
            self._emit_stateless(g, RST | ACK, UNKNOWN_SEQ, g.end)

    def _emit_stateless(self, g: Segment, flags: int, seq: int, ack: int) -> None:
        socket = self.sockets.get((g.target, g.source))
        self.outbox.append(
            Segment(
                source=g.target,
                target=g.source,
                flags=flags,
                seq=seq,
                ack=ack,
                payload=0,
                ip_id=0,
                tsval=None,
                tsecr=0,
                fast_open=False,
                state=socket.state if socket else NO_SOCKET,
                incarnation=socket.incarnation if socket else self._incarnations + 1,
                sent_ns=self.now,
            )
        )

    def _emit(
        self,
        socket: Socket,
        flags: int,
        seq: int,
        ack: int,
        payload: int = 0,
        *,
        fast_open: bool = False,
        without_id: bool = False,
    ) -> None:
        ip_id = 0
        if not (without_id or socket.request):
            socket.next_id = socket.next_id % 0xFFFF + 1
            ip_id = socket.next_id
        self.outbox.append(
            Segment(
                source=socket.local,
                target=socket.peer,
                flags=flags,
                seq=seq,
                ack=ack if flags & ACK else 0,
                payload=payload,
                ip_id=ip_id,
                tsval=self.now // MS if socket.timestamps else None,
                tsecr=socket.ts_recent,
                fast_open=fast_open,
                state=socket.state,
                incarnation=socket.incarnation,
                sent_ns=self.now,
            )
        )

    # --- sockets -----------------------------------------------------------------------------------------------

    def _new_iss(self, local: str, peer: str) -> int:
        """The first is 0, so that a trace reads well; later ones follow RFC 9293's clock (64 ns, as in Linux)."""
        return (self.now // 64) & _M if (local, peer) in self._known else 0

    def _open(self, local: str, peer: str, iss: int) -> Socket:
        self._known.add((local, peer))
        self._incarnations += 1
        socket = Socket(local, peer, self._incarnations, iss)
        socket.snd_una = socket.snd_nxt = iss
        socket.next_id = 1000 * self._incarnations
        self.sockets[local, peer] = socket
        return socket

    def _owned(self, local: str, peer: str) -> Socket | None:
        """The socket, if the application still holds it."""
        socket = self.sockets.get((local, peer))
        held = socket is not None and socket.accepted and not socket.orphan and socket.state != "TIME_WAIT"
        return socket if held else None

    def _alive(self, socket: Socket) -> bool:
        return self.sockets.get((socket.local, socket.peer)) is socket

    def _is_full(self, local: str) -> bool:
        return sum(self._alive(one) for one in self.queues.get(local, [])) > self.rules.backlog

    def _enqueue(self, socket: Socket) -> None:
        socket.accepted = self.rules.accepts
        if not socket.accepted:
            self.queues[socket.local].append(socket)

    def _move(self, socket: Socket, state: str) -> None:
        socket.state = state
        self.changes.append(Change(self.now, socket.local, socket.peer, state))

    def _end(self, socket: Socket) -> None:
        if self._alive(socket):
            del self.sockets[socket.local, socket.peer]
            self._move(socket, NO_SOCKET)

    def _time_wait_end(self) -> int:
        return self.now + TIME_WAIT_NS + TIME_WAIT_NS * self.rules.late_permille // 1000

    def _time_wait(self, socket: Socket) -> None:
        self._move(socket, "TIME_WAIT")
        socket.retransmit_at = socket.ack_at = None
        socket.time_wait_since = self.now
        socket.expire_at = self._time_wait_end()

    def _may_answer(self, socket: Socket) -> bool:
        """Linux answers segments without data that fit nowhere at most twice a second."""
        if self.now < socket.limited_until:
            return False
        socket.limited_until = self.now + RATE_LIMIT_NS
        return True

    def _in_window(self, socket: Socket, g: Segment) -> bool:
        """Linux `tcp_sequence`."""
        return not before(g.end, socket.rcv_nxt) and not before((socket.rcv_nxt + WINDOW) & _M, g.seq)
