# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From frames to rows of a `SegmentBatch`: the hot half of decoding.

Owns the layouts of Ethernet, VLAN, MPLS, SLL, raw IP, loopback, IPv4, IPv6, TCP and quoting ICMP errors, and
the counters of what was met. `rare` knows the other layers; it is asked one layer at a time. Judges nothing: what
a segment means is `analyzer.tcp`'s concern. Every read follows a comparison with the end of what was captured.
"""

from __future__ import annotations

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

from array import array
from typing import TYPE_CHECKING

from analyzer import segments as _segments
from analyzer.wire import layers as _layers
from analyzer.wire import reasons as _reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from analyzer.capture.frames import FrameBatch
    from analyzer.segments import SegmentBatch
    from analyzer.wire.fragments import HeaderFragments
    from analyzer.wire.rare import Opened

MAX_VLAN_TAGS = 8  # bounds the walk through a frame that is all tags; real stacks have at most three
MAX_MPLS_LABELS = 16  # likewise for label stacks; real ones have at most about ten
MAX_EXTENSION_HEADERS = 32  # likewise for IPv6 extension headers; senders use at most five
MAX_NESTING = 8  # likewise for layers that `rare` opens, so that a frame costs bounded time
MAX_SCOPES = 65_536  # bounds the names kept for VLANs and tunnels under forged tags; later ones share the last

_FOUND = cython.declare(cython.int, 0)
_RARE = cython.declare(cython.int, -1)
_ARP = cython.declare(cython.int, _reasons.NUMBERS["arp"])
_UDP = cython.declare(cython.int, _reasons.NUMBERS["udp"])
_ICMP = cython.declare(cython.int, _reasons.NUMBERS["icmp"])
_OTHER_IP_PROTOCOL = cython.declare(cython.int, _reasons.NUMBERS["other_ip_protocol"])
_NOT_IP = cython.declare(cython.int, _reasons.NUMBERS["not_ip"])
_TRUNCATED_LINK = cython.declare(cython.int, _reasons.NUMBERS["truncated_link"])
_TRUNCATED_IP = cython.declare(cython.int, _reasons.NUMBERS["truncated_ip"])
_TRUNCATED_TCP = cython.declare(cython.int, _reasons.NUMBERS["truncated_tcp"])
_BAD_IP_HEADER = cython.declare(cython.int, _reasons.NUMBERS["bad_ip_header"])
_BAD_TCP_HEADER = cython.declare(cython.int, _reasons.NUMBERS["bad_tcp_header"])
_LATER_FRAGMENT = cython.declare(cython.int, _reasons.NUMBERS["later_fragment"])
_HELD_FRAGMENT = cython.declare(cython.int, _reasons.NUMBERS["held_fragment"])
_NESTING_TOO_DEEP = cython.declare(cython.int, _reasons.NUMBERS["nesting_too_deep"])

_MARK_IPV6 = cython.declare(cython.uint, _segments.IPV6)
_MARK_HAS_TIMESTAMP = cython.declare(cython.uint, _segments.HAS_TIMESTAMP)
_MARK_BAD_CHECKSUM = cython.declare(cython.uint, _segments.BAD_CHECKSUM)
_MARK_PARTIAL_CHECKSUM = cython.declare(cython.uint, _segments.PARTIAL_CHECKSUM)
_MARK_FRAGMENT = cython.declare(cython.uint, _segments.FRAGMENT)
_MARK_TUNNELLED = cython.declare(cython.uint, _segments.TUNNELLED)
_MARK_CUT = cython.declare(cython.uint, _segments.CUT)
_MARK_OFFLOADED = cython.declare(cython.uint, _segments.OFFLOADED)
_MARK_OUTGOING = cython.declare(cython.uint, _segments.OUTGOING)
_MARK_HAS_IP_ID = cython.declare(cython.uint, _segments.HAS_IP_ID)
_MARK_CHECKSUM_UNKNOWN = cython.declare(cython.uint, _segments.CHECKSUM_UNKNOWN)
_MARK_SHORT_FRAME = cython.declare(cython.uint, _segments.SHORT_FRAME)
_MARK_OF_IP = cython.declare(cython.uint, _segments.IPV6 | _segments.OFFLOADED | _segments.HAS_IP_ID)
_MARKS_TO_COUNT = cython.declare(
    cython.uint,
    _segments.BAD_CHECKSUM
    | _segments.FRAGMENT
    | _segments.TUNNELLED
    | _segments.CUT
    | _segments.OFFLOADED
    | _segments.CHECKSUM_UNKNOWN,
)
_M64 = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_K_HI = cython.declare(cython.ulonglong, _segments.K_HI)
_K_LO = cython.declare(cython.ulonglong, _segments.K_LO)
_K_PORT = cython.declare(cython.ulonglong, _segments.K_PORT)
_K_ALL = cython.declare(cython.ulonglong, _segments.K_ALL)
_SHARD_SHIFT = cython.declare(cython.ulonglong, _segments.SHARD_SHIFT)
_KIND_SEGMENT = cython.declare(cython.int, _segments.SEGMENT)
_KIND_ICMP_ERROR = cython.declare(cython.int, _segments.ICMP_ERROR)

_OPT_MSS = cython.declare(cython.uint, _segments.OPT_MSS)
_OPT_WSCALE = cython.declare(cython.uint, _segments.OPT_WSCALE)
_OPT_SACK_PERMITTED = cython.declare(cython.uint, _segments.OPT_SACK_PERMITTED)
_OPT_TIMESTAMPS = cython.declare(cython.uint, _segments.OPT_TIMESTAMPS)
_OPT_FAST_OPEN = cython.declare(cython.uint, _segments.OPT_FAST_OPEN)
_OPT_MPTCP = cython.declare(cython.uint, _segments.OPT_MPTCP)

_ETHERNET = cython.declare(cython.uint, _layers.ETHERNET)
_ETHERTYPE = cython.declare(cython.uint, _layers.ETHERTYPE)
_IP_PROTOCOL = cython.declare(cython.uint, _layers.IP_PROTOCOL)
_UDP_PORT = cython.declare(cython.uint, _layers.UDP_PORT)
_SPLIT_HEADER = cython.declare(cython.uint, _layers.SPLIT_HEADER)
_LOW_16 = cython.declare(cython.uint, 0xFFFF)
_LOW_32 = cython.declare(cython.ulonglong, 0xFFFFFFFF)
_MAPPED = cython.declare(cython.ulonglong, 0xFFFF << 32)  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_ONES = cython.declare(cython.ulonglong, 0xFFFF)
_SUM_PAIRS = cython.declare(
    cython.Py_ssize_t, 32_768
)  # words summed at a time: two 32-bit sums of bytes cannot overflow
_PADDED_TIMESTAMPS = cython.declare(cython.uint, 0x0101080A)  # RFC 7323 appendix A: NOP NOP TSopt
_EXID_FAST_OPEN = cython.declare(cython.uint, 0xF989)  # RFC 7413 section 4.1.1
_PROTOCOL_TCP = cython.declare(cython.int, 6)
_AH = cython.declare(cython.int, 51)  # IP protocol number of the authentication header, RFC 4302
_MAX_VLAN_TAGS = cython.declare(cython.int, MAX_VLAN_TAGS)
_VLAN_TAGS_IN_KEY = cython.declare(cython.int, 5)  # 12 bits each and a guard bit fill 64 bits
_MAX_MPLS_LABELS = cython.declare(cython.int, MAX_MPLS_LABELS)
_MAX_EXTENSION_HEADERS = cython.declare(cython.int, MAX_EXTENSION_HEADERS)
_TCP_HEADER_MAX = cython.declare(cython.uint, 60)  # 15 words: a fragment from here on holds no part of it


@cython.cclass
class _Packet:
    """What is known of the frame in hand; the fields of its row, and where the walk through it stands."""

    # the walk
    pos: cython.Py_ssize_t  # start of the next layer
    cap_end: cython.Py_ssize_t  # end of the captured bytes of the enclosing layer
    wire_end: cython.Py_ssize_t  # where they would have ended, had all been captured
    frame_end: cython.Py_ssize_t  # the same of the whole frame
    rare: cython.uint  # what stands at pos, where the walk stopped with _RARE (see `layers`)
    tags: cython.int
    vlans: cython.ulonglong  # a guard bit, then 12 bits a tag
    ip_pos: cython.Py_ssize_t  # start of the innermost IP header
    fragment_offset: cython.uint  # bytes; of the innermost IP packet
    fragment_more: cython.bint
    fragment_id: cython.uint
    length: cython.Py_ssize_t  # bytes on the wire from the upper-layer header on
    verifiable: cython.bint  # the pseudo-header is known (no source routing under way)
    malformed_options: cython.bint
    scope: cython.uint
    # which shards are wanted, where not all are
    sharded: cython.bint
    first_shard: cython.ulonglong
    after_shard: cython.ulonglong
    # the row
    kind: cython.int
    src_hi: cython.ulonglong
    src_lo: cython.ulonglong
    dst_hi: cython.ulonglong
    dst_lo: cython.ulonglong
    sport: cython.uint
    dport: cython.uint
    seq: cython.uint
    ack: cython.uint
    flags: cython.uint
    window: cython.uint
    payload: cython.uint
    ip_id: cython.uint
    ttl: cython.uint
    mark: cython.uint
    tsval: cython.uint
    tsecr: cython.uint
    options: cython.uint
    mss: cython.uint
    wscale: cython.uint
    sender_hi: cython.ulonglong  # who sent the ICMP error
    sender_lo: cython.ulonglong

    def __init__(self) -> None:
        self.pos = self.cap_end = self.wire_end = self.frame_end = self.ip_pos = self.length = 0
        self.rare = self.tags = self.vlans = self.fragment_offset = self.fragment_id = self.scope = 0
        self.fragment_more = self.malformed_options = False
        self.verifiable = True
        self.sharded = False
        self.first_shard = self.after_shard = 0
        self.kind = self.src_hi = self.src_lo = self.dst_hi = self.dst_lo = self.sport = self.dport = 0
        self.seq = self.ack = self.flags = self.window = self.payload = self.ip_id = self.ttl = self.mark = 0
        self.tsval = self.tsecr = self.options = self.mss = self.wscale = self.sender_hi = self.sender_lo = 0


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u16(p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.uint:
    high: cython.uint = p[at]
    low: cython.uint = p[at + 1]
    return high << 8 | low


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u32(p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.uint:
    a: cython.uint = p[at]
    b: cython.uint = p[at + 1]
    c: cython.uint = p[at + 2]
    d: cython.uint = p[at + 3]
    return a << 24 | b << 16 | c << 8 | d


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _u64(p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    high: cython.ulonglong = _u32(p, at)
    low: cython.ulonglong = _u32(p, at + 4)
    return high << 32 | low


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _sum16(p: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.ulonglong:
    """Congruent, modulo 65535, to the sum of the big-endian 16-bit words of p[start:end] (RFC 1071).

    An odd last byte counts as if a zero followed.
    """
    if not cython.compiled:
        return int.from_bytes(p[start:end] + bytes((end - start) & 1), "big") % 0xFFFF
    total: cython.ulonglong = 0
    at: cython.Py_ssize_t = start
    pairs: cython.Py_ssize_t
    i: cython.Py_ssize_t
    high: cython.uint
    low: cython.uint
    while end - at > 1:
        pairs = (end - at) >> 1
        if pairs > _SUM_PAIRS:
            pairs = _SUM_PAIRS
        high = 0
        low = 0
        for i in range(pairs):
            high += p[at + 2 * i]
            low += p[at + 2 * i + 1]
        total += high * 256 + low
        at += 2 * pairs
    if end > at:
        total += p[at] * 256
    return total


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _end_hash(high: cython.ulonglong, low: cython.ulonglong, port: cython.ulonglong) -> cython.ulonglong:
    """One end's part of `tcp.sharding.shard_of`."""
    mixed: cython.ulonglong = ((((high * _K_HI) & _M64) ^ low) * _K_LO + port * _K_PORT) & _M64
    return mixed ^ (mixed >> 32)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _is_wanted(packet: _Packet) -> cython.bint:
    """Whether the 4-tuple of the row is in one of the shards wanted."""
    if not packet.sharded:
        return True
    return _in_shards(
        packet,
        _end_hash(packet.src_hi, packet.src_lo, packet.sport) + _end_hash(packet.dst_hi, packet.dst_lo, packet.dport),
    )


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _in_shards(packet: _Packet, both: cython.ulonglong) -> cython.bint:
    """Whether the shard of a 4-tuple, of whose ends the hashes add up to `both`, is wanted."""
    both = (((both & _M64) * _K_ALL) & _M64) >> _SHARD_SHIFT
    return packet.first_shard <= both and both < packet.after_shard


