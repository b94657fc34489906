"""`COLUMNS`: the one schema of a flow. Every table, file format, filter and document is made from it.

Owns names, types, words and how each value follows from the facts. Adding a column touches this list only.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cache, lru_cache
from struct import Struct
from typing import Any, NamedTuple

from analyzer import segments as s
from analyzer.flows import facts as f
from analyzer.flows import verdict, zeek
from analyzer.flows.facts import INDEX, NO_VALUE, host_halves, host_key
from analyzer.flows.table import FlowTable
from analyzer.tcp import states

DIRECTION_BASES = ("syn", "synack", "port", "first_packet")
WHO = ("", "originator", "responder", "both")
CENSORED = ("", "start", "end", "both")
# The most telling cause first.
SYNACK_CAUSES = (
    (f.CAUSE_CONFLICTING, "conflicting"),
    (f.CAUSE_AFTER_ACK, "after_ack"),
    (f.CAUSE_DEFERRED, "deferred"),
    (f.CAUSE_UNANSWERED, "unanswered"),
    (f.CAUSE_ELICITED, "elicited"),
)
#: Community ID of a flow (v1, seed 0): https://github.com/corelight/community-id-spec
_COMMUNITY_SEED = b"\0\0"
_IPV4_MAPPED = 0xFFFF  # bits 32 to 47 of the lower half, RFC 4291 section 2.5.5.2
_IPPROTO_TCP = 6
_TCP = bytes((_IPPROTO_TCP, 0))  # and padding
_PORTS = Struct(">HH").pack
_COMMUNITY_V4 = Struct(">2sIIHHH").pack  # seed, addresses, protocol and padding, ports
# What nearly every column reads; looked up once, because a list of a report can be as long as a flood.
_BITS = INDEX["bits"]
_FIRST_PACKET, _LAST_PACKET = INDEX["first_packet"], INDEX["last_packet"]
_HALF_START, _HALF_END = INDEX["half_start_ns"], INDEX["half_end_ns"]
_O_ZEEK, _R_ZEEK, _O_BYTES, _R_BYTES = (INDEX[name] for name in ("o_zeek", "r_zeek", "o_bytes", "r_bytes"))
_O_PACKETS, _R_PACKETS = INDEX["o_packets"], INDEX["r_packets"]
_O_HI, _O_LO, _O_PORT = INDEX["o_hi"], INDEX["o_lo"], INDEX["o_port"]
_R_HI, _R_LO, _R_PORT = INDEX["r_hi"], INDEX["r_lo"], INDEX["r_port"]


def address_text(high: int, low: int, ipv6: bool) -> str:
    """An address as its family writes it, from the two halves of a row."""
    return _ipv6_text(host_key(high, low)) if ipv6 else _ipv4_text(low & 0xFFFFFFFF)


@lru_cache(maxsize=65536)
def _ipv6_text(packed: bytes) -> str:
    from ipaddress import IPv6Address  # its import costs every start

    return str(IPv6Address(packed))


@lru_cache(maxsize=64)  # several columns of a flow, and what is said of it, have the same two
def _ipv4_text(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 0xFF}.{number >> 8 & 0xFF}.{number & 0xFF}"


def host_text(host: bytes) -> str:
    """The same of an address as `facts.host_key` makes it."""
    high, low = host_halves(host)
    return address_text(high, low, ipv6=bool(high or low >> 32 != _IPV4_MAPPED))


def address_bytes(high: int, low: int, ipv6: bool) -> bytes:
    """The same as on the wire: 4 or 16 bytes."""
    if ipv6:
        return (high << 64 | low).to_bytes(16, "big")
    return (low & 0xFFFFFFFF).to_bytes(4, "big")


def community_id(a: tuple[bytes, int], b: tuple[bytes, int]) -> str:
    """Community ID v1 of a TCP flow between two (address, port) pairs, in either order."""
    low, high = (a, b) if a <= b else (b, a)
    return _community_text(b"".join((_COMMUNITY_SEED, low[0], high[0], _TCP, _PORTS(low[1], high[1]))))


def _community_text(hashed: bytes) -> str:
    return "1:" + b2a_base64(_sha1()(hashed, usedforsecurity=False).digest(), newline=False).decode("ascii")


@cache
def _sha1() -> Callable[..., Any]:
    # CPython's own, which hashlib uses where OpenSSL is not at hand: loading that takes 3 ms.
    try:
        from _sha1 import sha1  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha1
    return sha1


def originator(table: FlowTable, row: int) -> str:
    """The originator's address as text."""
    flat, base = table.flat, table.base[row]
    return address_text(flat[base + _O_HI], flat[base + _O_LO], bool(flat[base + _BITS] & f.IPV6))


