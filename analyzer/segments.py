"""`SegmentBatch`: the one contract between decoding and tracking.

Owns the columns of a run of TCP segments and of ICMP errors that quote one. It is also what a data set on disk
and a cluster exchange, so that a column is a typed array and never a Python object a row.
"""

from __future__ import annotations

from array import array

# TCP flags as on the wire (RFC 9293 section 3.1, RFC 3168, RFC 3540/AccECN for AE).
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = (1 << bit for bit in range(9))

#: letters in tcpdump's order
_LETTERS = (
    *((FIN, "F"), (SYN, "S"), (RST, "R"), (PSH, "P"), (ACK, "."), (URG, "U"), (ECE, "E")),
    *((CWR, "W"), (AE, "e")),
)


def letters(flags: int) -> str:
    """Flags as tcpdump writes them."""
    return "".join(letter for bit, letter in _LETTERS if flags & bit) or "none"


# `kind`
SEGMENT = 0
ICMP_ERROR = 1  # an ICMP or ICMPv6 error that quotes a TCP header

# `mark`: facts about the segment's surroundings
IPV6 = 1 << 0
HAS_TIMESTAMP = 1 << 1  # tsval and tsecr are valid (RFC 7323)
BAD_CHECKSUM = 1 << 2  # the TCP checksum was verifiable and does not fit
FRAGMENT = 1 << 3  # first fragment: the payload goes on in later IP fragments
TUNNELLED = 1 << 4  # found inside a tunnel
CUT = 1 << 5  # the snap length cut the TCP header's options
OFFLOADED = 1 << 6  # IP total length 0 (or jumbo): the length comes from the frame
OUTGOING = 1 << 7  # Linux cooked capture says that this host sent it
HAS_IP_ID = 1 << 8  # IPv4: `ip_id` is what the header says (0 is a legal value)
CHECKSUM_UNKNOWN = 1 << 9  # cut or fragmented: the checksum could not be verified
SHORT_FRAME = 1 << 10  # the frame, as it was on the wire, ends with the TCP header; its IP length promises more
PARTIAL_CHECKSUM = 1 << 11  # with BAD_CHECKSUM: it is the pseudo-header's sum, the rest was left to the network card

# `options`: which TCP options a segment carried
OPT_MSS = 1 << 0
OPT_WSCALE = 1 << 1
OPT_SACK_PERMITTED = 1 << 2
OPT_TIMESTAMPS = 1 << 3
OPT_FAST_OPEN = 1 << 4  # kind 34, or the experimental 254 with 0xF989 (RFC 7413)
OPT_MPTCP = 1 << 5  # kind 30, MP_CAPABLE or MP_JOIN (RFC 8684)

#: shards of 4-tuples there are; fewer are made by putting neighbours together (`shard * fewer // SHARDS`)
SHARDS = 64
# The hash that tells the shard (`tcp.sharding.shard_of`): odd multipliers with bits everywhere (those of splitmix64 and
# of Knuth's golden ratio), and the six top bits, which every bit below has reached.
K_HI, K_LO, K_PORT, K_ALL = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
SHARD_SHIFT = 58

#: name → array typecode, in the order they are stored
COLUMN_TYPES: dict[str, str] = {
    "kind": "B",  # SEGMENT or ICMP_ERROR
    "packet": "Q",  # number of the frame in the capture, from 1
    "ts_ns": "q",  # nanoseconds since the epoch
    "src_hi": "Q",  # IPv6 address as two big-endian halves; IPv4 a.b.c.d is ::ffff:a.b.c.d without mark IPV6
    "src_lo": "Q",
    "dst_hi": "Q",
    "dst_lo": "Q",
    "sport": "H",
    "dport": "H",
    "seq": "I",
    "ack": "I",  # as on the wire, also where the ACK flag is not set
    "flags": "H",  # nine TCP flags
    "window": "H",  # as on the wire, not scaled
    "payload": "I",  # payload bytes on the wire (from the IP length, not from what was captured)
    "ip_id": "H",
    "ttl": "B",  # or hop limit
    "mark": "H",
    "tsval": "I",
    "tsecr": "I",
    "options": "H",
    "mss": "H",
    "wscale": "B",
    "scope": "I",  # 0, or the number of the VLAN or tunnel that keeps 4-tuples apart, where asked for
}
# An ICMP_ERROR row holds the quoted segment: src is who had sent it, seq its sequence number (flags, ack,
# window, options and payload are 0 where the quotation is too short; mark CUT: it ends before the window),
# `options` is ICMP type << 8 | code,
# and `icmp_sender[row]` the 16 bytes of the address that complained. mark IPV6 tells ICMPv6 from ICMP.


def _aligned(size: int) -> int:
    """To the next line of a processor's cache, so that no column shares one with another."""
    return -(-size // 64) * 64


class SegmentBatch:
    """Up to `capacity` rows in typed columns (see `COLUMN_TYPES`), of which the first `count` are valid.

    A batch is reused by the decoder that fills it: whoever keeps rows copies them.
    """

    __slots__ = (*COLUMN_TYPES, "capacity", "count", "icmp_sender")

    kind: array[int]
    packet: array[int]
    ts_ns: array[int]
    src_hi: array[int]
    src_lo: array[int]
    dst_hi: array[int]
    dst_lo: array[int]
    sport: array[int]
    dport: array[int]
    seq: array[int]
    ack: array[int]
    flags: array[int]
    window: array[int]
    payload: array[int]
    ip_id: array[int]
    ttl: array[int]
    mark: array[int]
    tsval: array[int]
    tsecr: array[int]
    options: array[int]
    mss: array[int]
    wscale: array[int]
    scope: array[int]

    def __init__(self, capacity: int, memory: memoryview | None = None) -> None:
        """`memory`: where its columns are to lie, as they are there; `size_of(capacity)` bytes or more."""
        self.capacity = capacity
        self.count = 0
        self.icmp_sender: dict[int, bytes] = {}
        at = 0
        for name, typecode in COLUMN_TYPES.items():
            size = array(typecode).itemsize * capacity
            if memory is None:
                setattr(self, name, array(typecode, bytes(size)))
            else:
                setattr(self, name, memory[at : at + size].cast(typecode))  # type: ignore[call-overload]
            at += _aligned(size)

    @staticmethod
    def size_of(capacity: int) -> int:
        """How many bytes of memory the columns take."""
        return sum(_aligned(array(typecode).itemsize * capacity) for typecode in COLUMN_TYPES.values())

    def clear(self) -> None:
        """Forget the rows; the columns stay allocated."""
        self.count = 0
        self.icmp_sender.clear()

    def row(self, index: int) -> dict[str, int]:
        """Row `index` as a dict, for tests and for people."""
        if not 0 <= index < self.count:
            raise IndexError(f"row {index} of a batch of {self.count}")
        return {name: getattr(self, name)[index] for name in COLUMN_TYPES}

    def append(self, **values: int) -> int:
        """Add one row from keywords (columns left out are 0); its index. For tests and rare paths."""
        index = self.count
        if index >= self.capacity:
            raise IndexError(f"a batch holds {self.capacity} rows")
        for name in COLUMN_TYPES:
            getattr(self, name)[index] = values.pop(name, 0)
        if values:
            raise TypeError(f"no such columns: {', '.join(sorted(values))}")
        self.count = index + 1
        return index