@cython.cfunc
@cython.exceptval(check=False)
def _checksum_fits(packet: _Packet, p: cython.p_uchar) -> cython.bint:
    """Whether the TCP checksum fits segment and pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).

    2**16 and 2**32 are 1 modulo 65535, so that words of any even size add up alike.
    """
    total: cython.ulonglong = _sum16(p, packet.pos, packet.cap_end)
    return (total + _pseudo_header(packet)) % _ONES == 0


@cython.cfunc
@cython.exceptval(check=False)
def _pseudo_header(packet: _Packet) -> cython.ulonglong:
    """The pseudo-header's words, added up."""
    total: cython.ulonglong = 0
    total += (packet.src_lo & _LOW_32) + (packet.dst_lo & _LOW_32)
    if packet.mark & _MARK_IPV6:
        total += (packet.src_lo >> 32) + (packet.dst_lo >> 32)
        total += (packet.src_hi >> 32) + (packet.src_hi & _LOW_32)
        total += (packet.dst_hi >> 32) + (packet.dst_hi & _LOW_32)
    return total + packet.length + _PROTOCOL_TCP


@cython.cfunc
@cython.exceptval(check=False)
def _is_partial(packet: _Packet, p: cython.p_uchar) -> cython.bint:
    """Whether the checksum field holds what a host leaves to its network card: the sum of the pseudo-header alone."""
    found: cython.ulonglong = _u16(p, packet.pos + 16)
    return found % _ONES == _pseudo_header(packet) % _ONES