def responder(table: FlowTable, row: int) -> str:
    """The responder's address as text."""
    flat, base = table.flat, table.base[row]
    return address_text(flat[base + _R_HI], flat[base + _R_LO], bool(flat[base + _BITS] & f.IPV6))


def _community(table: FlowTable, row: int) -> str:
    flat, base = table.flat, table.base[row]
    o_low, r_low = flat[base + _O_LO], flat[base + _R_LO]
    o_port, r_port = flat[base + _O_PORT], flat[base + _R_PORT]
    if flat[base + _BITS] & f.IPV6:
        return community_id(
            (address_bytes(flat[base + _O_HI], o_low, ipv6=True), o_port),
            (address_bytes(flat[base + _R_HI], r_low, ipv6=True), r_port),
        )
    one, other = (o_low & 0xFFFFFFFF, o_port), (r_low & 0xFFFFFFFF, r_port)
    low, high = (one, other) if one <= other else (other, one)
    return _community_text(_COMMUNITY_V4(_COMMUNITY_SEED, low[0], high[0], _IPPROTO_TCP << 8, low[1], high[1]))


def handshake(table: FlowTable, row: int) -> str:
    """The verdict on the handshake."""
    return verdict.handshake(table.flat[table.base[row] + _BITS])


def close(table: FlowTable, row: int) -> str:
    """The verdict on the close."""
    return verdict.close(table.bits(row), table.fact(row, "o_fins"), table.fact(row, "r_fins"))


def _synack_cause(table: FlowTable, row: int) -> str:
    cause = table.fact(row, "synack_cause")
    return next((word for bit, word in SYNACK_CAUSES if cause & bit), "")


def _half_closed_ns(table: FlowTable, row: int) -> int | None:
    flat, base = table.flat, table.base[row]
    start = flat[base + _HALF_START]
    if not start:
        return None
    return max((flat[base + _HALF_END] or table.end_ns) - start, 0)


def censored(table: FlowTable, row: int) -> str:
    """Which edge of the capture hides something: it was older, or it still waited or lived at the end."""
    start = bool(table.fact(row, "bits") & f.CENSORED_START)
    end = table.is_waiting(row) or close(table, row) == "open"
    return CENSORED[start + 2 * end]


def _directions(table: FlowTable, row: int) -> str:
    if not table.fact(row, "r_packets"):
        return "originator"
    return "both" if table.fact(row, "o_packets") else "responder"


def _conn_state(table: FlowTable, row: int) -> str:
    return zeek.conn_state(
        table.fact(row, "o_zeek"),
        table.fact(row, "r_zeek"),
        table.history(row),
        no_bytes=not (table.fact(row, "o_bytes") or table.fact(row, "r_bytes")),
    )


def _filter(table: FlowTable, row: int) -> str:
    flat, base = table.flat, table.base[row]
    ipv6 = bool(flat[base + _BITS] & f.IPV6)
    family = "ipv6" if ipv6 else "ip"
    return (
        f"{family}.addr == {address_text(flat[base + _O_HI], flat[base + _O_LO], ipv6)}"
        f" && {family}.addr == {address_text(flat[base + _R_HI], flat[base + _R_LO], ipv6)}"
        f" && tcp.port == {flat[base + _O_PORT]} && tcp.port == {flat[base + _R_PORT]}"
        f" && {_frames(table, row)} && !icmp && !icmpv6"
    )


def _frames(table: FlowTable, row: int) -> str:
    """Its packets by number: all from the first to the last, but where another connection of the 4-tuple overlaps."""
    flat, base = table.flat, table.base[row]
    first, last = flat[base + _FIRST_PACKET], flat[base + _LAST_PACKET]
    late, foreign = table.facts.late.get(first), table.facts.foreign.get(first)
    until = f"(frame.number <= {late[0]} || {_any_of(late[1:])})" if late else f"frame.number <= {last}"
    others = f" && !({_any_of(foreign[1:])})" if foreign else ""
    return f"frame.number >= {first} && {until}{others}"


def _any_of(numbers: Iterable[int]) -> str:
    """Sets are written differently from one version of Wireshark to the next, comparisons are not."""
    return " || ".join(f"frame.number == {number}" for number in numbers)


def _icmp_sender(table: FlowTable, row: int) -> str | None:
    sender = table.icmp_sender(row)
    if sender is None:
        return None
    return host_text(sender)


Get = Callable[[FlowTable, int], Any]


def _fact(name: str) -> Get:
    at = INDEX[name]
    return lambda table, row: table.flat[table.base[row] + at]


