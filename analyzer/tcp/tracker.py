# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The tracker: batches of segments in, facts about flows out.

Owns every live flow and the state of both of its ends. Takes `SegmentBatch`, gives `FlowFacts`; does no I/O, reads no
clock (time is the segments'), decides no verdict. Ordinary Python that Cython compiles; both give the same answers.

A segment passes: `feed` finds the flow → `_incarnation` picks the right one of several on the same 4-tuple → `_update`
judges it as `f(sender, receiver, segment)` → events → the table in `states` → the transition log of the flow.
"""

from __future__ import annotations

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

from array import array
from collections.abc import Callable, Sequence
from os import urandom
from struct import Struct
from typing import Any

from analyzer import segments
from analyzer.flows import facts
from analyzer.flows.facts import PACKED_FROM, WIDTH, FlowFacts
from analyzer.segments import IPV6, SHARDS, SegmentBatch
from analyzer.tcp import states

#: ports whose owner is taken for the responder where no handshake tells (Zeek's likely_server_ports, TCP)
# fmt: off
LIKELY_SERVER_PORTS = frozenset((
    21, 22, 25, 53, 79, 80, 81, 88, 135, 139, 143, 389, 443, 445, 465, 502, 514, 563, 585, 587, 614, 631, 636, 989,
    990, 992, 993, 995, 1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5222, 5223, 5269, 6379, 6666, 6667, 6668,
    6669, 8000, 8080, 8888, 20000,
))
# fmt: on

#: live flows at most: a flood of new 4-tuples cannot take more; the oldest embryonic ones leave first, counted
MAX_FLOWS = 1_000_000
#: flows that a snapshot takes between two pauses: two or three milliseconds
SNAPSHOT_FLOWS = 2_048
#: finished flows kept to absorb late segments; beyond it the one longest finished of the same shard leaves
FINISHED_KEPT = 16_384
#: holes in one end's sequence space remembered at once: bounds what gaps crafted on purpose can take
MAX_HOLES = 32
#: transitions and retransmissions logged for one flow; beyond it only the last retransmission is updated
MAX_LOG = 256
#: Zeek letters kept of one flow: forged SYNs and RSTs add one each
MAX_HISTORY = 256
#: different histories shared between flows; real traffic has a few hundred
MAX_INTERNED = 8_192
#: packets of an older connection among those of the next, kept by number: every forged late segment adds one
MAX_LATE = 256
#: stream numbers kept for 4-tuples that only ICMP errors have quoted: errors with made-up quotations add one each
MAX_RESERVED = 65_536

FINISHED_TOGETHER = 4096  # flows turned into facts at a time at the end
CACHE_SLOTS = 1 << 15  # two-way cache before the dict: 256 KiB of pointers, most packets hit it

_M32 = cython.declare(cython.uint, 0xFFFFFFFF)
_NO_VALUE = cython.declare(cython.ulonglong, facts.NO_VALUE)
_HALF = cython.declare(cython.uint, 0x80000000)
_SLOT_MASK = cython.declare(cython.ulonglong, CACHE_SLOTS - 1)
# Nobody who sends packets knows them, so that nobody can choose 4-tuples that share a slot. No answer depends on them.
_AHEAD = cython.declare(cython.Py_ssize_t, 32)  # segments looked up together: as many loads as a core has under way
_AHEAD_MASK = cython.declare(cython.Py_ssize_t, 31)
_SECRET_LO = cython.declare(cython.ulonglong, int.from_bytes(urandom(8), "big") | 1)
_SECRET_HI = cython.declare(cython.ulonglong, int.from_bytes(urandom(8), "big") | 1)
_SECRET_PORT = cython.declare(cython.ulonglong, int.from_bytes(urandom(8), "big") | 1)
# An ACK this far beyond what was seen is a capture's loss; further is of no such connection (largest window, RFC 7323).
_FAR = cython.declare(cython.uint, 1 << 30)

_FIN = cython.declare(cython.uint, 0x01)
_SYN = cython.declare(cython.uint, 0x02)
_RST = cython.declare(cython.uint, 0x04)
_ACK = cython.declare(cython.uint, 0x10)
_NOT_PLAIN = cython.declare(cython.uint, 0x07)  # SYN, FIN or RST

_MARK_IPV6 = cython.declare(cython.uint, 1 << 0)
_MARK_TIMESTAMP = cython.declare(cython.uint, 1 << 1)
_MARK_BAD_CHECKSUM = cython.declare(cython.uint, 1 << 2)
_MARK_FRAGMENT = cython.declare(cython.uint, 1 << 3)
_MARK_CUT = cython.declare(cython.uint, 1 << 5)
_MARK_IP_ID = cython.declare(cython.uint, 1 << 8)
_MARK_SHORT_FRAME = cython.declare(cython.uint, 1 << 10)
_MARK_PARTIAL_CHECKSUM = cython.declare(cython.uint, 1 << 11)
_OPT_FAST_OPEN = cython.declare(cython.uint, 1 << 4)

_CLOSED = cython.declare(cython.uint, 0)
_LISTEN = cython.declare(cython.uint, 1)
_SYN_SENT = cython.declare(cython.uint, 2)
_SYN_RECEIVED = cython.declare(cython.uint, 3)
_ESTABLISHED = cython.declare(cython.uint, 4)
_FIN_WAIT_1 = cython.declare(cython.uint, 5)
_FIN_WAIT_2 = cython.declare(cython.uint, 6)
_CLOSE_WAIT = cython.declare(cython.uint, 7)
_CLOSING = cython.declare(cython.uint, 8)
_LAST_ACK = cython.declare(cython.uint, 9)
_TIME_WAIT = cython.declare(cython.uint, 10)
_UNKNOWN = cython.declare(cython.uint, 0)
_OBSERVED = cython.declare(cython.uint, 1)
_INFERRED = cython.declare(cython.uint, 2)

# Time stamps of a capture of the same packet twice lie microseconds apart; a mirror port or a queue between two
# capture points adds little. A retransmission carries a new IP identification (but for crafted packets that always
# carry the same), so this may be generous …
_COPY_BY_ID_NS = cython.declare(cython.longlong, 500_000_000)
# … while identification 0 leaves only TSval, whose clock ticks every 1 to 10 ms (RFC 7323 section 5.4) …
_COPY_BY_TSVAL_NS = cython.declare(cython.longlong, 5_000_000)
# … and without time stamps only closeness: no timer of any stack fires within a millisecond.
_COPY_BARE_NS = cython.declare(cython.longlong, 1_000_000)
# No stack sends a SYN+ACK again by a shorter timer (Linux 1 s, RFC 6298 section 2.1; Windows 300 ms at least).
_SYNACK_TIMER_NS = cython.declare(cython.longlong, 200_000_000)
# An ACK doubted because one was missed before is believed when the next retransmission has not come: Linux timers run
# late by up to a few per cent.
_DOUBT_PERCENT = cython.declare(cython.longlong, states.DOUBT_PERCENT)
# Round trip assumed where none was measured: Linux never retransmits sooner (TCP_RTO_MIN is 200 ms).
_RTT_UNKNOWN_NS = cython.declare(cython.longlong, 150_000_000)
# An ACK captured before the data it covers: the order of two queues of one interface.
_REORDER_NS = cython.declare(cython.longlong, 20_000_000)
_RTT_SLACK_NS = cython.declare(cython.longlong, 1_000_000)
# Repetitions of data that take a path's loss past belief: 0.2 + 0.4 + 0.8 s of Linux's timer.
_IN_VAIN = cython.declare(cython.uint, 3)
# A FIN not sent again for so long was acknowledged: longer than any retransmission timer that Linux begins with (1 s,
# RFC 6298 section 2.1) and than those of all but the slowest paths.
_FIN_AGAIN_NS = cython.declare(cython.longlong, 1_150_000_000)
# The first timer SYN+ACK comes after 1 s (RFC 6298); with TCP_DEFER_ACCEPT it does not, the first is at 3 s or later.
_DEFERRED_NS = cython.declare(cython.longlong, 2_500_000_000)

_M64 = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_K_HI = cython.declare(cython.ulonglong, segments.K_HI)
_K_LO = cython.declare(cython.ulonglong, segments.K_LO)
_K_PORT = cython.declare(cython.ulonglong, segments.K_PORT)
_K_ALL = cython.declare(cython.ulonglong, segments.K_ALL)
_SHIFT = cython.declare(cython.ulonglong, segments.SHARD_SHIFT)
_EVENTS = cython.declare(cython.Py_ssize_t, len(states.EVENTS))
_STATES = cython.declare(cython.Py_ssize_t, len(states.STATES))
_EV_SYN = cython.declare(cython.Py_ssize_t, states.EV_SYN)
_EV_SYN_ACK = cython.declare(cython.Py_ssize_t, states.EV_SYN_ACK)
_EV_ACK_OF_SYN = cython.declare(cython.Py_ssize_t, states.EV_ACK_OF_SYN)
_EV_PROGRESS = cython.declare(cython.Py_ssize_t, states.EV_PROGRESS)
_EV_MIDSTREAM = cython.declare(cython.Py_ssize_t, states.EV_MIDSTREAM)
_EV_FIN = cython.declare(cython.Py_ssize_t, states.EV_FIN)
_EV_CROSSED_FIN = cython.declare(cython.Py_ssize_t, states.EV_CROSSED_FIN)
_EV_ACK_OF_FIN = cython.declare(cython.Py_ssize_t, states.EV_ACK_OF_FIN)
_EV_ACK_OF_CROSSED_FIN = cython.declare(cython.Py_ssize_t, states.EV_ACK_OF_CROSSED_FIN)
_EV_RST = cython.declare(cython.Py_ssize_t, states.EV_RST)
_EV_ICMP = cython.declare(cython.Py_ssize_t, states.EV_ICMP)
_EV_UNSEEN_FIN = cython.declare(cython.Py_ssize_t, states.EV_UNSEEN_FIN)
_EV_UNSEEN_ACK_OF_FIN = cython.declare(cython.Py_ssize_t, states.EV_UNSEEN_ACK_OF_FIN)
_RE_SYN_AGAIN = cython.declare(cython.uint, states.RE_SYN_AGAIN)
_RE_SYNACK_AGAIN = cython.declare(cython.uint, states.RE_SYNACK_AGAIN)
_RE_SYNACK_ELICITED = cython.declare(cython.uint, states.RE_SYNACK_ELICITED)
_RE_FIN_AGAIN = cython.declare(cython.uint, states.RE_FIN_AGAIN)
_RE_TIME_WAIT_RESTART = cython.declare(cython.uint, states.RE_TIME_WAIT_RESTART)
_RE_ACK_CONTRADICTED = cython.declare(cython.uint, states.RE_ACK_CONTRADICTED)
_RE_FIN_ACK_CONTRADICTED = cython.declare(cython.uint, states.RE_FIN_ACK_CONTRADICTED)
_RE_REVIVED = cython.declare(cython.uint, states.RE_REVIVED)
_RE_ANSWER_CONTRADICTED = cython.declare(cython.uint, states.RE_ANSWER_CONTRADICTED)
_RE_REPLACED = cython.declare(cython.uint, states.RE_REPLACED)
_RE_ORPHAN_GONE = cython.declare(cython.uint, states.RE_ORPHAN_GONE)

_B_SYN_SEEN = cython.declare(cython.uint, facts.SYN_SEEN)
_B_SYNACK_SEEN = cython.declare(cython.uint, facts.SYNACK_SEEN)
_B_COMPLETE = cython.declare(cython.uint, facts.COMPLETE)
_B_CONFIRMED = cython.declare(cython.uint, facts.CONFIRMED)
_B_CONTRADICTED = cython.declare(cython.uint, facts.CONTRADICTED)
_B_REFUSED = cython.declare(cython.uint, facts.REFUSED)
_B_ABORTED = cython.declare(cython.uint, facts.ABORTED)
_B_UNREACHABLE = cython.declare(cython.uint, facts.UNREACHABLE)
_B_RESET = cython.declare(cython.uint, facts.RESET)
_B_CROSSED_FINS = cython.declare(cython.uint, facts.CROSSED_FINS)
_B_CENSORED_START = cython.declare(cython.uint, facts.CENSORED_START)
_B_EVICTED = cython.declare(cython.uint, facts.EVICTED)
_B_FLIPPED = cython.declare(cython.uint, facts.FLIPPED)
_B_SIMULTANEOUS_OPEN = cython.declare(cython.uint, facts.SIMULTANEOUS_OPEN)
_B_FAST_OPEN = cython.declare(cython.uint, facts.FAST_OPEN)
_B_CHALLENGED = cython.declare(cython.uint, facts.CHALLENGED)
_B_STALE_RST = cython.declare(cython.uint, facts.STALE_RST)
_B_REPLACED = cython.declare(cython.uint, facts.REPLACED)
_B_OFFLOADED = cython.declare(cython.uint, facts.OFFLOADED)
_B_O_FIN_ACKED = cython.declare(cython.uint, facts.O_FIN_ACKED)
_B_R_FIN_ACKED = cython.declare(cython.uint, facts.R_FIN_ACKED)
_B_REUSED = cython.declare(cython.uint, facts.REUSED)
_B_IPV6 = cython.declare(cython.uint, facts.IPV6)
_B_RST_ACK = cython.declare(cython.uint, facts.RST_ACK)
_B_O_FORGED_RST = cython.declare(cython.uint, facts.O_FORGED_RST)
_B_R_FORGED_RST = cython.declare(cython.uint, facts.R_FORGED_RST)
_B_FAST_OPEN_DROPPED = cython.declare(cython.uint, facts.FAST_OPEN_DROPPED)
_C_ELICITED = cython.declare(cython.uint, facts.CAUSE_ELICITED)
_C_UNANSWERED = cython.declare(cython.uint, facts.CAUSE_UNANSWERED)
_C_AFTER_ACK = cython.declare(cython.uint, facts.CAUSE_AFTER_ACK)
_C_DEFERRED = cython.declare(cython.uint, facts.CAUSE_DEFERRED)
_C_CONFLICTING = cython.declare(cython.uint, facts.CAUSE_CONFLICTING)

# Wireshark's tcp.completeness bits (packet-tcp.c 4.0).
_W_SYN = cython.declare(cython.uint, 1)
_W_SYNACK = cython.declare(cython.uint, 2)
_W_ACK = cython.declare(cython.uint, 4)
_W_DATA = cython.declare(cython.uint, 8)
_W_FIN = cython.declare(cython.uint, 16)
_W_RST = cython.declare(cython.uint, 32)

# Zeek's endpoint states (TCP_Endpoint.h).
_Z_INACTIVE = cython.declare(cython.uint, 0)
_Z_SYN_SENT = cython.declare(cython.uint, 1)
_Z_SYN_ACK_SENT = cython.declare(cython.uint, 2)
_Z_PARTIAL = cython.declare(cython.uint, 3)
_Z_ESTABLISHED = cython.declare(cython.uint, 4)
_Z_CLOSED = cython.declare(cython.uint, 5)
_Z_RESET = cython.declare(cython.uint, 6)
# A SYN or RST further from what was seen is not believed (TOO_LARGE_SEQ_DELTA).
_Z_FAR = cython.declare(cython.uint, 1 << 20)
# Zeek letters given once a direction.
_Z_ONCE_A = cython.declare(cython.uint, 1)
_Z_ONCE_D = cython.declare(cython.uint, 2)
_Z_ONCE_I = cython.declare(cython.uint, 4)
_Z_ONCE_Q = cython.declare(cython.uint, 8)
_Z_HAS_SYN = cython.declare(cython.uint, 16)
_Z_HAS_FIN = cython.declare(cython.uint, 32)
_Z_HAS_RST = cython.declare(cython.uint, 64)

_AFTER, _BASIS, _REASON = states.pack()
_BY_OWN = bytes(reason in states.BY_OWN for reason in range(256))
_UNCHANGED = cython.declare(cython.uint, states.NONE)
_KEY4 = Struct("<IHIH").pack
_KEY6 = Struct("<QQHQQH").pack
_KEY_SCOPE = Struct("<I").pack
_ONE_BYTE = tuple(bytes((value,)) for value in range(256))


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def seq_lt(a: cython.uint, b: cython.uint) -> cython.bint:
    """RFC 9293 section 3.4: a before b, modulo 2**32."""
    return ((a - b) & _M32) >= _HALF


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def seq_le(a: cython.uint, b: cython.uint) -> cython.bint:
    """a before b or equal to it, modulo 2**32."""
    return ((b - a) & _M32) < _HALF


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def in_window(seq: cython.uint, start: cython.uint, size: cython.uint) -> cython.bint:
    """seq in [start, start + size), modulo 2**32."""
    return ((seq - start) & _M32) < size


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _keyed(high: cython.ulonglong, low: cython.ulonglong, port: cython.ulonglong) -> cython.ulonglong:
    """One end of a 4-tuple as a number that only this process can foretell."""
    value: cython.ulonglong = (low * _SECRET_LO + high * _SECRET_HI + port * _SECRET_PORT) & _M64
    return ((value ^ (value >> 32)) * _SECRET_LO) & _M64


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _slot(
    a_hi: cython.ulonglong,
    a_lo: cython.ulonglong,
    a_port: cython.ulonglong,
    b_hi: cython.ulonglong,
    b_lo: cython.ulonglong,
    b_port: cython.ulonglong,
) -> cython.Py_ssize_t:
    """The cache slot of a 4-tuple, the same for both directions."""
    both: cython.ulonglong = (_keyed(a_hi, a_lo, a_port) + _keyed(b_hi, b_lo, b_port)) & _M64
    return (both >> 40) & _SLOT_MASK


@cython.cfunc
def _packed_key(
    low_hi: cython.ulonglong,
    low_lo: cython.ulonglong,
    low_port: cython.uint,
    high_hi: cython.ulonglong,
    high_lo: cython.ulonglong,
    high_port: cython.uint,
    scope: cython.uint,
    v6: cython.uint,
) -> bytes:
    """What a 4-tuple, its lower end first, is known by: as few bytes as tell it from every other."""
    if not cython.compiled:
        if v6:
            key = _KEY6(low_hi, low_lo, low_port, high_hi, high_lo, high_port)
        else:
            key = _KEY4(low_lo & _M32, low_port, high_lo & _M32, high_port)
        return key + _KEY_SCOPE(scope) if scope else key
    raw = cython.declare(cython.uchar[40])
    size: cython.Py_ssize_t = 0
    size = _put_end(raw, _put_end(raw, 0, low_hi, low_lo, low_port, v6), high_hi, high_lo, high_port, v6)
    if scope:
        size = _put_bytes(raw, size, scope, 4)
    return raw[:size]


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_end(
    raw: cython.p_uchar,
    at: cython.Py_ssize_t,
    high: cython.ulonglong,
    low: cython.ulonglong,
    port: cython.uint,
    v6: cython.uint,
) -> cython.Py_ssize_t:
    """Write an end from `at` on; what comes after it."""
    if v6:
        at = _put_bytes(raw, at, high, 8)
    at = _put_bytes(raw, at, low, 8 if v6 else 4)
    return _put_bytes(raw, at, port, 2)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _put_bytes(
    raw: cython.p_uchar, at: cython.Py_ssize_t, value: cython.ulonglong, size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write the lowest `size` bytes of a number from `at` on, the least significant first; what comes after them."""
    byte: cython.Py_ssize_t
    for byte in range(size):
        raw[at + byte] = (value >> (byte << 3)) & 0xFF
    return at + size


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _words(log: bytes) -> cython.Py_ssize_t:
    """How many words a log has."""
    return len(log) >> 3


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _word(log: bytes, at: cython.Py_ssize_t) -> cython.ulonglong:
    """Word `at` of a log."""
    place: cython.Py_ssize_t = at << 3
    byte: cython.Py_ssize_t
    value: cython.ulonglong = 0
    part: cython.ulonglong
    p: cython.p_uchar = log
    for byte in range(8):
        part = p[place + byte]
        value |= part << (byte << 3)
    return value


@cython.cfunc
def _changed(log: bytes, at: cython.Py_ssize_t, transition: cython.ulonglong) -> bytes:
    """A log with another transition as its word `at`."""
    return log[: at << 3] + transition.to_bytes(8, "little") + log[(at + 1) << 3 :]


@cython.cfunc
def _longer(log: bytes, time: cython.ulonglong, transition: cython.ulonglong) -> bytes:
    """A log with an entry more. Bytes, because most stay short: a list that can grow takes half as much again."""
    if not cython.compiled:
        return log + time.to_bytes(8, "little") + transition.to_bytes(8, "little")
    raw = cython.declare(cython.uchar[16])
    _put_bytes(raw, _put_bytes(raw, 0, time, 8), transition, 8)
    return log + raw[:16]


@cython.final
@cython.cclass
class Segment:
    """The segment at hand, so that one argument stands for all of its fields."""

    ts: cython.longlong
    packet: cython.ulonglong
    seq: cython.uint
    ack: cython.uint
    flags: cython.uint
    window: cython.uint
    payload: cython.uint
    ip_id: cython.uint
    mark: cython.uint
    tsval: cython.uint
    options: cython.uint
    mss: cython.uint
    wscale: cython.uint
    ttl: cython.uint
    before_id: cython.uint  # IP identification of its sender's segment before
    late: cython.uchar  # sent before a segment of the same end that was captured earlier
    sure: cython.uchar  # nothing that was not captured can have changed what it says of its sender's state


@cython.final
@cython.no_gc  # it refers to nothing that refers back
@cython.cclass
class EndExtras:
    """What few ends need: what came again or never, FINs and RSTs, doubts.

    Ends that need nothing of it share one of zeros.
    """

    doubt_since: cython.longlong
    doubt_until: cython.longlong
    interval: cython.longlong
    before_interval: cython.longlong
    syn_copy_ns: cython.longlong  # the last one taken for a copy made by the capture
    fin_ns: cython.longlong
    fin_acked_ns: cython.longlong
    reset_ns: cython.longlong
    holes: list
    gap_ns: cython.longlong
    stuck_ns: cython.longlong
    probe_ns: cython.longlong
    before_refresh: cython.longlong  # the same of the state before, should the present one be withdrawn
    retransmissions: cython.uint
    duplicates: cython.uint
    fins: cython.uint
    rsts: cython.uint
    rejected_rsts: cython.uint
    syn_retransmissions: cython.uint
    synack_retransmissions: cython.uint
    missing: cython.uint
    repeats: cython.uint
    before_repeats: cython.uint
    in_vain: cython.uint  # data sent again since the handshake's ACK, without any sign of the responder
    alternative: cython.uint  # ISN of a conflicting SYN+ACK
    tail: cython.uint  # where snd_nxt stood after octets that were not captured: the last of them may be a FIN
    fin_end: cython.uint  # sequence number after its FIN
    syn_payload: cython.uint  # fast-open data in its SYN
    fin_tsval: cython.uint
    fin_repeats: cython.uint  # how often it was sent again, whatever ACKs were captured in between
    gap_start: cython.uint  # the last run that was acknowledged and not captured, which may still come
    gap_end: cython.uint
    stuck_seq: cython.uint  # data sent again while the peer acknowledged nothing beyond
    stuck_size: cython.uint
    z_fin: cython.uint
    z_rst: cython.uint
    z_gaps: cython.uint
    z_repeats: cython.uint
    z_windows: cython.uint
    z_syn: cython.uint
    fin_id: cython.ushort
    rst_id_gap: cython.ushort
    stuck_repeats: cython.ushort
    probes: cython.ushort  # keep-alives sent since the peer last spoke
    has_alternative: cython.uchar
    fin_covers: cython.uchar  # its FIN, when first captured, acknowledged the peer's
    forged: cython.uchar  # went on after a RST in its name
    replaced: cython.uchar  # CLOSED because a new connection began on its ports
    unseen_fin: cython.uchar  # 1: its peer acknowledged a last byte that was not captured, which looks like its FIN
    contradicted: cython.uchar  # has shown once that a captured ACK did not reach it or was ignored
    doubt_state: cython.uchar
    rst_ttl: cython.uchar
    z_closed: cython.uchar  # it was CLOSED when its RST came
    fin_sent: cython.uchar
    fin_acked: cython.uchar
    reset: cython.uchar  # CLOSED because of a RST


_NO_END_EXTRAS = cython.declare(EndExtras, EndExtras())


@cython.final
@cython.no_gc  # it refers to nothing that refers back
@cython.cclass
class End:
    """One endpoint of a flow: what it sent, and the state that proves or implies.

    Fields lie in order of size, so that no room is lost between them.
    """

    # what the short way through `feed` touches, side by side in two cache lines
    packets: cython.ulonglong
    bytes: cython.ulonglong
    last_ns: cython.longlong  # of its last segment, to tell copies of bare ACKs and RSTs
    snd_nxt: cython.uint
    ack_out: cython.uint  # highest acknowledgment it sent: its rcv_nxt as far as the peer knows
    last_seq: cython.uint
    last_ack: cython.uint
    last_tsval: cython.uint
    last_id: cython.ushort
    last_flags: cython.ushort
    # the last two data segments, to tell copies from retransmissions
    data_ns: cython.longlong
    data_ns2: cython.longlong
    data_seq: cython.uint
    data_seq2: cython.uint
    data_tsval: cython.uint
    data_tsval2: cython.uint
    data_id: cython.ushort
    data_id2: cython.ushort
    z_seen: cython.uchar
    state: cython.uchar
    basis: cython.uchar
    side: cython.uchar  # 0 the flow's a, 1 its b
    largest_acked: cython.uint  # payload of the largest segment that the peer acknowledged
    pending_size: cython.uint  # the largest sent since that is not acknowledged yet
    z_last: cython.uint  # Zeek: the end of what was seen of it
    bad_checksums: cython.uint
    extras: EndExtras  # to be written through `_extras_of` only
    # all else
    since: cython.longlong
    refresh: cython.longlong
    syn_ns: cython.longlong  # its last SYN or SYN+ACK
    syn_acked_ns: cython.longlong
    syns: cython.uint
    synacks: cython.uint
    isn: cython.uint
    first_seq: cython.uint
    newest_tsval: cython.uint  # of what it sent after the handshake
    window: cython.uint
    syn_tsval: cython.uint
    pending_end: cython.uint
    first_tsval: cython.uint
    z_start: cython.uint  # where its relative sequence numbers begin
    w_base: cython.uint
    mss: cython.ushort
    syn_flags: cython.ushort
    options: cython.ushort
    syn_id: cython.ushort
    wscale: cython.uchar
    has_isn: cython.uchar
    has_nxt: cython.uchar  # snd_nxt is known (sent by it, or acknowledged by the peer)
    has_sent: cython.uchar  # at least one segment of it whose seq counts
    has_ack: cython.uchar
    syn_acked: cython.uchar
    has_tail: cython.uchar
    has_newest: cython.uchar
    ttl: cython.uchar
    ttl_low: cython.uchar
    zeek: cython.uchar
    w_has_base: cython.uchar

    def __init__(self) -> None:
        self.extras = _NO_END_EXTRAS


@cython.final
@cython.cclass
class FlowExtras:
    """What few flows need; those that need nothing share one of zeros."""

    a_hi: cython.ulonglong  # of IPv6 only
    b_hi: cython.ulonglong
    half_start: cython.longlong
    half_end: cython.longlong
    half_bytes: cython.ulonglong
    icmp_sender: object
    late: object  # its last packet before a new connection began on its ports, and those since; None: none since
    foreign: object  # the same of the connection before
    opened_packet: cython.ulonglong  # at which Wireshark opens its stream: the first, or an ICMP error before
    last_synack_ns: cython.longlong
    previous: Flow
    icmp: cython.ushort
    w_quoted: cython.uchar  # an ICMP error had opened its stream before its first segment
    w_quotes: cython.uchar  # what quoted segments add to the completeness


_NO_FLOW_EXTRAS = cython.declare(FlowExtras, FlowExtras())


@cython.final
@cython.cclass
class Flow:
    """One connection as observed. `a` is the end that sent its first captured segment."""

    # what the short way through `feed` touches
    a: End
    b: End
    a_lo: cython.ulonglong
    b_lo: cython.ulonglong
    a_port: cython.ushort
    b_port: cython.ushort
    scope: cython.uint
    v6: cython.uchar
    quick: cython.uchar  # both ends plainly ESTABLISHED: the short way through `feed` is enough
    completeness: cython.uchar
    listed: cython.uchar  # 0 in no list (not live), 1 embryonic, 2 finished, 3 lasting
    bits: cython.uint
    last_ns: cython.longlong
    last_packet: cython.ulonglong
    extras: FlowExtras  # to be written through `_flow_extras_of` only
    # all else
    number: cython.ulonglong
    first_ns: cython.longlong
    first_packet: cython.ulonglong
    first_synack_ns: cython.longlong
    rtt_responder: cython.longlong
    rtt_originator: cython.longlong
    history: bytes
    log: bytes  # pairs of words of 8 bytes: time, packed transition
    older: Flow
    newer: Flow
    originator: cython.uchar  # side: 0 a, 1 b
    direction_basis: cython.uchar
    w_done: cython.uchar  # Wireshark has opened another stream on the 4-tuple
    synack_cause: cython.uchar
    closed_by: cython.uchar  # 0 nobody, 1 a, 2 b, 3 both
    reset_by: cython.uchar

    def __init__(self) -> None:
        self.extras = _NO_FLOW_EXTRAS


@cython.cfunc
def _extras_of(end: End) -> EndExtras:
    """The end's own."""
    if end.extras is _NO_END_EXTRAS:
        end.extras = EndExtras()
    return end.extras


@cython.cfunc
def _flow_extras_of(flow: Flow) -> FlowExtras:
    """The flow's own."""
    if flow.extras is _NO_FLOW_EXTRAS:
        flow.extras = FlowExtras()
    return flow.extras


def _defaults(kind: type) -> None:
    """Uncompiled, give every field the zero that compiled fields are born with."""
    objects = {"list", "object", "bytes", "End", "Flow", "EndExtras", "FlowExtras"}
    for name, annotation in kind.__annotations__.items():
        setattr(kind, name, None if annotation in objects else 0)


if not cython.compiled:
    for _kind in (Segment, EndExtras, End, FlowExtras, Flow):
        _defaults(_kind)


@cython.cfunc
def _is_copy(
    g: Segment, ip_id: cython.uint, tsval: cython.uint, when: cython.longlong, repeated_syn_between: cython.bint
) -> cython.bint:
    """Whether `g` is the same packet captured twice, given what was noted of its earlier appearance."""
    apart: cython.longlong = g.ts - when
    if apart < 0:
        apart = -apart
    if (g.mark & _MARK_IP_ID) and g.ip_id != 0:
        return g.ip_id == ip_id and apart <= _COPY_BY_ID_NS
    if repeated_syn_between:
        return False
    if g.mark & _MARK_TIMESTAMP:
        return g.tsval == tsval and apart <= _COPY_BY_TSVAL_NS
    return apart <= _COPY_BARE_NS


@cython.cfunc
def _key(flow: Flow) -> bytes:
    """The flow's key among the live ones, as `_find` makes it."""
    if flow.extras.a_hi > flow.extras.b_hi or (
        flow.extras.a_hi == flow.extras.b_hi
        and (flow.a_lo > flow.b_lo or (flow.a_lo == flow.b_lo and flow.a_port > flow.b_port))
    ):
        return _packed_key(
            flow.extras.b_hi, flow.b_lo, flow.b_port, flow.extras.a_hi, flow.a_lo, flow.a_port, flow.scope, flow.v6
        )
    return _packed_key(
        flow.extras.a_hi, flow.a_lo, flow.a_port, flow.extras.b_hi, flow.b_lo, flow.b_port, flow.scope, flow.v6
    )


@cython.cclass
class Tracker:
    """Feed it batches in capture order; take the flows that are over; ask for the rest at the end.

    `keep_transitions`: whether facts carry the packed transition log. `assign`: record which flow each packet went to
    (`assignments`: packet number → first packet of its flow), for views of single flows. `max_flows`, `finished_kept`:
    the bounds of the module, smaller for tests. `pack`: the facts of many flows are packed as they come.

    Flows of different shards (`tcp.sharding`) meet in two places only: the bound of live flows, and `number`. So
    several trackers, each fed whole shards, find what one finds, once `tcp.sharding.number_flows` has numbered the
    flows of all: it needs `streams`, the packets at which Wireshark counts a stream that is no flow here.
    """

    if cython.compiled:
        departed = cython.declare(object, visibility="readonly")
        assignments = cython.declare(object, visibility="readonly")
        evicted_embryonic = cython.declare(cython.ulonglong, visibility="readonly")
        evicted_other = cython.declare(cython.ulonglong, visibility="readonly")
        flows_seen = cython.declare(cython.ulonglong, visibility="readonly")
        orphan_icmp = cython.declare(cython.ulonglong, visibility="readonly")
        odd_flags = cython.declare(cython.ulonglong, visibility="readonly")
        last_ns = cython.declare(cython.longlong, visibility="readonly")
        streams = cython.declare(object, visibility="readonly")
        _streams = cython.declare(cython.ulonglong)
        _reserved = cython.declare(dict)
        _slots = cython.declare(object)
        _touched = cython.declare(cython.ulonglong)  # read by nobody: keeps the loads that fill it
        _live = cython.declare(dict)
        _cache = cython.declare(list)
        _interned = cython.declare(dict)
        _nothing = cython.declare(Flow)
        _embryonic = cython.declare(Flow)
        _lasting = cython.declare(Flow)
        _finished = cython.declare(list)
        _finished_counts = cython.declare(list)
        _finished_count = cython.declare(cython.Py_ssize_t)
        _max_flows = cython.declare(cython.Py_ssize_t)
        _finished_kept = cython.declare(cython.Py_ssize_t)
        _keep_transitions = cython.declare(cython.bint)
        _pack = cython.declare(cython.bint)
        _assign = cython.declare(cython.bint)
        _segment = cython.declare(Segment)
        _leaving = cython.declare(list)
        _batch = cython.declare(object)
        _kind = cython.declare(cython.uchar[::1])
        _packet = cython.declare(cython.ulonglong[::1])
        _ts_ns = cython.declare(cython.longlong[::1])
        _src_hi = cython.declare(cython.ulonglong[::1])
        _src_lo = cython.declare(cython.ulonglong[::1])
        _dst_hi = cython.declare(cython.ulonglong[::1])
        _dst_lo = cython.declare(cython.ulonglong[::1])
        _sport = cython.declare(cython.ushort[::1])
        _dport = cython.declare(cython.ushort[::1])
        _seq = cython.declare(cython.uint[::1])
        _ack = cython.declare(cython.uint[::1])
        _flags = cython.declare(cython.ushort[::1])
        _window = cython.declare(cython.ushort[::1])
        _payload = cython.declare(cython.uint[::1])
        _ip_id = cython.declare(cython.ushort[::1])
        _mark = cython.declare(cython.ushort[::1])
        _tsval = cython.declare(cython.uint[::1])
        _options = cython.declare(cython.ushort[::1])
        _mss = cython.declare(cython.ushort[::1])
        _ttl = cython.declare(cython.uchar[::1])
        _wscale = cython.declare(cython.uchar[::1])
        _scope = cython.declare(cython.uint[::1])

    def __init__(
        self,
        *,
        keep_transitions: bool = False,
        assign: bool = False,
        max_flows: int = MAX_FLOWS,
        finished_kept: int = FINISHED_KEPT,
        pack: bool = False,
    ) -> None:
        self.departed = FlowFacts()
        self.assignments = {}
        self.evicted_embryonic = 0
        self.evicted_other = 0
        self.flows_seen = 0
        self.orphan_icmp = 0
        self.odd_flags = 0
        self.last_ns = 0
        self.streams = array("Q")
        self._streams = 0
        self._reserved = {}
        self._slots = array("q", bytes(8 * _AHEAD))
        self._touched = 0
        self._live = {}
        self._interned = {b"": b""}
        nothing = Flow()
        nothing.scope = _M32
        self._nothing = nothing
        self._cache = [nothing] * CACHE_SLOTS
        self._embryonic = _empty_list()
        self._lasting = _empty_list()
        # A bound too small to be shared out is one for all shards.
        rings: int = SHARDS if finished_kept >= 16 * SHARDS else 1
        self._finished = [_empty_list() for _ in range(rings)]
        self._finished_counts = [0] * rings
        self._finished_count = 0
        self._max_flows = max_flows
        self._finished_kept = finished_kept // rings
        self._keep_transitions = keep_transitions
        self._pack = pack
        self._assign = assign
        self._segment = Segment()
        self._leaving = []
        self._batch = None

    # --- batches in, facts out ---------------------------------------------------------------------------------

    def feed(self, batch: SegmentBatch) -> None:
        """Track the segments of `batch`, in order. Flows that leave are in `departed` afterwards."""
        if batch is not self._batch:
            self._bind(batch)
        kind: cython.uchar[::1] = self._kind
        packet: cython.ulonglong[::1] = self._packet
        ts_ns: cython.longlong[::1] = self._ts_ns
        src_hi: cython.ulonglong[::1] = self._src_hi
        src_lo: cython.ulonglong[::1] = self._src_lo
        dst_hi: cython.ulonglong[::1] = self._dst_hi
        dst_lo: cython.ulonglong[::1] = self._dst_lo
        sport: cython.ushort[::1] = self._sport
        dport: cython.ushort[::1] = self._dport
        seq: cython.uint[::1] = self._seq
        ack: cython.uint[::1] = self._ack
        flags: cython.ushort[::1] = self._flags
        window: cython.ushort[::1] = self._window
        payload: cython.uint[::1] = self._payload
        ip_id: cython.ushort[::1] = self._ip_id
        mark: cython.ushort[::1] = self._mark
        tsval: cython.uint[::1] = self._tsval
        options: cython.ushort[::1] = self._options
        mss: cython.ushort[::1] = self._mss
        ttl: cython.uchar[::1] = self._ttl
        wscale: cython.uchar[::1] = self._wscale
        scope: cython.uint[::1] = self._scope
        count: cython.Py_ssize_t = batch.count
        i: cython.Py_ssize_t
        ahead: cython.Py_ssize_t
        last: cython.Py_ssize_t
        touched: cython.ulonglong = 0
        slots: cython.longlong[::1] = self._slots
        slot: cython.Py_ssize_t
        side: cython.uint
        sp: cython.uint
        dp: cython.uint
        sh: cython.ulonglong
        sl: cython.ulonglong
        dh: cython.ulonglong
        dl: cython.ulonglong
        sc: cython.uint
        v6: cython.uint
        fl: cython.uint
        sq: cython.uint
        ak: cython.uint
        size: cython.uint
        mk: cython.uint
        ts: cython.longlong
        latest: cython.longlong = self.last_ns
        assign: cython.bint = self._assign
        g: Segment = self._segment
        cache: list = self._cache
        flow: Flow
        newest: Flow
        sender: End
        receiver: End
        for i in range(count):
            if cython.compiled and (i & _AHEAD_MASK) == 0:
                # Memory answers many loads in the time of one: ask for the next flows, then for their ends, before any
                # is needed. The loops are short so that a core has all of their loads under way together.
                last = count if count - i < _AHEAD else i + _AHEAD
                for ahead in range(i, last):
                    slots[ahead & _AHEAD_MASK] = _slot(
                        src_hi[ahead], src_lo[ahead], sport[ahead], dst_hi[ahead], dst_lo[ahead], dport[ahead]
                    )
                for ahead in range(i, last):
                    flow = cache[slots[ahead & _AHEAD_MASK]]
                    touched += flow.last_packet
                for ahead in range(i, last):
                    flow = cache[slots[ahead & _AHEAD_MASK]]
                    if flow.a is not None:
                        touched += flow.a.packets + flow.b.packets + flow.a.data_ns2 + flow.b.data_ns2
            if kind[i] != 0:
                self._icmp_error(batch, i)
                continue
            sh = src_hi[i]
            sl = src_lo[i]
            dh = dst_hi[i]
            dl = dst_lo[i]
            sp = sport[i]
            dp = dport[i]
            sc = scope[i]
            mk = mark[i]
            v6 = mk & _MARK_IPV6
            ts = ts_ns[i]
            if ts > latest:
                latest = ts
            slot = slots[i & _AHEAD_MASK] if cython.compiled else _slot(sh, sl, sp, dh, dl, dp)
            flow = cache[slot]
            if (
                flow.a_lo == sl
                and flow.b_lo == dl
                and flow.a_port == sp
                and flow.b_port == dp
                and flow.scope == sc
                and flow.extras.a_hi == sh
                and flow.extras.b_hi == dh
                and flow.v6 == v6
            ):
                side = 0
                sender = flow.a
                receiver = flow.b
            elif (
                flow.a_lo == dl
                and flow.b_lo == sl
                and flow.a_port == dp
                and flow.b_port == sp
                and flow.scope == sc
                and flow.extras.a_hi == dh
                and flow.extras.b_hi == sh
                and flow.v6 == v6
            ):
                side = 1
                sender = flow.b
                receiver = flow.a
            else:
                flow = self._find(sh, sl, sp, dh, dl, dp, sc, v6, slot)
                if flow.a_lo == sl and flow.a_port == sp and flow.extras.a_hi == sh:
                    side = 0
                    sender = flow.a
                    receiver = flow.b
                else:
                    side = 1
                    sender = flow.b
                    receiver = flow.a

            fl = flags[i]
            sq = seq[i]
            ak = ack[i]
            size = payload[i]
            # The short way: the next segment in order of a plainly established connection changes no state.
            if (
                flow.quick
                and (fl & 0x17) == 0x10
                and sq == sender.snd_nxt
                and seq_le(sender.ack_out, ak)
                and seq_le(ak, receiver.snd_nxt)
                and window[i] != 0
                and sender.z_seen & (_Z_ONCE_D if size else _Z_ONCE_A)
                and (size or ak != sender.last_ack or sq != sender.last_seq)
                and not assign
            ):
                sender.packets += 1
                sender.ack_out = ak
                sender.last_id = ip_id[i]
                sender.last_tsval = tsval[i]
                sender.last_seq = sq
                sender.last_ack = ak
                sender.last_flags = fl
                sender.last_ns = ts
                flow.last_packet = packet[i]
                if ts > flow.last_ns:
                    flow.last_ns = ts
                if mk & _MARK_BAD_CHECKSUM:
                    flow.bits |= _B_OFFLOADED
                    if not (mk & _MARK_PARTIAL_CHECKSUM):
                        sender.bad_checksums += 1
                if size:
                    if size > sender.largest_acked:
                        _note_size(sender, receiver, (sq + size) & _M32, size)
                    sender.bytes += size
                    sender.snd_nxt = (sq + size) & _M32
                    sender.z_last = sender.snd_nxt
                    sender.data_seq2 = sender.data_seq
                    sender.data_id2 = sender.data_id
                    sender.data_tsval2 = sender.data_tsval
                    sender.data_ns2 = sender.data_ns
                    sender.data_seq = sq
                    sender.data_id = ip_id[i]
                    sender.data_tsval = tsval[i]
                    sender.data_ns = ts
                    flow.completeness |= _W_DATA
                else:
                    flow.completeness |= _W_ACK
                continue

            g.ts = ts
            g.packet = packet[i]
            g.seq = sq
            g.ack = ak
            g.flags = fl
            g.window = window[i]
            g.payload = size
            g.ip_id = ip_id[i]
            g.mark = mk
            g.tsval = tsval[i]
            g.options = options[i]
            g.mss = mss[i]
            g.wscale = wscale[i]
            g.ttl = ttl[i]
            newest = self._incarnation(flow, sender, receiver, g)
            if newest is not flow:
                cache[slot] = newest
                if newest.a_lo == sl and newest.a_port == sp and newest.extras.a_hi == sh:
                    side = 0
                else:
                    side = 1
                flow = newest
            sender = flow.b if side else flow.a
            receiver = flow.a if side else flow.b
            self._wireshark(flow, sender, receiver, g)
            if flow.extras.previous is not None and (fl & 0x12) != 0x02:
                newest = self._older_owner(flow, side, sender, receiver, g)
                if newest is not flow:
                    _note_late(newest, flow, g.packet)
                    if (fl & 0x17) == 0x10 and receiver.state == _SYN_SENT:
                        flow.bits |= _B_CHALLENGED
                    if (
                        newest.a_lo != flow.a_lo
                        or newest.a_port != flow.a_port
                        or newest.extras.a_hi != flow.extras.a_hi
                    ):
                        side = 1 - side
                    flow = newest
                    sender = flow.b if side else flow.a
                    receiver = flow.a if side else flow.b
            if assign:
                self.assignments[g.packet] = flow.first_packet
            sender.packets += 1
            sender.bytes += size
            if ts > flow.last_ns:
                flow.last_ns = ts
            flow.last_packet = g.packet
            if mk & _MARK_BAD_CHECKSUM:
                flow.bits |= _B_OFFLOADED
                if not (mk & _MARK_PARTIAL_CHECKSUM):
                    sender.bad_checksums += 1
            self._update(flow, sender, receiver, g)
            self._settle(flow)
        self.last_ns = latest
        self._touched = touched
        if self._leaving:
            self._write_leaving()

    @cython.cfunc
    def _bind(self, batch: SegmentBatch) -> cython.void:
        """Take hold of a batch's columns: it costs as much as a hundred segments, and a batch is used again."""
        self._batch = batch
        self._kind = batch.kind
        self._packet = batch.packet
        self._ts_ns = batch.ts_ns
        self._src_hi = batch.src_hi
        self._src_lo = batch.src_lo
        self._dst_hi = batch.dst_hi
        self._dst_lo = batch.dst_lo
        self._sport = batch.sport
        self._dport = batch.dport
        self._seq = batch.seq
        self._ack = batch.ack
        self._flags = batch.flags
        self._window = batch.window
        self._payload = batch.payload
        self._ip_id = batch.ip_id
        self._mark = batch.mark
        self._tsval = batch.tsval
        self._options = batch.options
        self._mss = batch.mss
        self._ttl = batch.ttl
        self._wscale = batch.wscale
        self._scope = batch.scope

    def take(self) -> FlowFacts:
        """The facts of the flows that left since the last call."""
        taken = self.departed
        taken.settle()
        self.departed = FlowFacts()
        return taken

    def finish(self, last_ns: int = 0) -> FlowFacts:
        """The facts of every flow not yet taken; the tracker is empty afterwards.

        `last_ns`: the latest time of segments that went to other trackers. Flows are let go as their facts are written:
        the two are never in memory together for all.
        """
        at: cython.Py_ssize_t
        flow: Flow
        if last_ns > self.last_ns:
            self.last_ns = last_ns
        self._cache = [self._nothing] * CACHE_SLOTS
        held: list = list(self._live.values())
        for at in range(len(held)):
            flow = held[at]
            held[at] = None
            if flow.extras.previous is not None:
                self._presume_ack(flow.extras.previous)
                self._leaving.append(flow.extras.previous)
                _flow_extras_of(flow).previous = None
            flow.older = None
            flow.newer = None
            self._presume_ack(flow)
            self._leaving.append(flow)
            del self._live[_key(flow)]
            if len(self._leaving) >= FINISHED_TOGETHER:
                self._write_leaving()
        for _, _, opened in self._reserved.values():
            self.streams.append(opened)
        self._reserved = {}
        self._embryonic = _empty_list()
        self._lasting = _empty_list()
        self._finished = [_empty_list() for _ in self._finished]
        self._finished_counts = [0] * len(self._finished)
        self._finished_count = 0
        self._write_leaving()
        return self.take()

    def snapshot(self, pause: Callable[[], object] | None = None) -> FlowFacts:
        """The facts of every flow held now, as they stand; the tracker goes on with them.

        `pause` is called after every few flows: in compiled code no other thread has a turn otherwise.
        """
        flow: Flow
        departed: object = self.departed
        self.departed = FlowFacts()
        for flow in self._live.values():
            if flow.extras.previous is not None:
                self._leaving.append(flow.extras.previous)
            self._leaving.append(flow)
            if len(self._leaving) >= SNAPSHOT_FLOWS:
                self._write_leaving()
                if pause is not None:
                    pause()
        self._write_leaving()
        taken = self.departed
        self.departed = departed
        return taken

    def expire(self, before_ns: int) -> None:
        """Let go of flows that are silent since before `before_ns` and have no end whose state outlasts silence.

        For captures without an end. Flows that leave are in `departed` afterwards.
        """
        limit: cython.longlong = before_ns
        flow: Flow
        for flow in list(self._live.values()):
            if flow.last_ns < limit and (flow.listed != 3 or not (_outlasts(flow.a) or _outlasts(flow.b))):
                self._leave(flow)
        if self._leaving:
            self._write_leaving()

    @property
    def live(self) -> int:
        """Flows held now (one a 4-tuple; the incarnation before is held beside it)."""
        return len(self._live)

    # --- held beyond this process: `tcp.saved` -------------------------------------------------------------------

    def export(self) -> dict[str, Any]:
        """All that the tracker goes on with: its flows in order, where they stand in its lists, and its counters.

        Flows that have left are not in it: `take` them first.
        """
        flow: Flow
        flows: list = list(self._live.values())
        places: dict = {}
        for flow in flows:
            places[_key(flow)] = len(places)
        return {
            "flows": flows,
            "embryonic": _places(self._embryonic, places),
            "lasting": _places(self._lasting, places),
            "finished": [place for ring in self._finished for place in _places(ring, places)],
            "reserved": [(key, *known) for key, known in self._reserved.items()],
            "streams": self._streams,
            "last_ns": self.last_ns,
            "flows_seen": self.flows_seen,
            "orphan_icmp": self.orphan_icmp,
            "odd_flags": self.odd_flags,
            "evicted_embryonic": self.evicted_embryonic,
            "evicted_other": self.evicted_other,
        }

    def restore(self, held: dict[str, Any]) -> None:
        """Go on with what `export` gave, in a new tracker. Raises ValueError where that cannot be."""
        flow: Flow
        place: cython.Py_ssize_t
        flows: list = held["flows"]
        for flow in flows:
            _check(flow)
            key = _key(flow)
            if flow.extras.previous is not None:
                _check(flow.extras.previous)
                if _key(flow.extras.previous) != key or flow.extras.previous.extras.previous is not None:
                    raise ValueError("a connection before another on other ports")
                if flow.extras.foreign is not None and flow.extras.previous.extras.late is not None:
                    _flow_extras_of(flow).foreign = flow.extras.previous.extras.late  # one list, which grows for both
            self._live[key] = flow
        if len(self._live) != len(flows):
            raise ValueError("two flows of one 4-tuple")
        listed: list = [*held["embryonic"], *held["lasting"], *held["finished"]]
        if sorted(listed) != list(range(len(flows))):
            raise ValueError("a flow in no list, or in two")
        for place in held["embryonic"]:
            self._append(flows[place], self._embryonic, 1)
        for place in held["lasting"]:
            self._append(flows[place], self._lasting, 3)
        for place in held["finished"]:
            flow = flows[place]
            self._append(flow, self._finished[self._ring(flow)], 2)
            self._finished_counts[self._ring(flow)] += 1
            self._finished_count += 1
        for key, number, quotes, opened in held["reserved"]:
            self._reserved[key] = (number, quotes, opened)
        self._streams = held["streams"]
        self.last_ns = held["last_ns"]
        self.flows_seen = held["flows_seen"]
        self.orphan_icmp = held["orphan_icmp"]
        self.odd_flags = held["odd_flags"]
        self.evicted_embryonic = held["evicted_embryonic"]
        self.evicted_other = held["evicted_other"]

    @staticmethod
    def fields(thing: Any = None) -> tuple[Any, ...]:
        """The fields of a flow, an end, or its extras, in order of their names; without one, those of a new flow."""
        thing = Flow() if thing is None else thing
        if not cython.compiled:
            values = (getattr(thing, name) for name in sorted(type(thing).__annotations__))
            return tuple(int(value) if isinstance(value, bool) else value for value in values)  # as compiled
        # A compiled class shows its fields to the copy protocol only, in the same order.
        _, (_, _, *shown), *rest = thing.__reduce_ex__(2)
        return next(each for each in (*shown, *rest) if each is not None)

    @staticmethod
    def new_end() -> Any:
        """An `End` that nothing has happened to."""
        return End()

    @staticmethod
    def end_of(fields: Sequence[Any]) -> Any:
        """An `End` with these `fields`. Raises ValueError, TypeError or OverflowError where they are none."""
        return _with_fields(End, fields)

    @staticmethod
    def end_extras_of(fields: Sequence[Any]) -> Any:
        """The same for an `EndExtras`; one without anything in it is that which all such ends share."""
        return _with_fields(EndExtras, fields) if any(fields) else _NO_END_EXTRAS

    @staticmethod
    def flow_of(fields: Sequence[Any]) -> Any:
        """The same for a `Flow`."""
        return _with_fields(Flow, fields)

    @staticmethod
    def flow_extras_of(fields: Sequence[Any]) -> Any:
        """The same for a `FlowExtras`."""
        return _with_fields(FlowExtras, fields) if any(fields) else _NO_FLOW_EXTRAS

    # --- finding the flow ---------------------------------------------------------------------------------------

    @cython.cfunc
    def _find(
        self,
        sh: cython.ulonglong,
        sl: cython.ulonglong,
        sp: cython.uint,
        dh: cython.ulonglong,
        dl: cython.ulonglong,
        dp: cython.uint,
        sc: cython.uint,
        v6: cython.uint,
        slot: cython.Py_ssize_t,
    ) -> Flow:
        """The newest flow of the 4-tuple, made if there is none; it takes the slot, what was there the other."""
        key: bytes
        first: Flow = self._cache[slot]
        second: Flow = self._cache[slot ^ 1]
        if (
            second.scope == sc
            and second.v6 == v6
            and (
                (
                    second.a_lo == sl
                    and second.b_lo == dl
                    and second.a_port == sp
                    and second.b_port == dp
                    and second.extras.a_hi == sh
                    and second.extras.b_hi == dh
                )
                or (
                    second.a_lo == dl
                    and second.b_lo == sl
                    and second.a_port == dp
                    and second.b_port == sp
                    and second.extras.a_hi == dh
                    and second.extras.b_hi == sh
                )
            )
        ):
            self._cache[slot ^ 1] = first
            self._cache[slot] = second
            return second
        swap: cython.bint = sh > dh or (sh == dh and (sl > dl or (sl == dl and sp > dp)))
        if swap:
            key = _packed_key(dh, dl, dp, sh, sl, sp, sc, v6)
        else:
            key = _packed_key(sh, sl, sp, dh, dl, dp, sc, v6)
        found: object = self._live.get(key)
        flow: Flow
        if found is None:
            if len(self._live) >= self._max_flows:
                self._evict()
            flow = Flow()
            flow.a = End()
            flow.b = End()
            flow.b.side = 1
            if sh:
                _flow_extras_of(flow).a_hi = sh
            flow.a_lo = sl
            flow.a_port = sp
            if dh:
                _flow_extras_of(flow).b_hi = dh
            flow.b_lo = dl
            flow.b_port = dp
            flow.scope = sc
            flow.v6 = v6
            flow.history = b""
            self._live[key] = flow
        else:
            flow = found
        # An eviction above may have emptied the slot.
        self._cache[slot ^ 1] = self._cache[slot]
        self._cache[slot] = flow
        return flow

    @cython.cfunc
    def _begin(self, flow: Flow, sender: End, g: Segment) -> cython.void:
        """The flow's first captured segment: its number, and who is taken for the originator."""
        self.flows_seen += 1
        key: bytes = _key(flow) if self._reserved else b""
        if key in self._reserved:
            flow.number, quotes, opened = self._reserved.pop(key)
            _flow_extras_of(flow).opened_packet = opened
            _flow_extras_of(flow).w_quotes = quotes
            _flow_extras_of(flow).w_quoted = 1
        else:
            flow.number = self._streams
            self._streams += 1
        flow.first_ns = g.ts
        flow.last_ns = g.ts
        flow.first_packet = g.packet
        flow.rtt_responder = -1
        flow.rtt_originator = -1
        if flow.v6:
            flow.bits |= _B_IPV6
        flow.log = b""
        if (g.flags & _SYN) and not (g.flags & _RST):
            if g.flags & _ACK:
                flow.direction_basis = 1
                flow.originator = 1 - sender.side
            else:
                flow.direction_basis = 0
                flow.originator = sender.side
        else:
            flow.originator = self._likely_originator(flow, sender)
        if flow.originator != sender.side:
            flow.bits |= _B_FLIPPED
        self._append(flow, self._embryonic, 1)

    @cython.cfunc
    def _likely_originator(self, flow: Flow, sender: End) -> cython.uint:
        """Neither SYN seen: the end whose port is no likely server's, else the first sender."""
        a_server: cython.bint = flow.a_port in LIKELY_SERVER_PORTS
        b_server: cython.bint = flow.b_port in LIKELY_SERVER_PORTS
        if a_server != b_server:
            flow.direction_basis = 2
            return 1 if a_server else 0
        flow.direction_basis = 3
        return sender.side

    @cython.cfunc
    def _incarnation(self, flow: Flow, sender: End, receiver: End, g: Segment) -> Flow:
        """The flow itself, or a new one on its 4-tuple where the segment opens another connection."""
        if flow.first_packet == 0:
            self._begin(flow, sender, g)
            return flow
        if not (g.flags & _SYN) or (g.flags & _RST):
            return flow
        if not self._opens_another(flow, sender, receiver, g):
            return flow
        fresh: Flow = Flow()
        fresh.a = End()
        fresh.b = End()
        fresh.b.side = 1
        if sender.side:
            if flow.extras.b_hi:
                _flow_extras_of(fresh).a_hi = flow.extras.b_hi
            fresh.a_lo = flow.b_lo
            fresh.a_port = flow.b_port
            if flow.extras.a_hi:
                _flow_extras_of(fresh).b_hi = flow.extras.a_hi
            fresh.b_lo = flow.a_lo
            fresh.b_port = flow.a_port
        else:
            if flow.extras.a_hi:
                _flow_extras_of(fresh).a_hi = flow.extras.a_hi
            fresh.a_lo = flow.a_lo
            fresh.a_port = flow.a_port
            if flow.extras.b_hi:
                _flow_extras_of(fresh).b_hi = flow.extras.b_hi
            fresh.b_lo = flow.b_lo
            fresh.b_port = flow.b_port
        fresh.scope = flow.scope
        fresh.v6 = flow.v6
        fresh.history = b""
        # The sender of the SYN has lost its old end; the receiver's old end lives on until it is told.
        if g.flags & _ACK:
            if receiver.state != _CLOSED:
                self._set(flow, receiver, _CLOSED, _INFERRED, _RE_REPLACED, g)
        if sender.state != _CLOSED or sender.basis == _UNKNOWN:
            if sender.state != _CLOSED and sender.state != _LISTEN and sender.state != _TIME_WAIT:
                flow.bits |= _B_REPLACED
            _extras_of(sender).replaced = 1
            self._set(flow, sender, _CLOSED, _INFERRED, _RE_REPLACED, g)
        if flow.extras.previous is not None:
            self._leaving.append(flow.extras.previous)
            _flow_extras_of(flow).previous = None
        self._unlink(flow)
        flow.quick = 0
        _flow_extras_of(fresh).previous = flow
        self._live[_key(flow)] = fresh
        self._begin(fresh, fresh.a, g)
        fresh.bits |= _B_REUSED
        return fresh

    @cython.cfunc
    def _opens_another(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.bint:
        """Whether a SYN or SYN+ACK on a known 4-tuple belongs to another connection than `flow`."""
        if g.flags & _FIN:
            return False
        if not (g.flags & _ACK):
            if sender.has_isn:
                if g.seq != sender.isn:
                    return True
                # A retry of one attempt, however late; after a whole connection it is a new one.
                return (flow.bits & _B_COMPLETE) != 0 and self._is_over(flow)
            if sender.has_sent:
                # The SYN of this connection captured late, or the second half of a split handshake.
                if ((g.seq + 1) & _M32) == sender.first_seq:
                    return False
                return not (receiver.state == _SYN_SENT and sender.bytes == 0)
            if receiver.has_ack:
                # What the peer acknowledged before was of another connection, unless the SYN was captured late.
                return receiver.ack_out != ((g.seq + 1) & _M32)
            return receiver.has_sent and self._is_over(flow)
        if sender.has_isn and sender.isn == g.seq:
            return False
        if receiver.has_isn:
            if seq_lt(receiver.isn, g.ack) and seq_le(g.ack, receiver.snd_nxt) and not self._is_over(flow):
                return False
            return (flow.bits & _B_COMPLETE) != 0 and self._is_over(flow) and g.ack != ((receiver.isn + 1) & _M32)
        if sender.has_sent and not sender.has_isn:
            return ((g.seq + 1) & _M32) != sender.first_seq
        return False

    @cython.cfunc
    def _older_owner(self, flow: Flow, side: cython.uint, sender: End, receiver: End, g: Segment) -> Flow:
        """The incarnation before, where the segment's numbers are its and not the newest one's."""
        old: Flow = flow.extras.previous
        if g.packet == flow.first_packet:
            return flow
        same: cython.bint = old.a_lo == flow.a_lo and old.a_port == flow.a_port and old.extras.a_hi == flow.extras.a_hi
        old_side: cython.uint = side if same else 1 - side
        old_sender: End = old.b if old_side else old.a
        old_receiver: End = old.a if old_side else old.b
        new_distance: cython.uint = _distance(sender, receiver, g)
        old_distance: cython.uint = _distance(old_sender, old_receiver, g)
        if old_distance < new_distance:
            return old
        return flow

    # --- judging a segment --------------------------------------------------------------------------------------

    @cython.cfunc
    def _update(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """What the segment proves of its sender and implies for its receiver."""
        self._zeek(flow, sender, receiver, g)
        g.before_id = sender.last_id
        if not (g.flags & _RST):
            if g.ttl > sender.ttl:
                sender.ttl = g.ttl
            if sender.ttl_low == 0 or g.ttl < sender.ttl_low:
                sender.ttl_low = g.ttl
        g.sure = 1
        g.late = self._is_late(sender, g)
        copy: cython.bint = self._is_bare_copy(sender, g)
        if g.flags & _RST:
            _extras_of(sender).rsts = sender.extras.rsts + 1
            if copy:
                _extras_of(sender).duplicates = sender.extras.duplicates + 1
                return
            if g.flags & _SYN:
                self.odd_flags += 1
                return
            self._on_rst(flow, sender, receiver, g)
            return
        if g.flags & _FIN:
            _extras_of(sender).fins = sender.extras.fins + 1
        if g.flags & _SYN:
            if g.flags & _ACK:
                sender.synacks += 1
            else:
                sender.syns += 1
            if g.flags & _FIN:
                self.odd_flags += 1
                return
            if g.flags & _ACK:
                self._on_synack(flow, sender, receiver, g)
            else:
                self._on_syn(flow, sender, receiver, g)
            sender.window = g.window
            return
        if not (g.flags & _ACK):
            # No synchronized socket sends these, and every receiver drops them (RFC 9293 section 3.10.7.4).
            self.odd_flags += 1
            return
        if copy and g.payload == 0 and not (g.flags & _FIN):
            _extras_of(sender).duplicates = sender.extras.duplicates + 1
            return
        if self._is_stale(flow, sender, receiver, g):
            flow.bits |= _B_CHALLENGED
            return
        sender.window = g.window
        if sender.extras.reset and sender.state == _LISTEN:
            self._unreset(flow, sender)
        if sender.state == _CLOSED and (
            sender.extras.replaced or (sender.extras.reset and g.ts - sender.extras.reset_ns > self._round_trip(flow))
        ):
            self._revive(flow, sender, g)
            self._follow_ack(sender, receiver)
        copy = self._sequence(flow, sender, receiver, g)
        g.sure = self._is_sure(sender, receiver, g)
        self._on_ack(flow, sender, receiver, g)
        if g.flags & _FIN:
            self._on_fin(flow, sender, receiver, g, copy)
        if flow.extras.half_start and not flow.extras.half_end and sender.extras.fin_sent == 0 and not copy:
            _flow_extras_of(flow).half_bytes = flow.extras.half_bytes + g.payload

    @cython.cfunc
    def _is_bare_copy(self, sender: End, g: Segment) -> cython.bint:
        """Whether it is the sender's segment before, captured twice; and remember it.

        Without IP identification and time stamps bare ACKs cannot be told from duplicate ACKs: those are no copies.
        """
        copy: cython.bint = (
            sender.packets > 1
            and g.flags == sender.last_flags
            and g.seq == sender.last_seq
            and g.ack == sender.last_ack
            and (
                (g.flags & _RST) != 0
                or (g.mark & _MARK_TIMESTAMP) != 0
                or ((g.mark & _MARK_IP_ID) != 0 and g.ip_id != 0)
            )
            and _is_copy(g, sender.last_id, sender.last_tsval, sender.last_ns, False)
        )
        sender.last_ns = g.ts
        sender.last_id = g.ip_id
        sender.last_tsval = g.tsval
        sender.last_flags = g.flags
        sender.last_seq = g.seq
        sender.last_ack = g.ack
        return copy

    @cython.cfunc
    def _is_late(self, sender: End, g: Segment) -> cython.bint:
        """Whether an end had sent it before another that was captured earlier: delayed, or doubled, on the path.

        What an end acknowledges and its time stamps never go back (RFC 7323 section 4.3). Those of a SYN+ACK are left
        out: a proxy or a SYN cookie may have sent it.
        """
        late: cython.bint
        if (g.flags & (_SYN | _RST)) or not (g.flags & _ACK):
            return False
        late = sender.has_ack and seq_lt(g.ack, sender.ack_out)
        if not (g.mark & _MARK_TIMESTAMP):
            return late
        if sender.has_newest and sender.last_tsval and seq_lt(sender.newest_tsval, sender.last_tsval):
            sender.newest_tsval = sender.last_tsval  # of what went the short way
        if not sender.has_newest or seq_lt(sender.newest_tsval, g.tsval):
            sender.has_newest = 1
            sender.newest_tsval = g.tsval
        return late or g.tsval != sender.newest_tsval

    @cython.cfunc
    def _is_sure(self, sender: End, receiver: End, g: Segment) -> cython.bint:
        """Whether the segment shows its sender's state whatever the capture lacks.

        A FIN is the last octet of its sender. One that was not captured may lie where the sender's numbers went on
        without a segment, or in what the segment acknowledges of the peer's; never before later data.
        """
        ahead: cython.uint
        if g.late or ((g.seq + g.payload + (g.flags & _FIN)) & _M32) != sender.snd_nxt:
            return False
        if sender.extras.unseen_fin or receiver.extras.unseen_fin:
            return False
        if sender.has_tail and sender.extras.tail == sender.snd_nxt:
            return False
        if not receiver.has_nxt:
            return False
        ahead = (g.ack - receiver.snd_nxt) & _M32
        if ahead == 0:
            return not receiver.has_tail or receiver.extras.tail != receiver.snd_nxt
        return ahead >= _HALF

    @cython.cfunc
    def _is_stale(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.bint:
        """An ACK that does not cover the SYN it answers: of an older connection (RFC 5961 section 4, challenge ACK)."""
        if not receiver.has_isn or receiver.syn_acked or g.payload:
            return False
        if receiver.extras.has_alternative and g.ack == ((receiver.extras.alternative + 1) & _M32):
            return False
        if seq_lt(receiver.isn, g.ack) and seq_le(g.ack, receiver.snd_nxt):
            return False
        if receiver.state == _SYN_SENT:
            return not sender.has_isn
        # A wrong ACK of a SYN+ACK draws a RST and changes nothing (RFC 9293 section 3.10.7.4) …
        # unless its sender has gone on since: then the capture missed what lies between.
        return receiver.state == _SYN_RECEIVED and sender.has_isn and g.seq == sender.snd_nxt and sender.bytes == 0

    @cython.cfunc
    def _on_syn(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        if sender.has_isn and sender.syns == 1 and sender.isn == g.seq and not sender.has_sent:
            # Its SYN+ACK was captured first: the numbers are known, the SYN was not.
            sender.syn_ns = g.ts
            self._note_syn(flow, sender, g)
            flow.direction_basis = 0
            flow.bits |= _B_SYN_SEEN
            sender.has_sent = 1
            return
        if not sender.has_isn:
            flow.bits |= _B_SYN_SEEN
            sender.has_isn = 1
            sender.isn = g.seq
            if sender.bytes == g.payload:
                sender.first_seq = (g.seq + 1) & _M32
            sender.has_sent = 1
            if not sender.has_nxt or seq_lt(sender.snd_nxt, (g.seq + 1 + g.payload) & _M32):
                sender.has_nxt = 1
                sender.snd_nxt = (g.seq + 1 + g.payload) & _M32
            sender.syn_ns = g.ts
            self._note_syn(flow, sender, g)
            sender.first_tsval = g.tsval if g.mark & _MARK_TIMESTAMP else 0
            if g.payload:
                flow.bits |= _B_FAST_OPEN
                _extras_of(sender).syn_payload = g.payload
            if receiver.syns and receiver.state == _SYN_SENT:
                flow.bits |= _B_SIMULTANEOUS_OPEN
            elif flow.direction_basis != 0:
                flow.direction_basis = 0
                if flow.originator != sender.side:
                    flow.originator = sender.side
                    flow.bits ^= _B_FLIPPED
            self._event(flow, sender, receiver, _EV_SYN, g)
            return
        if _is_copy(g, sender.syn_id, sender.syn_tsval, sender.syn_ns, False):
            _extras_of(sender).duplicates = sender.extras.duplicates + 1
            _extras_of(sender).syn_copy_ns = g.ts
            return
        _extras_of(sender).syn_retransmissions = sender.extras.syn_retransmissions + 1
        _extras_of(sender).retransmissions = sender.extras.retransmissions + 1
        sender.syn_id = g.ip_id
        sender.syn_tsval = g.tsval
        if sender.options & _OPT_FAST_OPEN and not (g.options & _OPT_FAST_OPEN) and g.payload == 0:
            flow.bits |= _B_FAST_OPEN_DROPPED
        if sender.state == _ESTABLISHED and sender.basis == _INFERRED and not receiver.syn_acked:
            self._withdraw(flow, sender)
            self._refresh(flow, sender, _RE_ANSWER_CONTRADICTED, g, g.ts - sender.syn_ns)
        elif sender.state == _SYN_SENT:
            self._refresh(flow, sender, _RE_SYN_AGAIN, g, g.ts - sender.syn_ns)
        elif sender.state == _CLOSED and sender.basis == _INFERRED and flow.bits & _B_UNREACHABLE:
            # The error came while connect() still held the socket: noted as soft, and the attempt went on (Linux).
            flow.bits &= ~_B_UNREACHABLE
            self._withdraw(flow, sender)
            self._refresh(flow, sender, _RE_SYN_AGAIN, g, g.ts - sender.syn_ns)
        elif sender.state == _CLOSED:
            flow.bits &= ~(_B_REFUSED | _B_ABORTED | _B_UNREACHABLE)
            flow.reset_by = 0
            if sender.extras.reset:
                _extras_of(sender).reset = 0
            self._event(flow, sender, receiver, _EV_SYN, g)
        sender.syn_ns = g.ts

    @cython.cfunc
    def _on_synack(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        previous_ns: cython.longlong = flow.extras.last_synack_ns or flow.first_synack_ns
        fits: cython.bint = True
        if receiver.has_isn:
            fits = seq_lt(receiver.isn, g.ack) and seq_le(g.ack, receiver.snd_nxt)
        if not fits:
            return
        if sender.has_isn and sender.isn != g.seq:
            _extras_of(sender).has_alternative = 1
            _extras_of(sender).alternative = g.seq
            _extras_of(sender).synack_retransmissions = sender.extras.synack_retransmissions + 1
            _extras_of(sender).retransmissions = sender.extras.retransmissions + 1
            flow.synack_cause |= _C_CONFLICTING
            return
        if previous_ns:
            _flow_extras_of(flow).last_synack_ns = g.ts
        flow.bits |= _B_SYNACK_SEEN
        if sender.synacks > 1 and previous_ns:
            self._on_synack_again(flow, sender, receiver, g, previous_ns)
            return
        flow.first_synack_ns = g.ts
        crossing: cython.bint = receiver.synacks != 0 and sender.has_isn
        if not receiver.has_isn:
            receiver.has_isn = 1
            receiver.isn = (g.ack - 1) & _M32
            if not receiver.has_nxt:
                receiver.has_nxt = 1
                receiver.snd_nxt = g.ack
            if flow.direction_basis != 0:
                flow.direction_basis = 1
                if flow.originator == sender.side:
                    flow.originator = receiver.side
                    flow.bits ^= _B_FLIPPED
        elif receiver.syns and receiver.extras.syn_retransmissions == 0 and g.ts >= receiver.syn_ns:
            if not (flow.bits & _B_SIMULTANEOUS_OPEN):
                flow.rtt_responder = g.ts - receiver.syn_ns
        if not sender.has_isn:
            sender.has_isn = 1
            sender.isn = g.seq
            if not sender.has_sent:
                sender.first_seq = (g.seq + 1) & _M32
            if not sender.has_nxt:
                sender.has_nxt = 1
                sender.snd_nxt = (g.seq + 1 + g.payload) & _M32
        sender.has_sent = 1
        self._note_syn(flow, sender, g)
        sender.syn_ns = g.ts
        self._acknowledge(sender, g)
        if not receiver.syn_acked:
            receiver.syn_acked = 1
            receiver.syn_acked_ns = g.ts
        if g.ack == ((receiver.isn + 1) & _M32):
            if receiver.extras.syn_payload:
                _extras_of(receiver).syn_payload = 0  # fast-open data that the responder did not take
        if flow.extras.previous is not None:
            self._replace_old_end(flow, sender, g)
        if crossing:
            sender.syn_acked = 1
            sender.syn_acked_ns = g.ts
            flow.bits |= _B_COMPLETE
        if sender.extras.reset and sender.state == _CLOSED and seq_lt((g.seq + 1 + g.payload) & _M32, sender.snd_nxt):
            return  # delayed on the path: it had sent more before it was reset
        self._event(flow, sender, receiver, _EV_SYN_ACK, g)

    @cython.cfunc
    def _replace_old_end(self, flow: Flow, end: End, g: Segment) -> cython.void:
        """The responder of a new handshake has given up its end of the connection before."""
        old: Flow = flow.extras.previous
        same: cython.bint = old.a_lo == flow.a_lo and old.a_port == flow.a_port and old.extras.a_hi == flow.extras.a_hi
        side: cython.uint = end.side if same else 1 - end.side
        old_end: End = old.b if side else old.a
        if old_end.state != _CLOSED:
            self._set(old, old_end, _CLOSED, _INFERRED, _RE_REPLACED, g)

    @cython.cfunc
    def _on_synack_again(
        self, flow: Flow, sender: End, receiver: End, g: Segment, previous_ns: cython.longlong
    ) -> cython.void:
        """A SYN+ACK seen before: a copy, elicited, or by the timer — before the ACK, after it, or deferred."""
        syn_between: cython.bint = receiver.extras.syn_retransmissions != 0 and receiver.syn_ns > previous_ns
        if _is_copy(g, sender.syn_id, sender.syn_tsval, previous_ns, syn_between):
            _extras_of(sender).duplicates = sender.extras.duplicates + 1
            _flow_extras_of(flow).last_synack_ns = previous_ns
            return
        round_trip: cython.longlong = self._round_trip(flow)
        if receiver.extras.syn_copy_ns > previous_ns and g.ts - receiver.extras.syn_copy_ns <= round_trip:
            # Answered for itself: that SYN was no copy, its sender only numbers all its packets alike.
            _extras_of(receiver).duplicates = receiver.extras.duplicates - 1
            _extras_of(receiver).syn_retransmissions = receiver.extras.syn_retransmissions + 1
            _extras_of(receiver).retransmissions = receiver.extras.retransmissions + 1
            receiver.syn_ns = receiver.extras.syn_copy_ns
            _extras_of(receiver).syn_copy_ns = 0
            syn_between = True
        _extras_of(sender).synack_retransmissions = sender.extras.synack_retransmissions + 1
        _extras_of(sender).retransmissions = sender.extras.retransmissions + 1
        sender.syn_id = g.ip_id
        sender.syn_tsval = g.tsval
        sender.syn_ns = g.ts
        if sender.extras.reset and sender.state == _LISTEN:
            self._unreset(flow, sender)
        if receiver.state == _SYN_SENT:
            self._event(flow, sender, receiver, _EV_SYN_ACK, g)
        too_soon: cython.bint = previous_ns != 0 and g.ts - previous_ns < _SYNACK_TIMER_NS
        if too_soon or (syn_between and g.ts - receiver.syn_ns <= round_trip) or flow.bits & _B_SIMULTANEOUS_OPEN:
            # No timer sent it: the path passed it twice, or a SYN that elicited it. In a simultaneous open every
            # SYN+ACK is answered, by another one or by an ACK, until both have arrived.
            flow.synack_cause |= _C_ELICITED
            if sender.state == _SYN_RECEIVED:
                self._refresh(flow, sender, _RE_SYNACK_ELICITED, g, 0)
            return
        if not sender.syn_acked or g.ts - sender.syn_acked_ns <= round_trip:
            flow.synack_cause |= _C_UNANSWERED
            if sender.state == _SYN_RECEIVED:
                self._refresh(flow, sender, _RE_SYNACK_AGAIN, g, g.ts - previous_ns)
            return
        deferred: cython.bint = not (flow.synack_cause & _C_AFTER_ACK) and g.ts - previous_ns >= _DEFERRED_NS
        if deferred:
            flow.synack_cause |= _C_DEFERRED
        else:
            flow.synack_cause |= _C_AFTER_ACK
        if flow.bits & _B_CONFIRMED:
            return
        if sender.state == _ESTABLISHED and sender.basis == _INFERRED:
            self._withdraw(flow, sender)
        if sender.state == _SYN_RECEIVED:
            self._refresh(flow, sender, _RE_SYNACK_AGAIN if deferred else _RE_ACK_CONTRADICTED, g, g.ts - previous_ns)
            sender.syn_acked = 0
            _extras_of(sender).contradicted = not deferred  # the ACK of the one late SYN+ACK is accepted
            flow.bits |= _B_CONTRADICTED

    @cython.cfunc
    def _sequence(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.bint:
        """Advance the sender's sequence space; whether the segment is a copy made by the capture."""
        fin: cython.uint = g.flags & _FIN
        end: cython.uint = (g.seq + g.payload + fin) & _M32
        if not sender.has_sent:
            sender.has_sent = 1
            if not sender.has_nxt or ((g.seq - sender.snd_nxt) & _M32) - 1 >= _HALF:
                sender.first_seq = g.seq
            if not sender.has_nxt:
                sender.has_nxt = 1
                sender.snd_nxt = g.seq
                sender.has_tail = 1
                _extras_of(sender).tail = g.seq
        if sender.extras.unseen_fin and g.seq != end and seq_le(receiver.ack_out, end):
            self._unpresume_fin(flow, receiver, sender)
        if g.seq == sender.snd_nxt:
            sender.snd_nxt = end
            self._note_data(sender, g)
            if g.payload > sender.largest_acked:
                _note_size(sender, receiver, end, g.payload)
            return False
        if seq_lt(sender.snd_nxt, g.seq):
            if ((g.seq - sender.snd_nxt) & _M32) < _FAR:
                self._add_hole(flow, sender, sender.snd_nxt, g.seq)
                sender.snd_nxt = end
                if g.payload == 0 and not fin:
                    sender.has_tail = 1
                    _extras_of(sender).tail = end
                self._note_data(sender, g)
                if g.payload > sender.largest_acked:
                    _note_size(sender, receiver, end, g.payload)
            return False
        if (
            sender.extras.gap_ns
            and g.ts - sender.extras.gap_ns <= _REORDER_NS
            and end != g.seq
            and seq_le(sender.extras.gap_start, g.seq)
        ):
            if seq_le(end, sender.extras.gap_end):
                # It was not missing, only captured after its ACK.
                if end == sender.extras.gap_end:
                    _extras_of(sender).gap_ns = 0
                    _extras_of(sender).missing = sender.extras.missing - 1
                if sender.has_tail and end == sender.extras.tail:
                    sender.has_tail = 0
                    if fin:
                        g.late = 1  # its ACK came before it
                _extras_of(sender).gap_start = end
                self._note_data(sender, g)
                return False
        if not fin and g.payload <= 1 and ((g.seq + 1) & _M32) == sender.snd_nxt:
            # Keep-alive (RFC 9293 section 3.8.4) or zero-window probe.
            if g.payload and end == sender.extras.tail:
                sender.has_tail = 0
            if receiver.last_ns > sender.extras.probe_ns:
                _extras_of(sender).probes = 0
            if sender.extras.probes < 0xFFFF:
                _extras_of(sender).probes = sender.extras.probes + 1
            _extras_of(sender).probe_ns = g.ts
            return False
        if g.payload == 0 and not fin:
            return False
        if sender.has_tail and end == sender.extras.tail:
            sender.has_tail = 0
            if fin:
                g.late = 1  # it had been sent before, or this is it
        if self._is_data_copy(sender, g, end):
            _extras_of(sender).duplicates = sender.extras.duplicates + 1
            return True
        if not self._fill_hole(sender, g.seq, end):
            _extras_of(sender).retransmissions = sender.extras.retransmissions + 1
            if g.payload:
                self._data_in_vain(flow, sender, receiver)
                self._data_stuck(sender, receiver, g)
        if seq_lt(sender.snd_nxt, end):
            sender.snd_nxt = end
        self._note_data(sender, g)
        return False

    @cython.cfunc
    def _data_in_vain(self, flow: Flow, sender: End, receiver: End) -> cython.void:
        """Data of the originator sent again and again to a responder that has shown nothing since its SYN+ACK.

        An ESTABLISHED socket acknowledges at once: one that has repeated its SYN+ACK before is still in SYN_RECEIVED.
        Without that the path may have died; `flows.table` sees what the listener does to others.
        """
        if receiver.state != _ESTABLISHED or receiver.basis != _INFERRED or flow.bits & _B_CONFIRMED:
            return
        if flow.originator != sender.side or not receiver.synacks:
            return
        _extras_of(sender).in_vain = sender.extras.in_vain + 1
        if sender.extras.in_vain >= _IN_VAIN and receiver.extras.contradicted:
            self._withdraw(flow, receiver)

    @cython.cfunc
    def _data_stuck(self, sender: End, receiver: End, g: Segment) -> cython.void:
        """The oldest data that the peer has not acknowledged, sent again: how often, how large, since when."""
        if receiver.has_ack and g.seq != receiver.ack_out:
            return
        if sender.extras.stuck_repeats and g.seq == sender.extras.stuck_seq:
            if sender.extras.stuck_repeats < 0xFFFF:
                _extras_of(sender).stuck_repeats = sender.extras.stuck_repeats + 1
            return
        _extras_of(sender).stuck_repeats = 1
        _extras_of(sender).stuck_seq = g.seq
        _extras_of(sender).stuck_size = g.payload
        _extras_of(sender).stuck_ns = g.ts

    @cython.cfunc
    def _is_data_copy(self, sender: End, g: Segment, end: cython.uint) -> cython.bint:
        if g.flags & _FIN:
            return (
                sender.extras.fin_sent != 0
                and end == sender.extras.fin_end
                and _is_copy(g, sender.extras.fin_id, sender.extras.fin_tsval, sender.extras.fin_ns, False)
            )
        if sender.data_ns and g.seq == sender.data_seq:
            return _is_copy(g, sender.data_id, sender.data_tsval, sender.data_ns, False)
        if sender.data_ns2 and g.seq == sender.data_seq2:
            return _is_copy(g, sender.data_id2, sender.data_tsval2, sender.data_ns2, False)
        return False

    @cython.cfunc
    def _note_data(self, sender: End, g: Segment) -> cython.void:
        if g.payload == 0:
            return
        sender.data_seq2 = sender.data_seq
        sender.data_id2 = sender.data_id
        sender.data_tsval2 = sender.data_tsval
        sender.data_ns2 = sender.data_ns
        sender.data_seq = g.seq
        sender.data_id = g.ip_id
        sender.data_tsval = g.tsval
        sender.data_ns = g.ts

    @cython.cfunc
    def _note_syn(self, flow: Flow, sender: End, g: Segment) -> cython.void:
        """The options of a SYN or SYN+ACK, and what tells a copy of it from a repetition."""
        sender.mss = g.mss
        sender.wscale = g.wscale
        sender.options = g.options
        sender.syn_flags = g.flags
        sender.syn_id = g.ip_id
        sender.syn_tsval = g.tsval

    @cython.cfunc
    def _add_hole(self, flow: Flow, sender: End, start: cython.uint, end: cython.uint) -> cython.void:
        if sender.extras.holes is None:
            _extras_of(sender).holes = []
        if len(sender.extras.holes) >= 2 * MAX_HOLES:
            del sender.extras.holes[:2]
            _extras_of(sender).missing = sender.extras.missing + 1
        sender.extras.holes.append(start)
        sender.extras.holes.append(end)

    @cython.cfunc
    def _fill_hole(self, sender: End, start: cython.uint, end: cython.uint) -> cython.bint:
        """Whether [start, end) carries bytes not captured before; they are then no longer missing."""
        holes: list = sender.extras.holes
        if not holes:
            return seq_lt(sender.snd_nxt, end)
        kept: list = []
        filled: cython.bint = seq_lt(sender.snd_nxt, end)
        at: cython.Py_ssize_t
        low: cython.uint
        high: cython.uint
        for at in range(0, len(holes), 2):
            low = holes[at]
            high = holes[at + 1]
            if seq_le(end, low) or seq_le(high, start):
                kept.append(low)
                kept.append(high)
                continue
            filled = True
            if seq_lt(low, start):
                kept.append(low)
                kept.append(start)
            if seq_lt(end, high):
                kept.append(end)
                kept.append(high)
        _extras_of(sender).holes = kept
        return filled

    @cython.cfunc
    def _pass_holes(self, flow: Flow, receiver: End, ack: cython.uint) -> cython.void:
        """Holes that the peer acknowledges were sent and received: the capture missed them."""
        holes: list = receiver.extras.holes
        if not holes:
            return
        kept: list = []
        at: cython.Py_ssize_t
        high: cython.uint
        for at in range(0, len(holes), 2):
            high = holes[at + 1]
            if seq_le(high, ack):
                _extras_of(receiver).missing = receiver.extras.missing + 1
                self._zeek_gap(flow, receiver)
            else:
                kept.append(holes[at])
                kept.append(high)
        _extras_of(receiver).holes = kept

    @cython.cfunc
    def _acknowledge(self, sender: End, g: Segment) -> cython.void:
        """Keep the highest acknowledgment number the sender has sent."""
        if not sender.has_ack or seq_lt(sender.ack_out, g.ack):
            sender.has_ack = 1
            sender.ack_out = g.ack

    @cython.cfunc
    def _on_ack(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        ahead: cython.uint
        if not receiver.has_nxt:
            receiver.has_nxt = 1
            receiver.snd_nxt = g.ack
            receiver.first_seq = g.ack
            receiver.has_tail = 1
            _extras_of(receiver).tail = g.ack
        elif receiver.extras.has_alternative and g.ack == ((receiver.extras.alternative + 1) & _M32):
            # The conflicting SYN+ACK is the one that counts for the other end.
            _extras_of(receiver).has_alternative = 0
            receiver.isn = receiver.extras.alternative
            receiver.snd_nxt = g.ack
        else:
            ahead = (g.ack - receiver.snd_nxt) & _M32
            if ahead != 0 and ahead < _HALF:
                if ahead >= _FAR or receiver.extras.fin_sent:
                    return
                if receiver.has_sent:
                    _extras_of(receiver).missing = receiver.extras.missing + 1
                    _extras_of(receiver).gap_start = receiver.snd_nxt
                    _extras_of(receiver).gap_end = g.ack
                    _extras_of(receiver).gap_ns = g.ts
                    self._zeek_gap(flow, receiver)
                receiver.snd_nxt = g.ack
                receiver.has_tail = 1
                _extras_of(receiver).tail = g.ack
                self._on_unseen(flow, sender, receiver, g, ahead)
        self._acknowledge(sender, g)
        self._pass_holes(flow, receiver, g.ack)
        self._on_handshake_ack(flow, sender, receiver, g)
        if receiver.extras.fin_sent and seq_le(receiver.extras.fin_end, g.ack):
            _extras_of(receiver).fin_acked_ns = g.ts
        if receiver.extras.fin_sent and not receiver.extras.fin_acked and seq_le(receiver.extras.fin_end, g.ack):
            _extras_of(receiver).fin_acked = 1
            if (
                sender.extras.fin_sent
                and not sender.extras.fin_acked
                and (sender.state == _FIN_WAIT_1 or sender.state == _CLOSING)
            ):
                if sender.basis != _OBSERVED:
                    g.sure = 0  # it may have been LAST_ACK
                self._event(flow, sender, receiver, _EV_ACK_OF_CROSSED_FIN, g)
            else:
                if sender.extras.fin_sent and not receiver.extras.fin_covers:
                    g.sure = 0  # the FIN may have come before the ACK of its own
                self._event(flow, sender, receiver, _EV_ACK_OF_FIN, g)
            if not sender.extras.fin_sent and not (g.flags & _FIN) and not flow.extras.half_start:
                _flow_extras_of(flow).half_start = g.ts

    @cython.cfunc
    def _on_handshake_ack(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """An ACK that covers the peer's SYN, or proves that the sender is past the handshake."""
        responder: cython.bint = flow.originator != sender.side
        if not sender.has_isn and not receiver.has_isn:
            if sender.basis == _UNKNOWN:
                flow.bits |= _B_CENSORED_START
                self._event(flow, sender, receiver, _EV_MIDSTREAM, g)
            return
        if receiver.has_isn:
            if not receiver.syn_acked and sender.has_isn and seq_lt(receiver.isn, g.ack):
                receiver.syn_acked = 1
                receiver.syn_acked_ns = g.ts
                if sender.syn_acked:
                    flow.bits |= _B_COMPLETE
                if not responder and receiver.extras.synack_retransmissions == 0 and g.ts >= flow.first_synack_ns:
                    if flow.rtt_originator < 0 and not (flow.bits & _B_SIMULTANEOUS_OPEN):
                        flow.rtt_originator = g.ts - flow.first_synack_ns
                if (flow.bits & _B_SIMULTANEOUS_OPEN or not sender.syns) and not g.payload and not (g.flags & _FIN):
                    g.sure = 0  # of two whose SYNs crossed it may only challenge the SYN+ACK (RFC 5961 section 4)
                self._event(flow, sender, receiver, _EV_ACK_OF_SYN, g)
        elif not responder and (sender.state == _SYN_SENT or not (flow.bits & _B_COMPLETE)):
            # The SYN+ACK was not captured: the originator's ACK proves that it was there.
            sender.syn_acked = 1
            sender.syn_acked_ns = g.ts
            flow.bits |= _B_COMPLETE
            self._event(flow, sender, receiver, _EV_ACK_OF_SYN, g)
        if responder and not (flow.bits & _B_CONFIRMED) and self._is_progress(flow, receiver, g):
            if not sender.syn_acked:
                g.sure = 0  # under fast open, whose SYN was not captured, SYN_RECEIVED writes too
            sender.syn_acked = 1
            receiver.syn_acked = 1
            flow.bits |= _B_COMPLETE | _B_CONFIRMED
            flow.bits &= ~_B_CONTRADICTED
            self._event(flow, sender, receiver, _EV_PROGRESS, g)

    @cython.cfunc
    def _on_unseen(self, flow: Flow, sender: End, receiver: End, g: Segment, ahead: cython.uint) -> cython.void:
        """What the ACK of `ahead` bytes that were not captured tells: one, and none after it, is the peer's FIN."""
        if receiver.extras.unseen_fin:
            self._unpresume_fin(flow, sender, receiver)
        elif ahead == 1 and g.payload == 0:
            if sender.state == _FIN_WAIT_1:
                self._event(flow, receiver, sender, _EV_UNSEEN_ACK_OF_FIN, g)
            elif sender.state != _ESTABLISHED and sender.state != _FIN_WAIT_2:
                return
            _extras_of(receiver).unseen_fin = 1
            self._event(flow, receiver, sender, _EV_UNSEEN_FIN, g)

    @cython.cfunc
    def _unpresume_fin(self, flow: Flow, sender: End, receiver: End) -> cython.void:
        """Bytes of `receiver` after what was taken for its FIN, or in its place: it was none."""
        _extras_of(receiver).unseen_fin = 0
        self._withdraw(flow, receiver)
        self._withdraw(flow, sender)
        self._follow_ack(receiver, sender)

    @cython.cfunc
    def _follow_ack(self, end: End, peer: End) -> cython.void:
        """An end wrongly taken for CLOSED may have acknowledged the peer's FIN: its next ACK makes its state follow."""
        if end.state == _ESTABLISHED or end.state == _FIN_WAIT_1 or end.state == _FIN_WAIT_2:
            if peer.extras.fin_acked:
                _extras_of(peer).fin_acked = 0

    @cython.cfunc
    def _presume_ack(self, flow: Flow) -> cython.void:
        """A FIN whose ACK would lie in the direction not captured, and that was not sent again: it was not lost."""
        sender: End = flow.b if flow.a.packets == 0 else flow.a
        receiver: End = flow.a if flow.a.packets == 0 else flow.b
        if receiver.packets or (sender.state != _FIN_WAIT_1 and sender.state != _LAST_ACK):
            return
        wait: cython.longlong = 2 * sender.extras.interval if sender.extras.repeats else _FIN_AGAIN_NS
        if self.last_ns - sender.refresh <= wait:
            return
        g: Segment = self._segment
        g.ts = sender.refresh + wait
        g.packet = 0  # no packet says it
        self._event(flow, receiver, sender, _EV_UNSEEN_ACK_OF_FIN, g)

    @cython.cfunc
    def _is_progress(self, flow: Flow, receiver: End, g: Segment) -> cython.bint:
        """Whether a responder's segment settles that it got the handshake's last ACK: data, FIN, or an ACK of data.

        Under fast open a SYN_RECEIVED socket already writes and closes (RFC 7413 section 4.2), so only an ACK beyond
        the SYN's own data does.
        """
        beyond: cython.uint = 0
        if receiver.has_isn:
            beyond = (g.ack - (receiver.isn + 1 + receiver.extras.syn_payload)) & _M32
        if beyond != 0 and beyond < _FAR:
            return True
        if receiver.extras.syn_payload:
            return False
        return g.payload > 0 or (g.flags & _FIN) != 0

    @cython.cfunc
    def _on_fin(self, flow: Flow, sender: End, receiver: End, g: Segment, copy: cython.bint) -> cython.void:
        end: cython.uint = (g.seq + g.payload + 1) & _M32
        acked_peer: cython.bint = receiver.extras.fin_sent != 0 and seq_le(receiver.extras.fin_end, g.ack)
        if not sender.extras.fin_sent:
            if seq_lt(sender.snd_nxt, end) or (sender.has_isn and seq_le(end, sender.isn)):
                return  # of another connection: before this one's first octet, or far beyond its last
            _extras_of(sender).fin_sent = 1
            _extras_of(sender).fin_end = end
            _extras_of(sender).fin_covers = acked_peer and not g.late
            _extras_of(sender).fin_ns = g.ts
            _extras_of(sender).fin_id = g.ip_id
            _extras_of(sender).fin_tsval = g.tsval
            if not receiver.extras.fin_sent:
                flow.closed_by = 1 + sender.side
            elif not receiver.extras.fin_acked:
                flow.closed_by = 3
                flow.bits |= _B_CROSSED_FINS
            if flow.extras.half_start and not flow.extras.half_end:
                _flow_extras_of(flow).half_end = g.ts
                _flow_extras_of(flow).half_bytes = flow.extras.half_bytes + g.payload
            crossed: cython.bint = sender.state == _CLOSE_WAIT and receiver.extras.fin_acked != 0 and not acked_peer
            self._event(flow, sender, receiver, _EV_CROSSED_FIN if crossed else _EV_FIN, g)
            return
        if end != sender.extras.fin_end or copy:
            return
        if self._is_old_fin(sender, g):
            if receiver.state == _TIME_WAIT:
                self._refresh(flow, receiver, _RE_TIME_WAIT_RESTART, g, 0)
            return
        if sender.extras.fin_acked and g.ts - sender.extras.fin_acked_ns > self._round_trip(flow):
            self._unacknowledge_fin(flow, sender, g)
        elif sender.state == _FIN_WAIT_1 or sender.state == _CLOSING or sender.state == _LAST_ACK:
            if not g.sure:
                sender.basis = _INFERRED
            self._refresh(flow, sender, _RE_FIN_AGAIN, g, g.ts - sender.extras.fin_ns)
        if receiver.state == _TIME_WAIT:
            self._refresh(flow, receiver, _RE_TIME_WAIT_RESTART, g, 0)
        _extras_of(sender).fin_repeats = sender.extras.fin_repeats + 1
        _extras_of(sender).fin_ns = g.ts
        _extras_of(sender).fin_id = g.ip_id
        _extras_of(sender).fin_tsval = g.tsval

    @cython.cfunc
    def _is_old_fin(self, sender: End, g: Segment) -> cython.bint:
        """Whether a FIN seen before is a late copy of it: a repetition carries its own number and time.

        Hosts that number all packets alike, or not at all, leave the time stamp; without it, it is a repetition.
        """
        if g.late:
            return True
        if (g.mark & _MARK_IP_ID) and g.ip_id != 0:
            if g.ip_id != sender.extras.fin_id:
                return False
            if g.ip_id != sender.syn_id:
                return True
        return (g.mark & _MARK_TIMESTAMP) != 0 and g.tsval == sender.extras.fin_tsval

    @cython.cfunc
    def _on_rst(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """RFC 9293 section 3.10.7 and RFC 5961 section 3: whom it closes, if it is acceptable to its receiver."""
        complete: cython.bint = (flow.bits & _B_COMPLETE) != 0
        responder: cython.bint = flow.originator != sender.side
        if not self._rst_accepted(flow, sender, receiver, g):
            _extras_of(sender).rejected_rsts = sender.extras.rejected_rsts + 1
            return
        if responder and complete and (g.flags & _ACK) and receiver.has_isn:
            if seq_lt((receiver.isn + 1 + receiver.extras.syn_payload) & _M32, g.ack):
                # It acknowledges data: a socket sent this, not a host that has none.
                flow.bits |= _B_CONFIRMED
                flow.bits &= ~_B_CONTRADICTED
        _extras_of(sender).reset = 1
        _extras_of(sender).reset_ns = g.ts
        _extras_of(receiver).reset = 1
        _extras_of(receiver).reset_ns = g.ts
        if not flow.reset_by and not (sender.extras.fin_acked and receiver.extras.fin_acked):
            flow.reset_by = 1 + sender.side
            flow.bits &= ~_B_RST_ACK
            if g.flags & _ACK:
                flow.bits |= _B_RST_ACK
            _extras_of(sender).rst_ttl = g.ttl
            if (g.mark & _MARK_IP_ID) and g.ip_id != 0 and g.before_id != 0 and sender.packets > 1:
                _extras_of(sender).rst_id_gap = (g.ip_id - g.before_id) & 0xFFFF
        if not complete and not (flow.bits & _B_CENSORED_START) and (sender.has_isn or receiver.has_isn):
            if responder and not (flow.bits & _B_SYNACK_SEEN):
                flow.bits |= _B_REFUSED
            else:
                flow.bits |= _B_ABORTED
                if receiver.state == _ESTABLISHED and receiver.basis == _INFERRED:
                    self._withdraw(flow, receiver)
                if sender.state == _ESTABLISHED and sender.basis == _INFERRED:
                    self._withdraw(flow, sender)
        elif not (sender.extras.fin_acked and receiver.extras.fin_acked):
            flow.bits |= _B_RESET
            if (
                responder
                and not (g.flags & _ACK)
                and not (flow.bits & _B_CONFIRMED)
                and sender.has_isn
                and g.seq == ((sender.isn + 1) & _M32)
                and g.ts - sender.syn_acked_ns <= self._round_trip(flow)
            ):
                flow.bits |= _B_STALE_RST
            if not complete and not flow.first_synack_ns and not receiver.has_sent:
                flow.bits |= _B_CENSORED_START
        if flow.extras.half_start and not flow.extras.half_end:
            _flow_extras_of(flow).half_end = g.ts
        gone: cython.bint = self._resets_awaited_fin(sender, receiver, g)
        # What is not meant for it, a socket in SYN_SENT or SYN_RECEIVED answers so too, and lives on.
        g.sure = (g.flags & _ACK) != 0 or (
            sender.has_sent and (not sender.has_isn or (seq_lt(sender.isn, g.seq) and seq_le(g.seq, sender.snd_nxt)))
        )
        self._event(flow, sender, receiver, _EV_RST, g)
        if gone:
            self._set(flow, sender, _CLOSED, _OBSERVED, _RE_ORPHAN_GONE, g)

    @cython.cfunc
    def _resets_awaited_fin(self, sender: End, receiver: End, g: Segment) -> cython.bint:
        """Whether a host resets the very FIN that its FIN_WAIT_2 waited for: it had no such socket any more.

        A RST that answers a segment carries its ACK number and no ACK flag (RFC 9293 section 3.10.7.1). Data would
        draw the same from a closed socket that is still there (Linux, RFC 2525 section 2.17), so only a bare FIN tells.
        """
        return (
            sender.state == _FIN_WAIT_2
            and not (g.flags & _ACK)
            and receiver.extras.fin_sent != 0
            and sender.has_ack
            and ((sender.ack_out + 1) & _M32) == receiver.extras.fin_end
        )

    @cython.cfunc
    def _rst_accepted(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.bint:
        expected: cython.uint
        # An attempt still without an answer: the RST must acknowledge its SYN.
        if receiver.state == _SYN_SENT:
            return (g.flags & _ACK) != 0 and seq_lt(receiver.isn, g.ack) and seq_le(g.ack, receiver.snd_nxt)
        # A RST without ACK answers a segment that fits no socket of its sender; where that was not the peer's
        # SYN+ACK or a later segment of this attempt, its own attempt goes on (RFC 9293 section 3.10.7.3).
        if not (g.flags & _ACK) and sender.has_isn:
            if sender.state == _SYN_SENT or sender.state == _SYN_RECEIVED:
                if g.seq != sender.snd_nxt and g.seq != ((sender.isn + 1) & _M32):
                    return False
        if receiver.has_ack:
            expected = receiver.ack_out
        elif sender.has_nxt:
            expected = sender.snd_nxt
        else:
            return True
        if g.seq == expected or (sender.has_nxt and g.seq == sender.snd_nxt):
            return True
        if sender.extras.fin_sent and g.seq == ((sender.extras.fin_end - 1) & _M32):
            return True
        if receiver.state == _SYN_RECEIVED:
            return in_window(g.seq, expected, receiver.window + 1)
        return False

    @cython.cfunc
    def _icmp_error(self, batch: SegmentBatch, row: cython.Py_ssize_t) -> cython.void:
        """An ICMP error: it ends a SYN_SENT, sometimes a SYN_RECEIVED, and is soft elsewhere (Linux tcp_v4_err)."""
        v6: cython.uint = batch.mark[row] & IPV6
        source: object = (batch.src_hi[row], batch.src_lo[row], batch.sport[row])
        target: object = (batch.dst_hi[row], batch.dst_lo[row], batch.dport[row])
        scope: object = batch.scope[row]
        low: tuple = min(source, target)
        high: tuple = max(source, target)
        key: bytes
        key = _packed_key(low[0], low[1], low[2], high[0], high[1], high[2], scope, v6)
        flow: Flow = self._live.get(key)
        if flow is None:
            self.orphan_icmp += 1
            if not (batch.mark[row] & _MARK_CUT):
                self._reserve(key, batch.flags[row], batch.packet[row])
            return
        sender: End = flow.a if (flow.extras.a_hi, flow.a_lo, flow.a_port) == source else flow.b
        if not (batch.mark[row] & _MARK_CUT):
            self._wireshark_quote(flow, sender, batch.flags[row], batch.seq[row], batch.packet[row])
        if not sender.has_isn or batch.seq[row] != sender.isn:
            self.orphan_icmp += 1
            return
        what: cython.uint = batch.options[row]
        if not flow.extras.icmp:
            _flow_extras_of(flow).icmp = what
            _flow_extras_of(flow).icmp_sender = batch.icmp_sender.get(row)
        g: Segment = self._segment
        g.ts = batch.ts_ns[row]
        g.packet = batch.packet[row]
        receiver: End = flow.b if sender.side == 0 else flow.a
        if sender.state == _SYN_SENT and _ends_syn_sent(v6, what >> 8, what & 0xFF):
            flow.bits |= _B_UNREACHABLE
            _flow_extras_of(flow).icmp = what
            _flow_extras_of(flow).icmp_sender = batch.icmp_sender.get(row)
            self._event(flow, receiver, sender, _EV_ICMP, g)
        elif sender.state == _SYN_RECEIVED and _ends_syn_received(v6, what >> 8, what & 0xFF):
            self._event(flow, receiver, sender, _EV_ICMP, g)
        self._settle(flow)

    # --- states and their log -----------------------------------------------------------------------------------

    @cython.cfunc
    def _event(self, flow: Flow, sender: End, receiver: End, event: cython.Py_ssize_t, g: Segment) -> cython.void:
        """Run one event through the table for both ends."""
        cell: cython.Py_ssize_t = event * _STATES + sender.state
        after: bytes = _AFTER
        basis: bytes = _BASIS
        reason: bytes = _REASON
        opening: cython.bint = event == _EV_SYN or event == _EV_SYN_ACK or event == _EV_RST
        new: cython.uint = after[cell]
        if new != _UNCHANGED and (opening or sender.state != _CLOSED or sender.basis == _UNKNOWN):
            if new != sender.state or sender.basis != _OBSERVED:
                if sender.extras.doubt_until:
                    _extras_of(sender).doubt_until = 0
                self._set(flow, sender, new, basis[cell] if g.sure else _INFERRED, reason[cell], g)
        cell = (_EVENTS + event) * _STATES + receiver.state
        new = after[cell]
        if new != _UNCHANGED and (receiver.state != _CLOSED or receiver.basis == _UNKNOWN):
            if (
                receiver.extras.contradicted
                and (event == _EV_ACK_OF_SYN or event >= _EV_ACK_OF_FIN)
                and event < _EV_RST
            ):
                # It ignored or missed an ACK before; until its next retransmission is overdue it may do so again.
                _extras_of(receiver).doubt_state = receiver.state
                _extras_of(receiver).doubt_since = receiver.refresh
                _extras_of(receiver).doubt_until = (
                    receiver.refresh + receiver.extras.interval * 2 * _DOUBT_PERCENT // 100
                )
                self._set(flow, receiver, new, basis[cell], reason[cell], g)
                return
            if receiver.extras.doubt_until:
                _extras_of(receiver).doubt_until = 0
            self._set(flow, receiver, new, basis[cell], reason[cell], g)

    @cython.cfunc
    def _set(
        self, flow: Flow, end: End, state: cython.uint, basis: cython.uint, reason: cython.uint, g: Segment
    ) -> cython.void:
        """Move an end, and log it; several moves by one packet are one."""
        log: bytes = flow.log
        size: cython.Py_ssize_t = _words(log)
        packed: cython.ulonglong = g.packet
        last: cython.ulonglong
        packed = (packed << 16) | (reason << 8) | (basis << 5) | (state << 1) | end.side
        if state != end.state:
            # What nothing kept alive since it began was last refreshed then: `_withdraw` finds that in the log.
            if end.extras is not _NO_END_EXTRAS or end.refresh != end.since:
                _extras_of(end).before_refresh = end.refresh
                end.extras.before_repeats = end.extras.repeats
                end.extras.before_interval = end.extras.interval
        if state != end.state or end.basis == _UNKNOWN:
            end.since = g.ts
        if state != _CLOSING or end.state != _FIN_WAIT_1:  # the same FIN waits for its ACK in both
            if state != end.state and end.extras is not _NO_END_EXTRAS:
                end.extras.repeats = 0
                end.extras.interval = 0
            end.refresh = g.ts
        end.state = state
        end.basis = basis
        if size:
            last = _word(log, size - 1)
            if (last >> 16) == g.packet and (last & 1) == end.side and not (last & 0x80):
                flow.log = _changed(log, size - 1, packed)
                return
            if size > 2:
                last = _word(log, size - 3)
                if (last >> 16) == g.packet and (last & 1) == end.side and not (last & 0x80):
                    flow.log = _changed(log, size - 3, packed)
                    return
        if size >= 4 * MAX_LOG:
            return
        flow.log = _longer(log, g.ts if g.ts > 0 else 0, packed)

    @cython.cfunc
    def _refresh(self, flow: Flow, end: End, reason: cython.uint, g: Segment, interval: cython.longlong) -> cython.void:
        """A retransmission (or its answer) that shows the state to live on; `interval` 0: not by the timer."""
        log: bytes = flow.log
        packed: cython.ulonglong = g.packet
        packed = (packed << 16) | (reason << 8) | (end.basis << 5) | (end.state << 1) | end.side
        end.refresh = g.ts
        if end.extras.doubt_until:
            _extras_of(end).doubt_until = 0
        if interval > 0:
            _extras_of(end).repeats = end.extras.repeats + 1
            _extras_of(end).interval = interval
        if len(log) >= 16 * MAX_LOG:
            return
        flow.log = _longer(log, g.ts if g.ts > 0 else 0, packed)

    @cython.cfunc
    def _withdraw(self, flow: Flow, end: End) -> cython.void:
        """Take back the end's last assumption, from its own time on: the state before it never ended."""
        log: bytes = flow.log
        at: cython.Py_ssize_t = _words(log) - 1
        entry: cython.ulonglong
        taken: cython.bint = False
        while at > 0:
            entry = _word(log, at)
            if (entry & 1) == end.side and not (entry & 0x80):
                if taken:
                    end.state = (entry >> 1) & 0xF
                    end.basis = (entry >> 5) & 3
                    end.since = _word(log, at - 1)
                    end.refresh = end.extras.before_refresh or end.since
                    if end.extras is not _NO_END_EXTRAS:
                        end.extras.repeats = end.extras.before_repeats
                        end.extras.interval = end.extras.before_interval
                    return
                if ((entry >> 5) & 3) != _INFERRED or _BY_OWN[(entry >> 8) & 0xFF]:
                    return
                log = flow.log = _changed(log, at, entry | 0x80)
                taken = True
            at -= 2
        if taken:
            end.state = _CLOSED
            end.basis = _UNKNOWN

    @cython.cfunc
    def _unacknowledge_fin(self, flow: Flow, end: End, g: Segment) -> cython.void:
        """A FIN repeated after its ACK was captured: the ACK did not arrive, and what rested on it is taken back."""
        log: bytes = flow.log
        at: cython.Py_ssize_t = _words(log) - 1
        entry: cython.ulonglong
        state: cython.uint
        reason: cython.ulonglong
        low_bits: cython.ulonglong = 0xFF1E  # reason and state
        turned: cython.Py_ssize_t = -1
        basis: cython.uint = _OBSERVED if g.sure else _INFERRED
        final: cython.uint
        interval: cython.longlong = g.ts - end.extras.fin_ns
        if end.extras.fin_acked:
            _extras_of(end).fin_acked = 0
        _extras_of(end).contradicted = 1
        final = _FIN_WAIT_1
        while at > 0:
            entry = _word(log, at)
            if (entry & 1) == end.side and not (entry & 0x80):
                state = (entry >> 1) & 0xF
                if not _BY_OWN[(entry >> 8) & 0xFF]:
                    log = flow.log = _changed(log, at, entry | 0x80)
                elif state == _FIN_WAIT_1 or state == _CLOSING or state == _LAST_ACK:
                    if final != _CLOSING:
                        final = state
                        if ((entry >> 5) & 3) == _INFERRED:
                            basis = _INFERRED
                    elif state == _CLOSING:
                        log = flow.log = _changed(log, turned, _word(log, turned) | 0x80)  # it was there already
                    break
                elif state == _TIME_WAIT:
                    # It acknowledged the peer's FIN without its own being acknowledged.
                    final = _CLOSING
                    if ((entry >> 5) & 3) == _INFERRED:
                        basis = _INFERRED
                    reason = _REASON[_EV_ACK_OF_FIN * _STATES + _FIN_WAIT_1]
                    log = flow.log = _changed(log, at, (entry & ~low_bits) | (reason << 8) | (_CLOSING << 1))
                    turned = at
            at -= 2
        end.state = final
        end.basis = basis
        if end.extras.reset:
            _extras_of(end).reset = 0
        _extras_of(end).repeats = end.extras.fin_repeats
        if not flow.extras.half_end:
            if flow.extras.half_start:
                _flow_extras_of(flow).half_start = 0
        self._refresh(flow, end, _RE_FIN_ACK_CONTRADICTED, g, interval)

    @cython.cfunc
    def _revive(self, flow: Flow, end: End, g: Segment) -> cython.void:
        """It sends on although a RST, or a SYN in its name, should have ended it: forged, or never arrived."""
        log: bytes = flow.log
        at: cython.Py_ssize_t = _words(log) - 1
        entry: cython.ulonglong
        if flow.reset_by == 1 + end.side:
            # Whoever sent the RST was not the connection's end.
            _extras_of(end).forged = 1
            flow.reset_by = 0
            flow.bits &= ~_B_RESET
        if end.extras.replaced:
            flow.bits &= ~_B_REPLACED
            self._disown(flow, end)
        while at > 0:
            entry = _word(log, at)
            if (entry & 1) == end.side and not (entry & 0x80):
                if ((entry >> 1) & 0xF) != _CLOSED:
                    end.state = (entry >> 1) & 0xF
                    end.basis = _INFERRED  # of this connection or of the next, whose SYN was not captured
                    end.since = _word(log, at - 1)
                    if end.extras.reset:
                        _extras_of(end).reset = 0
                    if end.extras.replaced:
                        _extras_of(end).replaced = 0
                    self._refresh(flow, end, _RE_REVIVED, g, 0)
                    return
                log = flow.log = _changed(log, at, entry | 0x80)
            at -= 2

    @cython.cfunc
    def _unreset(self, flow: Flow, end: End) -> cython.void:
        """A SYN_RECEIVED that goes on after a RST in its window ignored it (RFC 5961 section 3: only the exact one)."""
        self._withdraw(flow, end)
        if end.extras.reset:
            _extras_of(end).reset = 0
        flow.reset_by = 0
        flow.bits &= ~_B_ABORTED

    @cython.cfunc
    def _disown(self, flow: Flow, end: End) -> cython.void:
        """The SYN that seemed to replace `end` was not its host's: nobody is in SYN_SENT there."""
        newest: Flow = self._live.get(_key(flow))
        if newest is None or newest is flow:
            return
        same: cython.bint = (
            newest.a_lo == flow.a_lo and newest.a_port == flow.a_port and newest.extras.a_hi == flow.extras.a_hi
        )
        side: cython.uint = end.side if same else 1 - end.side
        forged: End = newest.b if side else newest.a
        log: bytes = newest.log
        at: cython.Py_ssize_t
        entry: cython.ulonglong
        if forged.state != _SYN_SENT:
            return
        for at in range(1, _words(log), 2):
            entry = _word(log, at)
            if (entry & 1) == side:
                log = newest.log = _changed(log, at, entry | 0x80)
        forged.state = _CLOSED
        forged.basis = _UNKNOWN

    @cython.cfunc
    def _round_trip(self, flow: Flow) -> cython.longlong:
        """The measured round trip with some slack, or an assumed one."""
        total: cython.longlong = 0
        if flow.rtt_responder >= 0:
            total += flow.rtt_responder
        if flow.rtt_originator >= 0:
            total += flow.rtt_originator
        if flow.rtt_responder < 0 and flow.rtt_originator < 0:
            return _RTT_UNKNOWN_NS
        return total + (total >> 2) + _RTT_SLACK_NS

    @cython.cfunc
    def _is_over(self, flow: Flow) -> cython.bint:
        a: cython.uint = flow.a.state
        b: cython.uint = flow.b.state
        if a != _CLOSED and a != _LISTEN and a != _TIME_WAIT:
            return False
        if b != _CLOSED and b != _LISTEN and b != _TIME_WAIT:
            return False
        return flow.a.basis != _UNKNOWN or flow.b.basis != _UNKNOWN

    # --- who leaves, and when -----------------------------------------------------------------------------------

    @cython.cfunc
    def _settle(self, flow: Flow) -> cython.void:
        """Put the flow into the list where it belongs, and see whether the short way is enough for it."""
        a: End = flow.a
        b: End = flow.b
        if flow.extras.previous is not None and (flow.bits & _B_CONFIRMED) and self._is_over(flow.extras.previous):
            # The connection before is over and this one is proven: old numbers have no one to belong to.
            self._leaving.append(flow.extras.previous)
            _flow_extras_of(flow).previous = None
        flow.quick = (
            a.state == _ESTABLISHED
            and b.state == _ESTABLISHED
            and a.has_sent
            and b.has_sent
            and a.has_ack
            and b.has_ack
            and (flow.bits & (_B_CONFIRMED | _B_CENSORED_START)) != 0
            and flow.extras.previous is None
            and not a.extras.holes
            and not b.extras.holes
        )
        if flow.quick and (flow.listed == 0 or flow.listed == 3):
            return
        if self._is_over(flow):
            if flow.listed != 2 and self._live.get(_key(flow)) is flow:
                self._unlink(flow)
                self._append_finished(flow)
            return
        if flow.listed == 2 or (flow.listed == 1 and flow.bits & (_B_COMPLETE | _B_CENSORED_START)):
            self._unlink(flow)
            if self._live.get(_key(flow)) is flow:
                self._append(flow, self._lasting, 3)

    @cython.cfunc
    def _append(self, flow: Flow, ring: Flow, which: cython.uint) -> cython.void:
        last: Flow = ring.older
        flow.older = last
        flow.newer = ring
        last.newer = flow
        ring.older = flow
        flow.listed = which

    @cython.cfunc
    def _append_finished(self, flow: Flow) -> cython.void:
        """Into the ring of its shard, from which the longest finished leaves where it is full."""
        place: cython.Py_ssize_t = self._ring(flow)
        ring: Flow = self._finished[place]
        self._append(flow, ring, 2)
        self._finished_counts[place] += 1
        self._finished_count += 1
        if self._finished_counts[place] > self._finished_kept:
            self._leave(ring.newer)

    @cython.cfunc
    def _ring(self, flow: Flow) -> cython.Py_ssize_t:
        """The place of its shard among the rings of finished flows."""
        both: cython.ulonglong
        if len(self._finished) == 1:
            return 0
        both = _mixed(flow.extras.a_hi, flow.a_lo, flow.a_port) + _mixed(flow.extras.b_hi, flow.b_lo, flow.b_port)
        return (((both & _M64) * _K_ALL) & _M64) >> _SHIFT

    @cython.cfunc
    def _unlink(self, flow: Flow) -> cython.void:
        before: Flow
        after: Flow
        if not flow.listed:
            return
        if flow.listed == 2:
            self._finished_count -= 1
            self._finished_counts[self._ring(flow)] -= 1
        before = flow.older
        after = flow.newer
        before.newer = after
        after.older = before
        flow.older = None
        flow.newer = None
        flow.listed = 0

    @cython.cfunc
    def _leave(self, flow: Flow) -> cython.void:
        """The flow, and the incarnation before it, leave the tracker."""
        slot: cython.Py_ssize_t = _slot(
            flow.extras.a_hi, flow.a_lo, flow.a_port, flow.extras.b_hi, flow.b_lo, flow.b_port
        )
        self._unlink(flow)
        del self._live[_key(flow)]
        if self._cache[slot] is flow:
            self._cache[slot] = self._nothing
        elif self._cache[slot ^ 1] is flow:
            self._cache[slot ^ 1] = self._nothing
        if flow.extras.previous is not None:
            self._leaving.append(flow.extras.previous)
            _flow_extras_of(flow).previous = None
        self._leaving.append(flow)

    @cython.cfunc
    def _evict(self) -> cython.void:
        """Make room for one: a finished flow, else the oldest embryonic one, else the one that has lasted longest."""
        flow: Flow
        ring: Flow
        if self._finished_count:
            for ring in self._finished:
                if ring.newer is not ring:
                    self._leave(ring.newer)
                    return
        if self._embryonic.newer is not self._embryonic:
            flow = self._embryonic.newer
            self.evicted_embryonic += 1
        else:
            flow = self._lasting.newer
            self.evicted_other += 1
        flow.bits |= _B_EVICTED
        self._leave(flow)

    @cython.cfunc
    def _write_leaving(self) -> cython.void:
        """Turn the flows that leave into rows of facts, in the order of `facts.FACTS`."""
        out: object = self.departed
        leaving: list = self._leaving
        base: cython.Py_ssize_t = len(out.rows)
        flow: Flow
        out.rows.frombytes(bytes(8 * WIDTH * len(leaving)))
        rows: cython.ulonglong[::1] = out.rows
        for flow in leaving:
            _write_flow(rows, base, flow)
            base += WIDTH
            out.history.append(flow.history if flow.originator == 0 else flow.history.swapcase())
            out.icmp_sender.append(flow.extras.icmp_sender)
            if flow.extras.late is not None:
                out.late[flow.first_packet] = flow.extras.late[:]
            if flow.extras.foreign is not None:
                out.foreign[flow.first_packet] = flow.extras.foreign[:]
            out.transitions.append(self._packed_log(flow) if self._keep_transitions else b"")
        out.count += len(leaving)
        self._leaving = []
        if self._pack and base >= PACKED_FROM * WIDTH:
            out.pack()

    @cython.cfunc
    def _packed_log(self, flow: Flow) -> bytes:
        """The log with side 0 the originator."""
        log: bytes = flow.log
        at: cython.Py_ssize_t
        words: object = array("Q", [_word(log, at) for at in range(_words(log))])
        if flow.originator:
            for at in range(1, len(words), 2):
                words[at] ^= 1
        return words.tobytes()

    # --- what Wireshark and Zeek would say ----------------------------------------------------------------------

    @cython.cfunc
    def _wireshark(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """tcp.completeness and stream counting as packet-tcp.c 4.0 does them: flags only, nothing validated."""
        size: cython.uint = g.payload
        if g.mark & _MARK_SHORT_FRAME or ((g.mark & _MARK_FRAGMENT) and (g.flags & _SYN)):
            size = 0
        if flow.w_done:
            return
        if (g.flags & 0x12) == 0x02:
            if sender.w_has_base and sender.w_base != g.seq:
                flow.w_done = 1
                self._streams += 1
                self.streams.append(g.packet)
                return
            if g.packet == flow.first_packet and not flow.extras.w_quoted:
                flow.completeness |= _W_SYN
                if size and not (flow.bits & _B_REUSED):
                    flow.completeness |= _W_DATA
        if not sender.w_has_base or (g.flags & 0x12) == 0x12:
            sender.w_has_base = 1
            sender.w_base = g.seq if g.flags & _SYN else (g.seq - 1) & _M32
        if not receiver.w_has_base and g.flags & _ACK:
            receiver.w_has_base = 1
            receiver.w_base = (g.ack - 1) & _M32
        flow.completeness |= _completeness(g.flags, size)

    @cython.cfunc
    def _wireshark_quote(
        self, flow: Flow, sender: End, flags: cython.uint, seq: cython.uint, packet: cython.ulonglong
    ) -> cython.void:
        """A segment quoted by an ICMP error belongs to its stream like any other, with a payload of unknown size."""
        if flow.w_done:
            return
        if (flags & 0x12) == 0x02 and sender.w_has_base and sender.w_base != seq:
            flow.w_done = 1
            self._streams += 1
            self.streams.append(packet)
            return
        _flow_extras_of(flow).w_quotes = flow.extras.w_quotes | _completeness(flags, 0)

    @cython.cfunc
    def _reserve(self, key: bytes, flags: cython.uint, packet: cython.ulonglong) -> cython.void:
        """An ICMP error quotes a 4-tuple not seen: Wireshark opens a stream, whose number waits for a segment."""
        number: object
        before: object
        opened: object
        quotes: cython.uint = _W_SYN if (flags & 0x12) == 0x02 else _completeness(flags, 0)
        if key in self._reserved:
            number, before, opened = self._reserved[key]
            self._reserved[key] = (number, before | quotes, opened)
            return
        if len(self._reserved) >= MAX_RESERVED:
            number, before, opened = self._reserved.pop(next(iter(self._reserved)))
            self.streams.append(opened)
        self._reserved[key] = (self._streams, quotes, packet)
        self._streams += 1

    @cython.cfunc
    def _letter(self, flow: Flow, sender: End, letter: cython.uint) -> cython.void:
        """Append a Zeek history letter (given in upper case); equal histories share one object."""
        if len(flow.history) >= MAX_HISTORY:
            return
        letters: tuple = _ONE_BYTE
        more: bytes = letters[letter | (32 if sender.side else 0)]
        grown: bytes = flow.history + more
        known: object = self._interned.get(grown)
        if known is None:
            known = grown
            if len(self._interned) < MAX_INTERNED:
                self._interned[grown] = grown
        flow.history = known

    @cython.cfunc
    def _counted_letter(self, flow: Flow, sender: End, letter: cython.uint, times: cython.uint) -> cython.void:
        """Zeek's logarithmic letters: at the first, tenth, hundredth … time."""
        power: cython.uint = 1
        while power < times:
            power *= 10
        if power == times:
            self._letter(flow, sender, letter)

    @cython.cfunc
    def _zeek_gap(self, flow: Flow, sender: End) -> cython.void:
        _extras_of(sender).z_gaps = sender.extras.z_gaps + 1
        self._counted_letter(flow, sender, 71, sender.extras.z_gaps)

    @cython.cfunc
    def _zeek(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """conn_state and history as Zeek's TCPSessionAdapter and TCP_Endpoint form them: flags, hardly any numbers.

        As `zeek -C` does, checksums are not looked at: what a sending host captures has not been through its offload.
        """
        flags: cython.uint = g.flags
        end: cython.uint = g.seq
        if not (flags & _RST):
            end += g.payload
        end = (end + ((flags & _SYN) >> 1) + (flags & _FIN)) & _M32
        _zeek_start(sender, g, end)
        self._zeek_flags(flow, sender, g)
        if g.window == 0 and not (flags & _RST) and receiver.zeek != _Z_CLOSED and sender.zeek != _Z_RESET:
            _extras_of(sender).z_windows = sender.extras.z_windows + 1
            self._counted_letter(flow, sender, 87, sender.extras.z_windows)
        if self._zeek_repeats(sender, g, end):
            _extras_of(sender).z_repeats = sender.extras.z_repeats + 1
            self._counted_letter(flow, sender, 84, sender.extras.z_repeats)
        self._zeek_state(flow, sender, receiver, g)

    @cython.cfunc
    def _zeek_flags(self, flow: Flow, sender: End, g: Segment) -> cython.void:
        """The letter of a segment's flags; of several at once, one letter tells."""
        flags: cython.uint = g.flags
        if (flags & _FIN) and (flags & _RST):
            self._zeek_once(flow, sender, _Z_ONCE_I, 73)
        elif (flags & _SYN) and (flags & (_FIN | _RST)):
            self._zeek_once(flow, sender, _Z_ONCE_Q, 81)
        elif flags & _SYN:
            if not (sender.z_seen & _Z_HAS_SYN) or sender.extras.z_syn != ((g.seq - sender.z_start) & _M32):
                sender.z_seen |= _Z_HAS_SYN
                self._letter(flow, sender, 72 if flags & _ACK else 83)
            if sender.extras.z_syn != ((g.seq - sender.z_start) & _M32):
                _extras_of(sender).z_syn = (g.seq - sender.z_start) & _M32
        elif flags & _FIN:
            if not (sender.z_seen & _Z_HAS_FIN) or sender.extras.z_fin != ((g.seq + g.payload) & _M32):
                sender.z_seen |= _Z_HAS_FIN
                _extras_of(sender).z_fin = (g.seq + g.payload) & _M32
                self._letter(flow, sender, 70)
        elif flags & _RST:
            if not (sender.z_seen & _Z_HAS_RST) or sender.extras.z_rst != g.seq:
                sender.z_seen |= _Z_HAS_RST
                _extras_of(sender).z_rst = g.seq
                self._letter(flow, sender, 82)
        elif g.payload:
            self._zeek_once(flow, sender, _Z_ONCE_D, 68)
        elif flags & _ACK:
            self._zeek_once(flow, sender, _Z_ONCE_A, 65)

    @cython.cfunc
    def _zeek_once(self, flow: Flow, sender: End, bit: cython.uint, letter: cython.uint) -> cython.void:
        if not (sender.z_seen & bit):
            sender.z_seen |= bit
            self._letter(flow, sender, letter)

    @cython.cfunc
    def _zeek_repeats(self, sender: End, g: Segment, end: cython.uint) -> cython.bint:
        """Whether Zeek takes the segment for a retransmission: payload, and nothing beyond what was seen."""
        beyond: cython.uint = (end - sender.z_last) & _M32
        far: cython.bint = _Z_FAR < beyond < ((0 - _Z_FAR) & _M32)
        if (g.flags & (_SYN | _RST)) and far:
            return False
        if (g.flags & _FIN) and sender.z_last == ((sender.z_start + 1) & _M32):
            sender.z_last = end
            return False
        if sender.zeek == _Z_RESET:
            return False
        if beyond != 0 and beyond < _HALF:
            sender.z_last = end
            return False
        return g.payload != 0

    @cython.cfunc
    def _zeek_state(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """Zeek's state of the sender after the segment (UpdateStateMachine), and what that makes of the receiver's."""
        flags: cython.uint = g.flags
        before: cython.uint = sender.zeek
        if before == _Z_RESET:
            return
        if before == _Z_INACTIVE:
            self._zeek_begins(flow, sender, receiver, g)
        elif before == _Z_PARTIAL and (flags & (_SYN | _ACK)) == _SYN and receiver.zeek == _Z_INACTIVE:
            sender.zeek = _Z_SYN_SENT
        if (flags & _FIN) and before != _Z_CLOSED and not ((flags & _RST) and before >= _Z_PARTIAL):
            sender.zeek = _Z_CLOSED
            if before >= _Z_PARTIAL and receiver.zeek == _Z_RESET and receiver.extras.z_closed:
                receiver.zeek = _Z_CLOSED  # a FIN and a RST, then the other FIN: an ordinary end
        if (flags & _RST) and not (before == _Z_CLOSED and receiver.zeek == _Z_CLOSED):
            _extras_of(sender).z_closed = sender.zeek == _Z_CLOSED
            sender.zeek = _Z_RESET

    @cython.cfunc
    def _zeek_begins(self, flow: Flow, sender: End, receiver: End, g: Segment) -> cython.void:
        """Zeek's state of an end that is heard for the first time."""
        if g.flags & _SYN:
            if receiver.zeek == _Z_INACTIVE:
                sender.zeek = _Z_SYN_ACK_SENT if g.flags & _ACK else _Z_SYN_SENT
                return
            if receiver.zeek == _Z_SYN_SENT or (receiver.zeek == _Z_SYN_ACK_SENT and not (g.flags & _ACK)):
                receiver.zeek = _Z_ESTABLISHED
            sender.zeek = _Z_ESTABLISHED
            return
        if g.flags & (_FIN | _RST):
            return
        if receiver.zeek == _Z_SYN_SENT and g.payload == 0 and sender.side != flow.originator:
            return  # a bare ACK before the SYN+ACK: not yet a connection without a beginning
        if receiver.zeek == _Z_SYN_ACK_SENT:
            receiver.zeek = _Z_ESTABLISHED
            sender.zeek = _Z_ESTABLISHED
        elif (g.flags & _ACK) and receiver.zeek == _Z_ESTABLISHED:
            sender.zeek = _Z_ESTABLISHED
        else:
            sender.zeek = _Z_PARTIAL


def _with_fields(kind: type, fields: Sequence[Any]) -> Any:
    """One of that kind whose fields, in order of their names, are these."""
    made = kind()
    if len(fields) != len(Tracker.fields(made)):
        raise ValueError("another number of fields")
    if cython.compiled:
        make, (_, layout, *_), *_ = made.__reduce_ex__(2)
        return make(kind, layout, tuple(fields))
    for name, value in zip(sorted(kind.__annotations__), fields, strict=True):
        setattr(made, name, value)
    return made


def _places(ring: Flow, places: dict) -> list:
    """Where the members of a ring stand, oldest first."""
    flow: Flow = ring.newer
    found: list = []
    while flow is not ring:
        found.append(places[_key(flow)])
        flow = flow.newer
    return found


def _check(flow: Flow) -> None:
    """Raise ValueError where a flow from outside holds what would lead the tracker astray: it does not look again."""
    end: End
    at: cython.Py_ssize_t
    if type(flow) is not Flow or type(flow.a) is not End or type(flow.b) is not End:
        raise ValueError("no flow")
    if type(flow.extras) is not FlowExtras or {type(flow.a.extras), type(flow.b.extras)} != {EndExtras}:
        raise ValueError("no extras")
    if flow.originator > 1 or flow.a.side != 0 or flow.b.side != 1 or flow.v6 & ~_MARK_IPV6 or not flow.first_packet:
        raise ValueError("a flow without two ends")
    for end in (flow.a, flow.b):
        if end.state >= _STATES or end.extras.doubt_state >= _STATES or end.basis > 3 or end.zeek > _Z_RESET:
            raise ValueError("an end in no state")
        if end.extras.holes is not None and len(end.extras.holes) % 2:
            raise ValueError("half a hole")
    if len(flow.log) % 16:
        raise ValueError("a log that breaks off")
    for at in range(1, _words(flow.log), 2):
        if (_word(flow.log, at) >> 1) & 0xF >= _STATES:
            raise ValueError("a log of no states")


@cython.cfunc
def _note_late(older: Flow, newer: Flow, packet: cython.ulonglong) -> cython.void:
    """A packet of the older connection lies among those of the newer one."""
    if older.extras.late is None:
        _flow_extras_of(older).late = array("Q", (older.last_packet,))
        _flow_extras_of(newer).foreign = older.extras.late
    if len(older.extras.late) <= MAX_LATE:
        older.extras.late.append(packet)


@cython.cfunc
def _zeek_start(sender: End, g: Segment, end: cython.uint) -> cython.void:
    """Where Zeek begins to count an end's sequence numbers, and begins anew (init_endpoint)."""
    if sender.zeek == _Z_INACTIVE:
        sender.z_start = g.seq if g.flags & _SYN else (g.seq - 1) & _M32
        sender.z_last = end if g.flags & _SYN else g.seq
    elif (g.flags & _SYN) and sender.zeek < _Z_CLOSED and (sender.zeek >= _Z_PARTIAL or sender.z_start != g.seq):
        sender.z_start = g.seq
        sender.z_last = end


@cython.cfunc
def _outlasts(end: End) -> cython.bint:
    """Whether the end's state stays however long it is silent: no timer ends it."""
    return end.state == _ESTABLISHED or end.state == _CLOSE_WAIT or end.state == _FIN_WAIT_2


@cython.cfunc
@cython.exceptval(check=False)
def _mixed(hi: cython.ulonglong, lo: cython.ulonglong, port: cython.ulonglong) -> cython.ulonglong:
    """One end's part of `sharding.shard_of`."""
    mixed: cython.ulonglong = ((((hi * _K_HI) & _M64) ^ lo) * _K_LO + port * _K_PORT) & _M64
    return mixed ^ (mixed >> 32)


@cython.cfunc
def _completeness(flags: cython.uint, size: cython.uint) -> cython.uint:
    """What a segment adds to a stream that is there already, in Wireshark's bits."""
    bits: cython.uint = 0
    if (flags & 0x12) == 0x12:
        bits = _W_SYNACK
    elif flags & _ACK:
        bits = _W_DATA if size else _W_ACK
    if (flags & 0x11) == 0x11:
        bits |= _W_FIN
    if flags & _RST:
        bits |= _W_RST
    return bits


@cython.cfunc
def _empty_list() -> Flow:
    """A ring of flows without members."""
    ring: Flow = Flow()
    ring.older = ring
    ring.newer = ring
    return ring


@cython.cfunc
def _distance(sender: End, receiver: End, g: Segment) -> cython.uint:
    """How far the segment's numbers lie from what this connection would send next; small means it fits."""
    near: cython.uint = _M32
    gap: cython.uint
    if sender.has_nxt:
        gap = (g.seq - sender.snd_nxt) & _M32
        if gap >= _HALF:
            gap = (0 - gap) & _M32
        near = gap
    if (g.flags & _ACK) and receiver.has_nxt:
        gap = (g.ack - receiver.snd_nxt) & _M32
        if gap >= _HALF:
            gap = (0 - gap) & _M32
        if not sender.has_nxt or gap > near:
            near = gap
    return near


@cython.cfunc
def _ends_syn_sent(v6: cython.uint, kind: cython.uint, code: cython.uint) -> cython.bint:
    """Linux tcp_v4_err and tcp_v6_err: any error but "fragmentation needed", "packet too big" and source quench."""
    if v6:
        return kind == 1 or kind == 3 or kind == 4
    return (kind == 3 and code != 4) or kind == 11 or kind == 12


@cython.cfunc
def _ends_syn_received(v6: cython.uint, kind: cython.uint, code: cython.uint) -> cython.bint:
    """Linux tcp_req_err: IPv4 net and host unreachable; IPv6 what icmpv6_err_convert calls fatal."""
    if v6:
        return kind == 1 and (code == 1 or code >= 4)
    return kind == 3 and code <= 1


@cython.cfunc
def _oriented(who: cython.uint, originator: cython.uint) -> cython.uint:
    """1 a, 2 b, 3 both → 1 originator, 2 responder, 3 both."""
    if who == 0 or who == 3 or originator == 0:
        return who
    return 3 - who


@cython.cfunc
@cython.exceptval(check=False)
def _note_size(sender: End, receiver: End, end: cython.uint, size: cython.uint) -> cython.void:
    """Keep the largest payload that was acknowledged, one candidate at a time."""
    if sender.pending_size and receiver.has_ack and seq_le(sender.pending_end, receiver.ack_out):
        if sender.pending_size > sender.largest_acked:
            sender.largest_acked = sender.pending_size
        sender.pending_size = 0
    if size > sender.largest_acked and size > sender.pending_size:
        sender.pending_size = size
        sender.pending_end = end


@cython.cfunc
def _write_end(rows: cython.ulonglong[::1], at: cython.Py_ssize_t, end: End, peer: End) -> cython.Py_ssize_t:
    stuck: cython.ulonglong = end.extras.stuck_size
    probes: cython.ulonglong = end.extras.probes
    _note_size(end, peer, 0, 0)
    stuck = (stuck << 32) | end.extras.stuck_repeats
    if not end.extras.stuck_repeats or (peer.has_ack and seq_lt(end.extras.stuck_seq, peer.ack_out)):
        stuck = 0
    if probes and peer.last_ns <= end.extras.probe_ns:
        stuck |= probes << 16
    rows[at] = end.packets
    rows[at + 1] = end.bytes
    rows[at + 2] = end.extras.retransmissions
    rows[at + 3] = end.extras.duplicates
    rows[at + 4] = end.extras.fins
    rows[at + 5] = end.extras.rsts
    rows[at + 6] = end.extras.rejected_rsts
    rows[at + 7] = end.syns
    rows[at + 8] = end.synacks
    rows[at + 9] = end.extras.syn_retransmissions
    rows[at + 10] = end.extras.synack_retransmissions
    rows[at + 11] = end.extras.missing
    rows[at + 12] = end.state
    rows[at + 13] = end.basis
    rows[at + 14] = _time(end.since)
    rows[at + 15] = _time(end.refresh)
    rows[at + 16] = end.extras.repeats
    rows[at + 17] = _time(end.extras.interval)
    rows[at + 18] = end.extras.doubt_state
    rows[at + 19] = _time(end.extras.doubt_since)
    rows[at + 20] = end.extras.before_repeats
    rows[at + 21] = _time(end.extras.doubt_until)
    rows[at + 22] = end.isn
    rows[at + 23] = end.mss
    rows[at + 24] = end.wscale
    rows[at + 25] = end.options
    rows[at + 26] = end.syn_flags
    rows[at + 27] = end.extras.in_vain
    rows[at + 28] = end.zeek
    rows[at + 29] = end.first_tsval
    rows[at + 30] = end.ttl | (end.extras.rst_ttl << 8) | (end.ttl_low << 16)
    rows[at + 31] = end.extras.rst_id_gap
    rows[at + 32] = stuck
    rows[at + 33] = _time(end.extras.stuck_ns) if stuck & 0xFFFF else 0
    rows[at + 34] = end.largest_acked
    rows[at + 35] = _time(end.last_ns)
    rows[at + 36] = end.bad_checksums
    return at + 37


@cython.cfunc
def _time(ns: cython.longlong) -> cython.ulonglong:
    """Times before 1970 are damage; facts are unsigned."""
    return 0 if ns < 0 else ns


@cython.cfunc
def _write_flow(rows: cython.ulonglong[::1], at: cython.Py_ssize_t, flow: Flow) -> cython.void:
    o: End = flow.b if flow.originator else flow.a
    r: End = flow.a if flow.originator else flow.b
    bits: cython.uint = flow.bits
    if o.extras.fin_acked:
        bits |= _B_O_FIN_ACKED
    if r.extras.fin_acked:
        bits |= _B_R_FIN_ACKED
    if o.extras.forged:
        bits |= _B_O_FORGED_RST
    if r.extras.forged:
        bits |= _B_R_FORGED_RST
    rows[at] = flow.number
    rows[at + 1] = flow.extras.b_hi if flow.originator else flow.extras.a_hi
    rows[at + 2] = flow.b_lo if flow.originator else flow.a_lo
    rows[at + 3] = flow.extras.a_hi if flow.originator else flow.extras.b_hi
    rows[at + 4] = flow.a_lo if flow.originator else flow.b_lo
    rows[at + 5] = flow.b_port if flow.originator else flow.a_port
    rows[at + 6] = flow.a_port if flow.originator else flow.b_port
    rows[at + 7] = flow.scope
    rows[at + 8] = bits
    rows[at + 9] = flow.direction_basis
    rows[at + 10] = _time(flow.first_ns)
    rows[at + 11] = _time(flow.last_ns)
    rows[at + 12] = flow.first_packet
    rows[at + 13] = flow.last_packet
    rows[at + 14] = flow.synack_cause
    rows[at + 15] = _oriented(flow.closed_by, flow.originator)
    rows[at + 16] = _oriented(flow.reset_by, flow.originator)
    rows[at + 17] = _NO_VALUE if flow.rtt_responder < 0 else flow.rtt_responder
    rows[at + 18] = _NO_VALUE if flow.rtt_originator < 0 else flow.rtt_originator
    rows[at + 19] = _time(flow.first_synack_ns)
    rows[at + 20] = _time(flow.extras.last_synack_ns or flow.first_synack_ns)
    rows[at + 21] = _time(flow.extras.half_start)
    rows[at + 22] = _time(flow.extras.half_end)
    rows[at + 23] = flow.extras.half_bytes
    complete: cython.uint = flow.completeness
    if o.packets + r.packets == 1 and not flow.extras.w_quoted:
        # Of a stream's first segment the first pass notes a SYN only; the second shows what stood there before it.
        complete = complete & (_W_SYN | _W_DATA) if complete & _W_SYN else 0
    rows[at + 24] = complete | flow.extras.w_quotes
    rows[at + 25] = flow.extras.icmp
    rows[at + 26] = flow.extras.opened_packet or flow.first_packet
    at = _write_end(rows, at + 27, o, r)
    _write_end(rows, at, r, o)
