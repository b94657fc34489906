"""`FlowFacts`: the contract between the tracker and everything that speaks of flows.

Owns the table in which flows leave the tracker: raw numbers, oriented (o_ originator, r_ responder), one row a flow.
No verdict is in it: `verdict` makes those, `columns` names them for people and programs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from struct import Struct
from sys import getsizeof
from typing import Any

from analyzer.flows.packed import PackedRows, gathered

#: (high, low) halves of an address → the key of a host, in the order of addresses. Bytes, because Python keys their
#: hash with a secret; that of numbers, and of tuples of them, a sender can choose: all alike, each look-up a search.
host_key = Struct(">QQ").pack
#: the way back
host_halves = Struct(">QQ").unpack

# `bits`
IPV6 = 1 << 0
SYN_SEEN = 1 << 1
SYNACK_SEEN = 1 << 2
COMPLETE = 1 << 3  # the responder's SYN was acknowledged (or that is proven by what came later)
CONFIRMED = 1 << 4  # the responder showed that it got the ACK
CONTRADICTED = 1 << 5  # the responder repeated its SYN+ACK after the ACK, and nothing has confirmed since
REFUSED = 1 << 6  # a RST answered the SYN
ABORTED = 1 << 7  # a RST after the SYN+ACK and before completion, or the originator's before any answer
UNREACHABLE = 1 << 8  # an ICMP error quoted the SYN and ended it
RESET = 1 << 9  # an accepted RST, before both FINs were acknowledged
CROSSED_FINS = 1 << 10  # neither end had acknowledged the other's FIN when it sent its own
CENSORED_START = 1 << 11  # the connection was older than its first captured segment
EVICTED = 1 << 12  # left the tracker because a bound was reached, not because it was over
FLIPPED = 1 << 13  # the first captured segment came from the responder
SIMULTANEOUS_OPEN = 1 << 14
FAST_OPEN = 1 << 15  # the SYN carried data
CHALLENGED = 1 << 16  # the SYN was first answered by an ACK that does not cover it
STALE_RST = 1 << 17  # RST without ACK that reset the responder's ISN+1 right after the handshake's ACK
REPLACED = 1 << 18  # a new connection began on the same ports while this one lived
OFFLOADED = 1 << 19  # some checksums did not fit (transmit offload)
O_FIN_ACKED = 1 << 20
R_FIN_ACKED = 1 << 21
REUSED = 1 << 22  # an earlier incarnation of the same 4-tuple is in the capture
RST_ACK = 1 << 23  # the RST of `reset_by` carried an ACK, as a socket's does that closes
O_FORGED_RST = 1 << 24  # the originator went on as if it had never sent the RST in its name
R_FORGED_RST = 1 << 25  # the responder likewise
FAST_OPEN_DROPPED = 1 << 26  # the SYN was repeated without the fast-open data or option that it had first carried

# `direction_basis`
BY_SYN, BY_SYNACK, BY_PORT, BY_FIRST_PACKET = range(4)

# `closed_by` and `reset_by`
NOBODY, ORIGINATOR, RESPONDER, BOTH = range(4)

# `synack_cause`, a set
CAUSE_ELICITED = 1 << 0
CAUSE_UNANSWERED = 1 << 1
CAUSE_AFTER_ACK = 1 << 2
CAUSE_DEFERRED = 1 << 3
CAUSE_CONFLICTING = 1 << 4

#: stands for "not known" where 0 is a legal value (round-trip times)
NO_VALUE = 0xFFFF_FFFF_FFFF_FFFF

_END = (
    "packets",
    "bytes",  # payload
    "retransmissions",
    "duplicates",  # copies made by the capture
    "fins",
    "rsts",
    "rejected_rsts",
    "syns",  # SYN without ACK
    "synacks",
    "syn_retransmissions",
    "synack_retransmissions",
    "missing",  # runs of its sequence space that were acknowledged or passed over and never captured
    "state",
    "basis",
    "since_ns",  # when the state began
    "refresh_ns",  # the last (re)transmission that keeps the state alive, where it has a timer
    "repeats",  # timer retransmissions in this state
    "interval_ns",  # between the last two of them
    "doubt_state",  # what it may still be in although the peer's ACK was captured, because it contradicted one before
    "doubt_since_ns",  # its last contradiction
    "doubt_repeats",  # how often its timer had fired by then
    "doubt_until_ns",  # when the next would be overdue; 0: no doubt
    "isn",
    "mss",
    "wscale",
    "options",  # segments.OPT_* of its SYN
    "syn_flags",  # TCP flags of its SYN, 0 where none was captured (ECN set-up is in them)
    "in_vain",  # data sent again before the responder showed any sign of having got the handshake's ACK
    "zeek",  # the state that Zeek would give it
    "syn_tsval",  # TSval of its first SYN, 0 where it had none
    "ttl",  # the highest and lowest of its segments that are no RST, and that of the accepted RST: `ttls`
    "rst_id_gap",  # from the IP identification before to that of the accepted RST, modulo 2**16; 0: follows or unknown
    "stuck",  # data that it sent again and the peer never acknowledged: `stuck` takes it apart
    "stuck_ns",  # when that was first sent again
    "largest_acked",  # payload of the largest segment that the peer acknowledged
    "spoke_ns",  # its last segment
    "bad_checksums",  # wrong ones; those plainly left to the network card not counted
)


#: what the tracker knows of a flow, in the order of a row; each an unsigned 64-bit number
FACTS = (
    "number",  # order of first packet, as Wireshark counts streams
    "o_hi",
    "o_lo",
    "r_hi",
    "r_lo",
    "o_port",
    "r_port",
    "scope",
    "bits",
    "direction_basis",
    "first_ns",
    "last_ns",
    "first_packet",
    "last_packet",
    "synack_cause",
    "closed_by",
    "reset_by",
    "responder_rtt_ns",  # or NO_VALUE
    "originator_rtt_ns",  # or NO_VALUE
    "first_synack_ns",  # 0 none
    "last_synack_ns",  # 0 none
    "half_start_ns",  # 0: never half closed
    "half_end_ns",  # 0: still half closed
    "half_bytes",
    "completeness",
    "icmp",  # ICMP type << 8 | code of the error that ended the SYN
    "opened_packet",  # at which Wireshark opens its stream: the first packet, or an ICMP error that quoted it before
    *(f"o_{name}" for name in _END),
    *(f"r_{name}" for name in _END),
)
WIDTH = len(FACTS)
INDEX = {name: position for position, name in enumerate(FACTS)}


def ttls(value: int) -> tuple[int, int, int]:
    """Of the fact `ttl`: the lowest and the highest of other segments, and that of the accepted RST (0: none)."""
    return value >> 16 & 0xFF, value & 0xFF, value >> 8 & 0xFF


def stuck(value: int) -> tuple[int, int, int]:
    """Of the fact `stuck`: how often the oldest unacknowledged data came again, its payload, and keep-alive probes.

    The probes are those in a row that the peer left without an answer.
    """
    return value & 0xFFFF, value >> 32, value >> 16 & 0xFFFF


#: rows that come together before they are packed: what most captures hold stays as it was written
PACKED_FROM = 1 << 16


class FlowFacts:
    """`count` rows of `WIDTH` numbers in one flat array('Q'), row after row, and three lists of what is no number.

    Of many flows `rows` are a `PackedRows`, which is read in the same way; while the tracker writes, the rows before
    the latest are in `packed`, and nothing is to be read.

    `history`: Zeek's letters as bytes, upper case for the originator. `icmp_sender`: 16 bytes or None.
    `transitions`: packed as `tcp.timeline` reads them, or b"" where they were not asked for.

    Where connections of one 4-tuple overlap: `late`, by first packet of the older flow, its last packet before the
    newer began and then its packets since; `foreign`, by first packet of the newer flow, the same numbers.
    """

    __slots__ = ("count", "foreign", "history", "icmp_sender", "late", "packed", "rows", "transitions")

    def __init__(self) -> None:
        self.count = 0
        self.rows: Any = array("Q")
        self.packed: PackedRows | None = None
        self.history: list[bytes] = []
        self.icmp_sender: list[bytes | None] = []
        self.transitions: list[bytes] = []
        self.late: dict[int, array[int]] = {}
        self.foreign: dict[int, array[int]] = {}

    def __sizeof__(self) -> int:
        """With its rows: who keeps it for others wants to know what it takes to hold and to send."""
        return object.__sizeof__(self) + sum(map(getsizeof, (self.rows, self.packed, self.history, self.transitions)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        state = {name: getattr(self, name) for name in self.__slots__}
        if isinstance(self.rows, array) and protocol >= 5:
            from pickle import PickleBuffer

            state["rows"] = PickleBuffer(self.rows)  # so that who sends it need not copy it
        return FlowFacts, (), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        if not isinstance(self.rows, (array, PackedRows)):
            sent, self.rows = self.rows, array("Q")
            self.rows.frombytes(sent)

    def value(self, row: int, name: str) -> int:
        """One fact of one flow."""
        value: int = self.rows[row * WIDTH + INDEX[name]]
        return value

    def host(self, row: int, end: str) -> bytes:
        """The `o_` or `r_` end of one flow, as `host_key` makes it."""
        return host_key(self.value(row, end + "hi"), self.value(row, end + "lo"))

    def listener(self, row: int) -> tuple[bytes, int, int]:
        """The responder's address, port and scope of one flow: the key of a listener."""
        return self.host(row, "r_"), self.value(row, "r_port"), self.value(row, "scope")

    def column(self, name: str) -> array[int]:
        """One fact of all flows, in row order (a copy)."""
        column: array[int] = self.rows[INDEX[name] :: WIDTH]
        return column

    def pack(self) -> None:
        """Pack the latest rows; those that come now are written as before."""
        if self.packed is None:
            self.packed = PackedRows(WIDTH)
        self.packed.append(self.rows)
        self.rows = array("Q")

    def settle(self) -> None:
        """No row is written any more: from now on all can be read."""
        if self.packed is not None:
            self.pack()
            self.rows, self.packed = self.packed, None

    def row(self, row: int) -> dict[str, int]:
        """All facts of one flow by name, for tests and for people."""
        start = row * WIDTH
        return dict(zip(FACTS, self.rows[start : start + WIDTH], strict=True))

    def chosen(self, rows: Iterable[int]) -> FlowFacts:
        """Only these rows."""
        some = FlowFacts()
        places = array("Q", rows)
        some.count = len(places)
        some.rows = gathered(self.rows, WIDTH, places, range(some.count), range(WIDTH))
        some.history = [self.history[row] for row in places]
        some.icmp_sender = [self.icmp_sender[row] for row in places]
        some.transitions = [self.transitions[row] for row in places]
        firsts = set(some.column("first_packet"))
        some.late = {first: packets for first, packets in self.late.items() if first in firsts}
        some.foreign = {first: packets for first, packets in self.foreign.items() if first in firsts}
        return some

    def extend(self, other: FlowFacts) -> None:
        """Append the rows of `other`; few stay flat, or are made that."""
        packed = [isinstance(facts.rows, PackedRows) for facts in (self, other)]
        if any(packed) and self.count + other.count <= PACKED_FROM:
            if packed[0]:
                self.rows = self.rows[:]
            self.rows.extend(other.rows[:] if packed[1] else other.rows)
        elif any(packed):
            if not packed[0]:
                self.pack()
                self.settle()
            (self.rows.extend if packed[1] else self.rows.append)(other.rows)
        else:
            self.rows.extend(other.rows)
        self.history.extend(other.history)
        self.icmp_sender.extend(other.icmp_sender)
        self.transitions.extend(other.transitions)
        self.late.update(other.late)
        self.foreign.update(other.foreign)
        self.count += other.count


def joined(parts: Iterable[FlowFacts]) -> FlowFacts:
    """The rows of all, in order. The first of them is made that, the others stay what they are."""
    first, *others = parts
    for other in others:
        first.extend(other)
    return first