def _span(name: str) -> Get:
    """The fact, or None where there is no value."""
    at = INDEX[name]

    def get(table: FlowTable, row: int) -> int | None:
        value = table.flat[table.base[row] + at]
        return None if value == NO_VALUE else value

    return get


def _sum(name: str) -> Get:
    """The fact of both ends together."""
    o_at, r_at = INDEX[f"o_{name}"], INDEX[f"r_{name}"]

    def get(table: FlowTable, row: int) -> int:
        base = table.base[row]
        return table.flat[base + o_at] + table.flat[base + r_at]

    return get


def _bit(bit: int) -> Get:
    at = INDEX["bits"]
    return lambda table, row: bool(table.flat[table.base[row] + at] & bit)


def _word(words: tuple[str, ...], name: str) -> Get:
    at = INDEX[name]
    return lambda table, row: words[table.flat[table.base[row] + at]]


def _final(position: int, words: tuple[str, ...]) -> Get:
    return lambda table, row: words[table.final(row)[position]]


def _syn_option(end: str, bit: int) -> Get:
    options, flags = INDEX[end + "options"], INDEX[end + "syn_flags"]

    def get(table: FlowTable, row: int) -> bool | None:
        base = table.base[row]
        return bool(table.flat[base + options] & bit) if table.flat[base + flags] else None

    return get


def _syn_value(end: str, name: str, bit: int) -> Get:
    options, value = INDEX[end + "options"], INDEX[end + name]

    def get(table: FlowTable, row: int) -> int | None:
        base = table.base[row]
        return table.flat[base + value] if table.flat[base + options] & bit else None

    return get


def _ecn_originator(table: FlowTable, row: int) -> bool | None:
    flags = table.fact(row, "o_syn_flags")
    return (flags & (s.ECE | s.CWR)) == (s.ECE | s.CWR) if flags else None


def _ecn_responder(table: FlowTable, row: int) -> bool | None:
    flags = table.fact(row, "r_syn_flags")
    return (flags & (s.ECE | s.CWR)) == s.ECE if flags else None


class Column(NamedTuple):
    """One column: its name, its type, what it says, and its value for a row of a table.

    `kind`: "int", "text", "bool", "category" (text out of `words`), "time" (ns since the epoch) or "span" (ns).
    `nullable`: the value may be None. `fact`: the raw fact it equals, where it is one. `end`: the `o_` or `r_` whose
    address it is. What it follows from, so that flows alike in that are alike in it, where many are: `facts` (raw
    ones), `zeros` (raw ones of which only counts whether they are 0), `final` (`FlowTable.final`), `history` (Zeek's
    letters), `sender` (of an ICMP error).
    """

    name: str
    kind: str
    doc: str
    get: Get
    words: tuple[str, ...] = ()
    nullable: bool = False
    fact: str | None = None
    end: str = ""
    facts: tuple[str, ...] = ()
    zeros: tuple[str, ...] = ()
    final: bool = False
    history: bool = False
    sender: bool = False

    @property
    def follows(self) -> tuple[Hashable, ...]:
        """From what it follows."""
        return self.facts, self.zeros, self.final, self.history, self.sender

    @property
    def is_shared(self) -> bool:
        """Whether many flows may be alike in it; those with the same raw fact mostly are not."""
        return self.fact is None and any(self.follows)


#: what `close` follows from; an acknowledgment in doubt at the end of the capture does not count
_CLOSE: dict[str, Any] = {
    "facts": (
        *("bits", "o_fins", "r_fins"),
        *("o_doubt_until_ns", "r_doubt_until_ns", "o_doubt_repeats", "r_doubt_repeats"),
    )
}


def _raw(name: str, kind: str, fact: str, doc: str) -> Column:
    return Column(name, kind, doc, _fact(fact), fact=fact, facts=(fact,))


def _of(*facts: str) -> dict[str, Any]:
    """Keyword of a column that follows from these facts alone."""
    return {"facts": facts}


def _ends(name: str) -> dict[str, Any]:
    return _of(f"o_{name}", f"r_{name}")


def _both(name: str, fact: str, doc: str) -> Iterator[Column]:
    for who, end in (("originator", "o_"), ("responder", "r_")):
        yield _raw(f"{who}_{name}", "int", end + fact, f"{doc} the {who}")