@cython.cfunc
@cython.exceptval(check=False)
def _tcp_options(packet: _Packet, p: cython.p_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """Read the options at p[at:end] into the row; whether the list was well formed (RFC 9293 section 3.2)."""
    kind: cython.uint
    size: cython.uint
    fine: cython.bint = True
    while at < end:
        kind = p[at]
        if kind == 0:
            return fine
        if kind == 1:
            at += 1
            continue
        if at + 2 > end:
            return False
        size = p[at + 1]
        if size < 2 or at + size > end:
            return False
        if kind == 2:
            if size == 4:
                packet.options |= _OPT_MSS
                packet.mss = _u16(p, at + 2)
            else:
                fine = False
        elif kind == 3:
            if size == 3:
                packet.options |= _OPT_WSCALE
                packet.wscale = p[at + 2]
            else:
                fine = False
        elif kind == 4:
            if size == 2:
                packet.options |= _OPT_SACK_PERMITTED
            else:
                fine = False
        elif kind == 8:
            if size == 10:
                packet.options |= _OPT_TIMESTAMPS
                packet.mark |= _MARK_HAS_TIMESTAMP
                packet.tsval = _u32(p, at + 2)
                packet.tsecr = _u32(p, at + 6)
            else:
                fine = False
        elif kind == 30:
            if size > 2 and p[at + 2] >> 4 <= 1:  # MP_CAPABLE, MP_JOIN: RFC 8684 section 3
                packet.options |= _OPT_MPTCP
        elif kind == 34 or ((kind == 253 or kind == 254) and size >= 4 and _u16(p, at + 2) == _EXID_FAST_OPEN):
            packet.options |= _OPT_FAST_OPEN
        at += size
    return fine


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _tcp_start(packet: _Packet, p: cython.p_uchar, at: cython.Py_ssize_t, available: cython.Py_ssize_t) -> cython.int:
    """Fields of the TCP header at `at`, as far as `available` bytes go (8 or more)."""
    high: cython.uint
    packet.sport = _u16(p, at)
    packet.dport = _u16(p, at + 2)
    packet.seq = _u32(p, at + 4)
    packet.ack = _u32(p, at + 8) if available >= 12 else 0
    packet.flags = 0
    packet.window = 0
    if available >= 14:
        high = p[at + 12] & 1
        packet.flags = high << 8 | p[at + 13]
        if available >= 16:
            packet.window = _u16(p, at + 14)
    return 0


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _tcp(packet: _Packet, p: cython.p_uchar, verify: cython.bint) -> cython.int:
    """The segment at `pos`, `length` bytes on the wire: _FOUND, _RARE where fragments split its header, or a
    reason (RFC 9293 section 3.1)."""
    at: cython.Py_ssize_t = packet.pos
    available: cython.Py_ssize_t = packet.cap_end - at
    header: cython.Py_ssize_t
    if packet.length < 20:
        if packet.fragment_more:
            packet.rare = _SPLIT_HEADER
            return _RARE
        return _BAD_TCP_HEADER
    if available < 14:
        return _TRUNCATED_TCP
    header = (p[at + 12] >> 4) * 4
    if header < 20:
        return _BAD_TCP_HEADER
    if header > packet.length:
        if packet.fragment_more:
            packet.rare = _SPLIT_HEADER
            return _RARE
        return _BAD_TCP_HEADER
    _tcp_start(packet, p, at, available)
    packet.kind = _KIND_SEGMENT
    packet.payload = packet.length - header
    packet.options = 0
    if header > 20 and available > 20:
        if available >= 32 and header == 32 and _u32(p, at + 20) == _PADDED_TIMESTAMPS:
            packet.options = _OPT_TIMESTAMPS
            packet.mark |= _MARK_HAS_TIMESTAMP
            packet.tsval = _u32(p, at + 24)
            packet.tsecr = _u32(p, at + 28)
        elif available >= header:
            packet.malformed_options = not _tcp_options(packet, p, at + 20, at + header)
        else:
            _tcp_options(packet, p, at + 20, at + available)
    if available < header:
        packet.mark |= _MARK_CUT
    if packet.payload and at + header >= packet.frame_end:
        packet.mark |= _MARK_SHORT_FRAME
    if packet.fragment_more:
        packet.mark |= _MARK_FRAGMENT | _MARK_CHECKSUM_UNKNOWN
    elif available < packet.length or not packet.verifiable:
        packet.mark |= _MARK_CHECKSUM_UNKNOWN
    elif verify and _is_wanted(packet) and not _checksum_fits(packet, p):
        packet.mark |= _MARK_BAD_CHECKSUM
        if _is_partial(packet, p):
            packet.mark |= _MARK_PARTIAL_CHECKSUM
    return _FOUND


@cython.cfunc
@cython.exceptval(check=False)
def _udp(packet: _Packet, p: cython.p_uchar) -> cython.int:
    """UDP matters where a port of it says tunnel."""
    at: cython.Py_ssize_t = packet.pos
    side: cython.int
    port: cython.uint
    if packet.cap_end - at < 8:
        return _UDP
    for side in range(2):
        port = _u16(p, at + 2 - 2 * side)  # the destination's port first
        if (
            port == 4789  # VXLAN, RFC 7348
            or port == 8472  # VXLAN as Linux had it before its port was assigned
            or port == 4790  # VXLAN-GPE, draft-ietf-nvo3-vxlan-gpe
            or port == 6081  # GENEVE, RFC 8926
            or port == 2152  # GTP-U, 3GPP TS 29.281
            or port == 3544  # Teredo, RFC 4380
            or port == 5072  # AYIYA, draft-massar-v6ops-ayiya
            or port == 1701  # L2TP, RFC 2661
            or port == 4754  # GRE, RFC 8086
            or port == 6635  # MPLS, RFC 7510
            or port == 37008  # TZSP
        ):
            packet.pos = at + 8
            packet.rare = _UDP_PORT | port
            return _RARE
    return _UDP


@cython.cfunc
@cython.exceptval(check=False)
def _icmp(packet: _Packet, p: cython.p_uchar, v6: cython.bint) -> cython.int:
    """An error that quotes a TCP header becomes a row; all else is counted (RFC 792, RFC 4443)."""
    at: cython.Py_ssize_t = packet.pos
    kind: cython.uint
    code: cython.uint
    protocol: cython.int
    if packet.cap_end - at < 8:
        return _ICMP
    kind = p[at]
    code = p[at + 1]
    if v6:
        if kind < 1 or kind > 4:
            return _ICMP
    elif kind != 3 and kind != 4 and kind != 11 and kind != 12:
        return _ICMP
    packet.sender_hi = packet.src_hi
    packet.sender_lo = packet.src_lo
    packet.pos = at + 8
    protocol = _ipv6(packet, p) if v6 else _ipv4(packet, p)
    if protocol != _PROTOCOL_TCP or packet.fragment_offset or packet.cap_end - packet.pos < 8:
        return _ICMP
    _tcp_start(packet, p, packet.pos, packet.cap_end - packet.pos)
    packet.kind = _KIND_ICMP_ERROR
    packet.options = kind << 8 | code
    packet.payload = 0
    if packet.cap_end - packet.pos < 16:
        packet.mark |= _MARK_CUT
    if packet.cap_end - packet.pos >= 13:
        header: cython.Py_ssize_t = (p[packet.pos + 12] >> 4) * 4
        if header >= 20 and packet.length > header:
            packet.payload = packet.length - header
    return _FOUND


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _ipv4(packet: _Packet, p: cython.p_uchar) -> cython.int:
    """Read the IPv4 header at `pos` and step over it; the protocol above, or a reason negated (RFC 791)."""
    at: cython.Py_ssize_t = packet.pos
    header: cython.Py_ssize_t
    total: cython.Py_ssize_t
    fragment: cython.uint
    protocol: cython.int
    i: cython.Py_ssize_t
    if packet.cap_end - at < 20:
        return -_TRUNCATED_IP
    header = (p[at] & 15) * 4
    if p[at] >> 4 != 4 or header < 20:
        return -_BAD_IP_HEADER
    total = _u16(p, at + 2)
    packet.mark = packet.mark & ~_MARK_OF_IP | _MARK_HAS_IP_ID
    if total == 0:
        total = packet.wire_end - at
        packet.mark |= _MARK_OFFLOADED
    if total < header:
        return -_BAD_IP_HEADER
    if packet.cap_end - at < header:
        return -_TRUNCATED_IP
    packet.ip_pos = at
    packet.wire_end = at + total
    if packet.cap_end > packet.wire_end:
        packet.cap_end = packet.wire_end
    packet.ip_id = _u16(p, at + 4)
    fragment = _u16(p, at + 6)
    packet.fragment_id = packet.ip_id
    packet.fragment_offset = (fragment & 0x1FFF) * 8
    packet.fragment_more = fragment & 0x2000 != 0
    packet.ttl = p[at + 8]
    packet.src_hi = 0
    packet.src_lo = _MAPPED | _u32(p, at + 12)
    packet.dst_hi = 0
    packet.dst_lo = _MAPPED | _u32(p, at + 16)
    packet.verifiable = True
    if header > 20:
        i = at + 20
        while i + 1 < at + header and p[i] != 0:
            if p[i] == 1:
                i += 1
                continue
            if p[i] == 131 or p[i] == 137:  # source routes: the last destination is in the option
                packet.verifiable = False
            if p[i + 1] < 2:
                break
            i += p[i + 1]
    protocol = p[at + 9]
    at += header
    if protocol == _AH and packet.fragment_offset == 0 and packet.cap_end - at >= 2:
        protocol = p[at]
        at += (p[at + 1] + 2) * 4
        if at > packet.wire_end:
            return -_BAD_IP_HEADER
        if at > packet.cap_end:
            return -_TRUNCATED_IP
    packet.pos = at
    packet.length = packet.wire_end - at
    return protocol


@cython.cfunc
@cython.exceptval(check=False)
def _ipv6(packet: _Packet, p: cython.p_uchar) -> cython.int:
    """Read the IPv6 header at `pos` and its extension headers, and step over them; the protocol above, or a
    reason negated (RFC 8200)."""
    start: cython.Py_ssize_t = packet.pos
    at: cython.Py_ssize_t
    size: cython.Py_ssize_t
    length: cython.Py_ssize_t
    protocol: cython.int
    fragment: cython.uint
    seen: cython.int
    if packet.cap_end - start < 40:
        return -_TRUNCATED_IP
    if p[start] >> 4 != 6:
        return -_BAD_IP_HEADER
    length = _u16(p, start + 4)
    protocol = p[start + 6]
    packet.mark = packet.mark & ~_MARK_OF_IP | _MARK_IPV6
    packet.ip_id = 0
    packet.ip_pos = start
    packet.ttl = p[start + 7]
    packet.src_hi = _u64(p, start + 8)
    packet.src_lo = _u64(p, start + 16)
    packet.dst_hi = _u64(p, start + 24)
    packet.dst_lo = _u64(p, start + 32)
    packet.fragment_id = 0
    packet.fragment_offset = 0
    packet.fragment_more = False
    packet.verifiable = True
    at = start + 40
    if length == 0 and protocol != 59:
        if protocol == 0:
            length = _jumbo_length(packet, p, at)
        if length == 0:
            length = packet.wire_end - at
        packet.mark |= _MARK_OFFLOADED
    if length < 0:
        return -_BAD_IP_HEADER
    packet.wire_end = at + length
    if packet.cap_end > packet.wire_end:
        packet.cap_end = packet.wire_end
    for seen in range(_MAX_EXTENSION_HEADERS + 1):
        if protocol == _PROTOCOL_TCP:
            break
        if protocol == 0 or protocol == 60 or protocol == 43 or protocol == 135 or protocol == 139 or protocol == 140:
            # hop-by-hop, destination options, routing, mobility, HIP, Shim6: eight octets and more
            if packet.cap_end - at < 4:
                return -_TRUNCATED_IP
            size = (p[at + 1] + 1) * 8
            if protocol == 60 or (protocol == 43 and p[at + 3]):
                packet.verifiable = False  # a home address (RFC 6275) or a destination still to come
        elif protocol == _AH:
            if packet.cap_end - at < 2:
                return -_TRUNCATED_IP
            size = (p[at + 1] + 2) * 4
        elif protocol == 44:
            if packet.cap_end - at < 8:
                return -_TRUNCATED_IP
            size = 8
            fragment = _u16(p, at + 2)
            packet.fragment_offset = fragment & 0xFFF8
            packet.fragment_more = fragment & 1
            packet.fragment_id = _u32(p, at + 4)
        else:
            break
        if seen == _MAX_EXTENSION_HEADERS:
            return -_NESTING_TOO_DEEP
        if at + size > packet.wire_end:
            return -_BAD_IP_HEADER
        if at + size > packet.cap_end:
            return -_TRUNCATED_IP
        protocol = p[at]
        at += size
        if packet.fragment_offset:
            break
    packet.pos = at
    packet.length = packet.wire_end - at
    return protocol


@cython.cfunc
@cython.exceptval(check=False)
def _jumbo_length(packet: _Packet, p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The jumbo payload length in the hop-by-hop header at `at`, or 0 (RFC 2675)."""
    end: cython.Py_ssize_t
    if packet.cap_end - at < 8:
        return 0
    end = at + (p[at + 1] + 1) * 8
    if end > packet.cap_end:
        return 0
    at += 2
    while at + 2 <= end:
        if p[at] == 0:
            at += 1
            continue
        if p[at] == 0xC2 and p[at + 1] == 4 and at + 6 <= end:
            return _u32(p, at + 2)
        at += 2 + p[at + 1]
    return 0


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _ip(packet: _Packet, p: cython.p_uchar, verify: cython.bint) -> cython.int:
    """An IP packet at `pos`, of the version that its first nibble tells, and what it carries."""
    protocol: cython.int
    version: cython.uint
    if packet.cap_end <= packet.pos:
        return _TRUNCATED_IP
    version = p[packet.pos] >> 4
    if version == 4:
        protocol = _ipv4(packet, p)
    elif version == 6:
        protocol = _ipv6(packet, p)
    else:
        return _BAD_IP_HEADER
    if protocol < 0:
        return -protocol
    if packet.fragment_offset:
        if protocol == _PROTOCOL_TCP and packet.fragment_offset < _TCP_HEADER_MAX:
            packet.rare = _SPLIT_HEADER
            return _RARE
        return _LATER_FRAGMENT
    if protocol == _PROTOCOL_TCP:
        return _tcp(packet, p, verify)
    if protocol == 17:
        return _udp(packet, p)
    if protocol == 1 or protocol == 58:
        return _icmp(packet, p, protocol == 58)
    packet.rare = _IP_PROTOCOL | protocol
    return _RARE


@cython.cfunc
@cython.exceptval(check=False)
def _ethertype(packet: _Packet, p: cython.p_uchar, ethertype: cython.uint, verify: cython.bint) -> cython.int:
    """Follow tags, labels and LLC from `pos`, where a layer of this EtherType (or 802.3 length) begins."""
    at: cython.Py_ssize_t = packet.pos
    _label: cython.int
    while True:
        if ethertype == 0x0800 or ethertype == 0x86DD:
            packet.pos = at
            return _ip(packet, p, verify)
        if ethertype == 0x8100 or ethertype == 0x88A8 or ethertype == 0x9100 or ethertype == 0x9200:
            if packet.cap_end - at < 4:
                return _TRUNCATED_LINK
            packet.tags += 1
            if packet.tags > _MAX_VLAN_TAGS:
                return _NESTING_TOO_DEEP
            if packet.tags <= _VLAN_TAGS_IN_KEY:
                packet.vlans = packet.vlans << 12 | (_u16(p, at) & 0xFFF)
            ethertype = _u16(p, at + 2)
            at += 4
            continue
        if ethertype <= 1500:
            if packet.cap_end - at < 3:
                return _TRUNCATED_LINK
            if p[at] == 6 and p[at + 1] == 6 and p[at + 2] == 3:  # LLC's own number for IP, RFC 1042
                ethertype = 0x0800
                at += 3
                continue
            if p[at] != 0xAA or p[at + 1] != 0xAA or p[at + 2] != 3:
                return _NOT_IP
            if packet.cap_end - at < 8:
                return _TRUNCATED_LINK
            if p[at + 3] or p[at + 4] or p[at + 5]:
                return _NOT_IP
            ethertype = _u16(p, at + 6)
            at += 8
            continue
        if ethertype == 0x8847 or ethertype == 0x8848:
            for _label in range(_MAX_MPLS_LABELS + 1):
                if packet.cap_end - at < 4:
                    return _TRUNCATED_LINK
                at += 4
                if p[at - 2] & 1:
                    break
            else:
                return _NESTING_TOO_DEEP
            packet.pos = at
            if packet.cap_end <= at:
                return _TRUNCATED_IP
            if p[at] >> 4 == 4 or p[at] >> 4 == 6:
                return _ip(packet, p, verify)
            packet.rare = _ETHERTYPE | ethertype
            return _RARE
        if ethertype == 0x0806 or ethertype == 0x8035:
            return _ARP
        packet.pos = at
        packet.rare = _ETHERTYPE | ethertype
        return _RARE


@cython.cfunc
@cython.exceptval(check=False)
def _walk(packet: _Packet, p: cython.p_uchar, layer: cython.uint, verify: cython.bint) -> cython.int:
    """Go inwards from `pos`, where `layer` begins (see `layers`): _FOUND with the row in `packet`, _RARE with
    `packet.rare` to be opened by `rare`, or a reason."""
    at: cython.Py_ssize_t = packet.pos
    left: cython.Py_ssize_t = packet.cap_end - at
    family: cython.uint
    if layer == _ETHERNET:
        if left < 14:
            return _TRUNCATED_LINK
        packet.pos = at + 14
        family = _u16(p, at + 12)
        if family == 0x0800:
            return _ip(packet, p, verify)
        return _ethertype(packet, p, family, verify)
    if layer >> 16 == 1:
        return _ethertype(packet, p, layer & _LOW_16, verify)
    if layer == 101 or layer == 12 or layer == 14 or layer == 228 or layer == 229:
        if left > 0 and p[at] >> 4 != 4 and p[at] >> 4 != 6:
            return _NOT_IP
        return _ip(packet, p, verify)
    if layer == 113:
        if left < 16:
            return _TRUNCATED_LINK
        if _u16(p, at) == 4:
            packet.mark |= _MARK_OUTGOING
        return _cooked(packet, p, at + 16, _u16(p, at + 2), _u16(p, at + 14), verify)
    if layer == 276:
        if left < 20:
            return _TRUNCATED_LINK
        if p[at + 10] == 4:
            packet.mark |= _MARK_OUTGOING
        return _cooked(packet, p, at + 20, _u16(p, at + 8), _u16(p, at), verify)
    if layer == 0 or layer == 108:
        if left < 4:
            return _TRUNCATED_LINK
        family = _u32(p, at)
        if family > _LOW_16:  # written by a little-endian machine
            family = (family >> 24) | (family >> 8 & 0xFF00)
        packet.pos = at + 4
        if family == 2 or family == 10 or family == 24 or family == 28 or family == 30:
            return _ip(packet, p, verify)  # AF_INET, and AF_INET6 of Linux, NetBSD, FreeBSD and macOS
        return _NOT_IP
    packet.rare = layer
    return _RARE


@cython.cfunc
@cython.exceptval(check=False)
def _cooked(
    packet: _Packet,
    p: cython.p_uchar,
    at: cython.Py_ssize_t,
    hardware: cython.uint,
    protocol: cython.uint,
    verify: cython.bint,
) -> cython.int:
    """What follows a Linux cooked header: by ARPHRD where that decides, else by protocol (LINKTYPE_LINUX_SLL)."""
    packet.pos = at
    if hardware == 801 or hardware == 802 or hardware == 803:  # 802.11 bare, with Prism, with radiotap
        packet.rare = 105 if hardware == 801 else 119 if hardware == 802 else 127
        return _RARE
    return _ethertype(packet, p, protocol, verify)


def _address(high: int, low: int) -> bytes:
    """The 16 bytes of an address from its halves."""
    return (high << 64 | low).to_bytes(16, "big")


def _address_text(high: int, low: int) -> str:
    from ipaddress import IPv6Address

    address = IPv6Address(_address(high, low))
    return str(address.ipv4_mapped or address)


def _vlan_texts(vlans: int) -> tuple[str, ...]:
    """The stack of tags, outermost first, as a text, or nothing where there is none."""
    tags: list[str] = []
    while vlans > 1:
        tags.insert(0, str(vlans & 0xFFF))
        vlans >>= 12
    return (f"vlan {'.'.join(tags)}",) if tags else ()


@cython.final
@cython.cclass
class _Columns:
    """The columns of the batch that is being filled: to take hold of them costs as much as many segments do."""

    batch: SegmentBatch | None
    kind: cython.uchar[::1]
    packet: cython.ulonglong[::1]
    ts_ns: cython.longlong[::1]
    src_hi: cython.ulonglong[::1]
    src_lo: cython.ulonglong[::1]
    dst_hi: cython.ulonglong[::1]
    dst_lo: cython.ulonglong[::1]
    sport: cython.ushort[::1]
    dport: cython.ushort[::1]
    seq: cython.uint[::1]
    ack: cython.uint[::1]
    flags: cython.ushort[::1]
    window: cython.ushort[::1]
    payload: cython.uint[::1]
    ip_id: cython.ushort[::1]
    ttl: cython.uchar[::1]
    mark: cython.ushort[::1]
    tsval: cython.uint[::1]
    tsecr: cython.uint[::1]
    options: cython.ushort[::1]
    mss: cython.ushort[::1]
    wscale: cython.uchar[::1]
    scope: cython.uint[::1]

    def __init__(self) -> None:
        self.batch = None

    @cython.cfunc
    def hold(self, batch: SegmentBatch) -> cython.void:
        self.batch = batch
        self.kind = batch.kind
        self.packet = batch.packet
        self.ts_ns = batch.ts_ns
        self.src_hi = batch.src_hi
        self.src_lo = batch.src_lo
        self.dst_hi = batch.dst_hi
        self.dst_lo = batch.dst_lo
        self.sport = batch.sport
        self.dport = batch.dport
        self.seq = batch.seq
        self.ack = batch.ack
        self.flags = batch.flags
        self.window = batch.window
        self.payload = batch.payload
        self.ip_id = batch.ip_id
        self.ttl = batch.ttl
        self.mark = batch.mark
        self.tsval = batch.tsval
        self.tsecr = batch.tsecr
        self.options = batch.options
        self.mss = batch.mss
        self.wscale = batch.wscale
        self.scope = batch.scope


class Decoder:
    """Turns frames into rows of a `SegmentBatch`, and counts what it met.

    `counts` says why frames gave no row (see `reasons.REASONS`). Of the rows: `segments` and `icmp_errors`, and
    of the segments how many are `bad_checksums`, `partial_checksums`, `unverified`, `cut_options`, `malformed_options`,
    `fragments`, `tunnelled`, `offloaded`. `scopes[n]` names scope `n`: more than one only with `by_vlan` or
    `by_tunnel`.

    `shards`: rows of these shards only (`tcp.sharding`), and of the others no more than the latest time of their
    segments, `left_out_ns`. `counts` and `scopes` are those of the whole capture all the same.
    """

    def __init__(
        self,
        *,
        by_vlan: bool = False,
        by_tunnel: bool = False,
        verify_checksums: bool = True,
        shards: range | None = None,
    ) -> None:
        self.by_vlan = by_vlan
        self.by_tunnel = by_tunnel
        self.verify_checksums = verify_checksums
        self.segments = 0
        self.icmp_errors = 0
        self.bad_checksums = 0
        self.partial_checksums = 0
        self.unverified = 0
        self.cut_options = 0
        self.malformed_options = 0
        self.fragments = 0
        self.tunnelled = 0
        self.offloaded = 0
        self.scopes: list[str] = [""]
        self._scope_numbers: dict[tuple[int, tuple[str, ...]], int] = {}
        self._met = array("Q", bytes(8 * len(_reasons.NAMES)))
        packet: _Packet = _Packet()
        packet.sharded = shards is not None
        if shards is not None:
            packet.first_shard = shards.start
            packet.after_shard = shards.stop
        self._packet = packet
        self._columns = _Columns()
        self.left_out_ns = 0
        self._tunnels: tuple[str, ...] = ()
        self._split_headers: HeaderFragments | None = None
        self._open_layer: Callable[[bytes, int, int, int], Opened | str] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Reason → number of frames that gave no row for it; reasons not met are left out."""
        return {name: self._met[number] for name, number in _reasons.NUMBERS.items() if self._met[number]}

    def decode(self, frames: FrameBatch, start: int, out: SegmentBatch) -> int:
        """Decode `frames[start:]`, adding rows to `out`, until it is full or the batch ends.

        The index of the first frame not decoded; every one before it gave one row or counts once in `counts`.
        """
        data: bytes = frames.data
        p: cython.p_uchar = data
        size: cython.Py_ssize_t = len(data)
        f_offset: cython.ulonglong[::1] = frames.offset
        f_caplen: cython.uint[::1] = frames.caplen
        f_wirelen: cython.uint[::1] = frames.wirelen
        f_ts_ns: cython.longlong[::1] = frames.ts_ns
        f_linktype: cython.ushort[::1] = frames.linktype
        columns: _Columns = self._columns
        if columns.batch is not out:
            columns.hold(out)
        o_kind: cython.uchar[::1] = columns.kind
        o_packet: cython.ulonglong[::1] = columns.packet
        o_ts_ns: cython.longlong[::1] = columns.ts_ns
        o_src_hi: cython.ulonglong[::1] = columns.src_hi
        o_src_lo: cython.ulonglong[::1] = columns.src_lo
        o_dst_hi: cython.ulonglong[::1] = columns.dst_hi
        o_dst_lo: cython.ulonglong[::1] = columns.dst_lo
        o_sport: cython.ushort[::1] = columns.sport
        o_dport: cython.ushort[::1] = columns.dport
        o_seq: cython.uint[::1] = columns.seq
        o_ack: cython.uint[::1] = columns.ack
        o_flags: cython.ushort[::1] = columns.flags
        o_window: cython.ushort[::1] = columns.window
        o_payload: cython.uint[::1] = columns.payload
        o_ip_id: cython.ushort[::1] = columns.ip_id
        o_ttl: cython.uchar[::1] = columns.ttl
        o_mark: cython.ushort[::1] = columns.mark
        o_tsval: cython.uint[::1] = columns.tsval
        o_tsecr: cython.uint[::1] = columns.tsecr
        o_options: cython.ushort[::1] = columns.options
        o_mss: cython.ushort[::1] = columns.mss
        o_wscale: cython.uchar[::1] = columns.wscale
        o_scope: cython.uint[::1] = columns.scope
        met: cython.ulonglong[::1] = self._met
        packet: _Packet = self._packet
        verify: cython.bint = self.verify_checksums
        by_vlan: cython.bint = self.by_vlan
        scoped: cython.bint = self.by_vlan or self.by_tunnel
        sharded: cython.bint = packet.sharded
        left_out_ns: cython.longlong = self.left_out_ns
        frame: cython.Py_ssize_t = start
        count: cython.Py_ssize_t = frames.count
        first_packet: cython.ulonglong = frames.first_packet
        first_row: cython.Py_ssize_t = out.count
        row: cython.Py_ssize_t = first_row
        capacity: cython.Py_ssize_t = out.capacity
        at: cython.Py_ssize_t
        cap_end: cython.Py_ssize_t
        frame_end: cython.Py_ssize_t
        length: cython.Py_ssize_t
        header: cython.Py_ssize_t
        available: cython.Py_ssize_t
        source: cython.ulonglong
        target: cython.ulonglong
        pseudo: cython.ulonglong
        sport: cython.uint
        dport: cython.uint
        mark: cython.uint
        status: cython.int
        opened: cython.bint
        errors: cython.Py_ssize_t = 0
        bad: cython.Py_ssize_t = 0
        partial: cython.Py_ssize_t = 0
        unverified: cython.Py_ssize_t = 0
        cut: cython.Py_ssize_t = 0
        malformed: cython.Py_ssize_t = 0
        fragments: cython.Py_ssize_t = 0
        tunnelled: cython.Py_ssize_t = 0
        offloaded: cython.Py_ssize_t = 0
        while frame < count and row < capacity:
            at = f_offset[frame]
            cap_end = at + f_caplen[frame]
            if cap_end > size:
                cap_end = size
            frame_end = at + f_wirelen[frame]
            if frame_end < cap_end:
                frame_end = cap_end
            # The short way for what nearly every frame is: TCP in plain IPv4, with no option but a time stamp. What it
            # says of a frame is what the long way says; whatever is unusual is left to that.
            if (
                f_linktype[frame] == _ETHERNET
                and not scoped
                and cap_end - at >= 54
                and _u16(p, at + 12) == 0x0800
                and p[at + 14] == 0x45
                and p[at + 23] == _PROTOCOL_TCP
                and _u16(p, at + 20) & 0x3FFF == 0
            ):
                length = _u16(p, at + 16)
                length -= 20
                header = (p[at + 46] >> 4) * 4
                available = cap_end - at - 34
                if available > length:
                    available = length
                if (
                    length >= header
                    and (header == 20 or (header == 32 and available >= 32 and _u32(p, at + 54) == _PADDED_TIMESTAMPS))
                    and (length == header or at + 34 + header < frame_end)
                ):
                    source = _u32(p, at + 26)
                    target = _u32(p, at + 30)
                    sport = _u16(p, at + 34)
                    dport = _u16(p, at + 36)
                    if sharded and not _in_shards(
                        packet, _end_hash(0, _MAPPED | source, sport) + _end_hash(0, _MAPPED | target, dport)
                    ):
                        if f_ts_ns[frame] > left_out_ns:
                            left_out_ns = f_ts_ns[frame]
                        frame += 1
                        continue
                    mark = _MARK_HAS_IP_ID
                    if header == 32:
                        mark |= _MARK_HAS_TIMESTAMP
                        o_tsval[row] = _u32(p, at + 58)
                        o_tsecr[row] = _u32(p, at + 62)
                        o_options[row] = _OPT_TIMESTAMPS
                    else:
                        o_tsval[row] = 0
                        o_tsecr[row] = 0
                        o_options[row] = 0
                    if available < length:
                        mark |= _MARK_CHECKSUM_UNKNOWN
                        unverified += 1
                    elif verify:
                        pseudo = source + target
                        pseudo += length + _PROTOCOL_TCP
                        if (_sum16(p, at + 34, at + 34 + length) + pseudo) % _ONES:
                            mark |= _MARK_BAD_CHECKSUM
                            bad += 1
                            if _u16(p, at + 50) % _ONES == pseudo % _ONES:
                                mark |= _MARK_PARTIAL_CHECKSUM
                                partial += 1
                    o_kind[row] = _KIND_SEGMENT
                    o_packet[row] = first_packet + frame
                    o_ts_ns[row] = f_ts_ns[frame]
                    o_src_hi[row] = 0
                    o_src_lo[row] = _MAPPED | source
                    o_dst_hi[row] = 0
                    o_dst_lo[row] = _MAPPED | target
                    o_sport[row] = sport
                    o_dport[row] = dport
                    o_seq[row] = _u32(p, at + 38)
                    o_ack[row] = _u32(p, at + 42)
                    o_flags[row] = (_u16(p, at + 46)) & 0x1FF
                    o_window[row] = _u16(p, at + 48)
                    o_payload[row] = length - header
                    o_ip_id[row] = _u16(p, at + 18)
                    o_ttl[row] = p[at + 22]
                    o_mark[row] = mark
                    o_mss[row] = 0
                    o_wscale[row] = 0
                    o_scope[row] = 0
                    row += 1
                    frame += 1
                    continue
            packet.pos = at
            packet.cap_end = cap_end
            packet.wire_end = frame_end
            packet.frame_end = frame_end
            packet.tags = 0
            packet.vlans = 1
            packet.mark = 0
            packet.malformed_options = False
            packet.tsval = 0
            packet.tsecr = 0
            packet.mss = 0
            packet.wscale = 0
            packet.scope = 0
            packet.ip_pos = -1
            opened = False
            status = _walk(packet, p, f_linktype[frame], verify)
            if status == _RARE:
                opened = True
                status = self._open_rare(data, f_ts_ns[frame])
            if status != _FOUND:
                met[status] += 1
                frame += 1
                continue
            if scoped:
                packet.scope = self._scope(packet.vlans if by_vlan else 1, self._tunnels if opened else ())
            if sharded and not _is_wanted(packet):
                if packet.kind == _KIND_SEGMENT and f_ts_ns[frame] > left_out_ns:
                    left_out_ns = f_ts_ns[frame]
                frame += 1
                continue
            o_kind[row] = packet.kind
            o_packet[row] = first_packet + frame
            o_ts_ns[row] = f_ts_ns[frame]
            o_src_hi[row] = packet.src_hi
            o_src_lo[row] = packet.src_lo
            o_dst_hi[row] = packet.dst_hi
            o_dst_lo[row] = packet.dst_lo
            o_sport[row] = packet.sport
            o_dport[row] = packet.dport
            o_seq[row] = packet.seq
            o_ack[row] = packet.ack
            o_flags[row] = packet.flags
            o_window[row] = packet.window
            o_payload[row] = packet.payload
            o_ip_id[row] = packet.ip_id
            o_ttl[row] = packet.ttl
            o_mark[row] = packet.mark
            o_tsval[row] = packet.tsval
            o_tsecr[row] = packet.tsecr
            o_options[row] = packet.options
            o_mss[row] = packet.mss
            o_wscale[row] = packet.wscale
            o_scope[row] = packet.scope
            if packet.kind == _KIND_ICMP_ERROR:
                errors += 1
                out.icmp_sender[row] = _address(packet.sender_hi, packet.sender_lo)
            elif packet.mark & _MARKS_TO_COUNT or packet.malformed_options:
                malformed += packet.malformed_options
                bad += packet.mark & _MARK_BAD_CHECKSUM != 0
                partial += packet.mark & _MARK_PARTIAL_CHECKSUM != 0
                unverified += packet.mark & _MARK_CHECKSUM_UNKNOWN != 0
                cut += packet.mark & _MARK_CUT != 0
                fragments += packet.mark & _MARK_FRAGMENT != 0
                tunnelled += packet.mark & _MARK_TUNNELLED != 0
                offloaded += packet.mark & _MARK_OFFLOADED != 0
            row += 1
            frame += 1
        out.count = row
        self.left_out_ns = left_out_ns
        self.icmp_errors += errors
        self.segments += row - first_row - errors
        self.bad_checksums += bad
        self.partial_checksums += partial
        self.unverified += unverified
        self.cut_options += cut
        self.malformed_options += malformed
        self.fragments += fragments
        self.tunnelled += tunnelled
        self.offloaded += offloaded
        return frame

    def _open_rare(self, data: bytes, ts_ns: int) -> int:
        """Open layers that the hot walk does not know, until it finds the segment or a reason."""
        packet: _Packet = self._packet
        verify: cython.bint = self.verify_checksums
        status: cython.int = _RARE
        opened_layers = 0
        if self._open_layer is None:  # most captures never need it, and the command must start quickly
            from analyzer.wire.rare import open_layer

            self._open_layer = open_layer
        self._tunnels = ()
        while status == _RARE:
            if packet.rare == _SPLIT_HEADER:
                return self._join_header(data, ts_ns)
            if opened_layers == MAX_NESTING:
                return _NESTING_TOO_DEEP
            opened_layers += 1
            opened = self._open_layer(data, packet.rare, packet.pos, packet.cap_end)
            if isinstance(opened, str):
                return _reasons.NUMBERS[opened]
            layer, position, tunnel = opened
            packet.pos = position
            if tunnel:
                packet.mark |= _MARK_TUNNELLED
                if self.by_tunnel:
                    self._tunnels = (*self._tunnels, self._tunnel_text(tunnel))
            status = _walk(packet, data, layer, verify)
        return status

    def _join_header(self, data: bytes, ts_ns: int) -> int:
        """Keep a fragment that holds a part of a TCP header; when the header is whole, decode it."""
        packet: _Packet = self._packet
        if self._split_headers is None:
            from analyzer.wire.fragments import HeaderFragments

            self._split_headers = HeaderFragments()
        key = (packet.src_hi, packet.src_lo, packet.dst_hi, packet.dst_lo, packet.fragment_id, packet.vlans)
        header = self._split_headers.add(
            key,
            ts_ns,
            offset=packet.fragment_offset,
            length=packet.length,
            more=packet.fragment_more,
            captured=data[packet.pos : packet.cap_end],
        )
        if header is None:
            return _HELD_FRAGMENT
        packet.pos = 0
        packet.cap_end = len(header.captured)
        packet.frame_end = header.length + 1
        packet.length = header.length
        packet.fragment_offset = 0
        packet.fragment_more = header.more
        packet.verifiable = False
        status: cython.int = _tcp(packet, header.captured, False)
        return _BAD_TCP_HEADER if status == _RARE else status

    def _tunnel_text(self, tunnel: str) -> str:
        """A tunnel by name, number and its two ends, if it has any: the same for both directions."""
        packet: _Packet = self._packet
        if packet.ip_pos < 0:
            return tunnel
        ends = sorted([(packet.src_hi, packet.src_lo), (packet.dst_hi, packet.dst_lo)])
        return f"{tunnel} {'-'.join(_address_text(high, low) for high, low in ends)}"

    def _scope(self, vlans: int, tunnels: tuple[str, ...]) -> int:
        """The number of a stack of VLANs in a stack of tunnels, a new one where it has none yet."""
        if vlans == 1 and not tunnels:
            return 0
        key = (vlans, tunnels)
        number = self._scope_numbers.get(key)
        if number is None:
            if len(self.scopes) >= MAX_SCOPES:
                return MAX_SCOPES - 1
            number = self._scope_numbers[key] = len(self.scopes)
            self.scopes.append(", ".join(_vlan_texts(vlans) + tunnels))
        return number