def _options() -> Iterator[Column]:
    for who, end in (("originator", "o_"), ("responder", "r_")):
        yield Column(
            f"{who}_mss",
            "int",
            f"MSS in the {who}'s SYN",
            _syn_value(end, "mss", s.OPT_MSS),
            nullable=True,
            **_of(end + "options", end + "mss"),
        )
        yield Column(
            f"{who}_window_scale",
            "int",
            f"window scale in the {who}'s SYN (the shift)",
            _syn_value(end, "wscale", s.OPT_WSCALE),
            nullable=True,
            **_of(end + "options", end + "wscale"),
        )
        for name, bit in (
            ("sack_permitted", s.OPT_SACK_PERMITTED),
            ("timestamps", s.OPT_TIMESTAMPS),
            ("fast_open", s.OPT_FAST_OPEN),
            ("mptcp", s.OPT_MPTCP),
        ):
            yield Column(
                f"{who}_{name}",
                "bool",
                f"option in the {who}'s SYN: {name.replace('_', ' ')}",
                _syn_option(end, bit),
                nullable=True,
                **_of(end + "options", end + "syn_flags"),
            )
        yield Column(
            f"{who}_ecn",
            "bool",
            f"the {who}'s SYN sets up ECN (RFC 3168)",
            _ecn_originator if end == "o_" else _ecn_responder,
            nullable=True,
            **_of(end + "syn_flags"),
        )


COLUMNS: tuple[Column, ...] = (
    _raw("flow", "int", "number", "number in order of first packet, as Wireshark's tcp.stream counts"),
    Column("originator", "text", "address of the sender of the first SYN", originator, end="o_"),
    _raw("originator_port", "int", "o_port", "its port"),
    Column("responder", "text", "address of the other end", responder, end="r_"),
    _raw("responder_port", "int", "r_port", "its port"),
    Column(
        "direction_basis",
        "category",
        "what tells who the originator is",
        _word(DIRECTION_BASES, "direction_basis"),
        DIRECTION_BASES,
        **_of("direction_basis"),
    ),
    Column("community_id", "text", "Community ID v1: the join key to Zeek, Suricata and Arkime", _community),
    Column(
        "scope",
        "text",
        "the VLAN or tunnel that keeps this 4-tuple apart, with --by-vlan or --by-tunnel",
        lambda table, row: table.scopes[table.fact(row, "scope")] if table.fact(row, "scope") else "",
        **_of("scope"),
    ),
    _raw("first_ns", "time", "first_ns", "time of the first packet"),
    _raw("last_ns", "time", "last_ns", "time of the latest packet"),
    _raw("first_packet", "int", "first_packet", "its number, as Wireshark's frame.number"),
    _raw("last_packet", "int", "last_packet", "number of the last packet"),
    Column("handshake", "category", "what became of the handshake", handshake, verdict.HANDSHAKES, **_of("bits")),
    Column("close", "category", "what became of the connection after it", close, verdict.CLOSES, **_CLOSE),
    Column("closed_by", "category", "whose FIN came first", _word(WHO, "closed_by"), WHO, **_of("closed_by")),
    Column("reset_by", "category", "whose RST ended it", _word(WHO, "reset_by"), WHO, **_of("reset_by")),
    Column(
        "originator_state",
        "category",
        "state of the originator at the end of the capture",
        _final(0, states.STATES),
        states.STATES,
        final=True,
    ),
    Column(
        "responder_state",
        "category",
        "state of the responder at the end of the capture",
        _final(2, states.STATES),
        states.STATES,
        final=True,
    ),
    Column(
        "originator_basis",
        "category",
        "how the originator's state is known",
        _final(1, states.BASES),
        states.BASES,
        final=True,
    ),
    Column(
        "responder_basis",
        "category",
        "how the responder's state is known",
        _final(3, states.BASES),
        states.BASES,
        final=True,
    ),
    Column(
        "handshake_confirmed",
        "bool",
        "data, or an ACK of data, from the responder proves that it got the ACK",
        _bit(f.CONFIRMED),
        **_of("bits"),
    ),
    Column(
        "syn_count",
        "int",
        "SYN segments captured, copies included",
        _sum("syns"),
        **_ends("syns"),
    ),
    Column(
        "syn_retransmissions",
        "int",
        "SYN retransmissions, copies left out",
        _sum("syn_retransmissions"),
        **_ends("syn_retransmissions"),
    ),
    Column(
        "synack_count",
        "int",
        "SYN+ACK segments captured, copies included",
        _sum("synacks"),
        **_ends("synacks"),
    ),
    Column(
        "synack_retransmissions",
        "int",
        "SYN+ACK retransmissions, copies left out",
        _sum("synack_retransmissions"),
        **_ends("synack_retransmissions"),
    ),
    Column(
        "synack_cause",
        "category",
        "why the SYN+ACK was sent again",
        _synack_cause,
        ("", *(word for _, word in SYNACK_CAUSES)),
        **_of("synack_cause"),
    ),
    Column(
        "capture_duplicates",
        "int",
        "segments that the capture holds more than once",
        _sum("duplicates"),
        **_ends("duplicates"),
    ),
    Column(
        "half_closed_ns",
        "span",
        "how long one direction stayed open after the other's FIN was acknowledged",
        _half_closed_ns,
        nullable=True,
    ),
    _raw("half_closed_bytes", "int", "half_bytes", "payload that it still carried"),
    Column(
        "censored",
        "category",
        "which edge of the capture hides something",
        censored,
        CENSORED,
        final=True,
        **_CLOSE,
    ),
    Column("responder_rtt_ns", "span", "SYN to SYN+ACK", _span("responder_rtt_ns"), nullable=True),
    Column("originator_rtt_ns", "span", "SYN+ACK to ACK", _span("originator_rtt_ns"), nullable=True),
    *_both("packets", "packets", "segments captured of"),
    *_both("bytes", "bytes", "payload bytes captured of"),
    *_both("retransmissions", "retransmissions", "segments sent again (data, SYN, FIN), copies left out, by"),
    *_both("fins", "fins", "FIN segments of"),
    *_both("rsts", "rsts", "RST segments of"),
    Column(
        "rejected_rsts",
        "int",
        "RST segments that their receiver ignores (RFC 5961)",
        _sum("rejected_rsts"),
        **_ends("rejected_rsts"),
    ),
    Column(
        "directions_seen",
        "category",
        "whose segments were captured",
        _directions,
        WHO[1:],
        zeros=("o_packets", "r_packets"),
    ),
    Column(
        "midstream",
        "bool",
        "neither SYN nor SYN+ACK is in the capture",
        lambda table, row: not table.fact(row, "bits") & (f.SYN_SEEN | f.SYNACK_SEEN),
        **_of("bits"),
    ),
    Column(
        "missing_segments",
        "int",
        "runs of data that were sent and not captured",
        _sum("missing"),
        **_ends("missing"),
    ),
    Column(
        "reused", "bool", "an earlier connection of the same 4-tuple is in the capture", _bit(f.REUSED), **_of("bits")
    ),
    Column("replaced", "bool", "a new connection began on its ports while it lived", _bit(f.REPLACED), **_of("bits")),
    Column(
        "challenge_ack",
        "bool",
        "its SYN was first answered by an ACK of an older connection",
        _bit(f.CHALLENGED),
        **_of("bits"),
    ),
    Column(
        "simultaneous_open", "bool", "both ends sent a SYN (RFC 9293 3.5)", _bit(f.SIMULTANEOUS_OPEN), **_of("bits")
    ),
    Column("syn_data", "bool", "its SYN carried data (fast open, RFC 7413)", _bit(f.FAST_OPEN), **_of("bits")),
    Column("evicted", "bool", "left the tracker because a bound was reached", _bit(f.EVICTED), **_of("bits")),
    Column(
        "icmp_type",
        "int",
        "type of the ICMP error that quoted its SYN",
        lambda table, row: table.fact(row, "icmp") >> 8 if table.fact(row, "icmp") else None,
        nullable=True,
        **_of("icmp"),
    ),
    Column(
        "icmp_code",
        "int",
        "its code",
        lambda table, row: table.fact(row, "icmp") & 0xFF if table.fact(row, "icmp") else None,
        nullable=True,
        **_of("icmp"),
    ),
    Column("icmp_sender", "text", "who sent it", _icmp_sender, nullable=True, sender=True),
    *_options(),
    Column(
        "conn_state",
        "category",
        "as Zeek writes it in conn.log",
        _conn_state,
        ("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"),
        zeros=("o_bytes", "r_bytes"),
        history=True,
        **_of("o_zeek", "r_zeek", "bits"),
    ),
    Column("history", "text", "as Zeek writes it in conn.log", FlowTable.history, history=True, **_of("bits")),
    _raw("completeness", "int", "completeness", "as Wireshark 4.0 shows it as tcp.completeness"),
    Column("wireshark_filter", "text", "display filter that selects exactly its packets", _filter),
)

BY_NAME: dict[str, Column] = {column.name: column for column in COLUMNS}
NAMES: tuple[str, ...] = tuple(BY_NAME)
_GETTERS: dict[str, Get] = {column.name: column.get for column in COLUMNS}


def record(table: FlowTable, row: int, names: Iterable[str] = NAMES) -> dict[str, Any]:
    """One flow as a dict of plain values, in column order."""
    return {name: _GETTERS[name](table, row) for name in names}
