"""Scenarios that read like a packet trace, and the runner that plays them to the tracker.

Owns the notation (below) and the way from text to a table of flows. Must not know what is right: that stands in the
scenarios, from RFCs, from FIELD's records of real kernels and from DESIGN.

    == name                              one scenario begins; more `what it shows` lines may follow, with #
    v6                                   over IPv6 (no IP identification)
    ports 40000 80                       ports of C and S, where they matter
    xfail why                            known to fail
    0.000 C > S: S 0                     | SYN_SENT -
    0.020 S > C: S. 0 ack 1              | ESTABLISHED SYN_RECEIVED
    0.040 C > S: P. 1:8(7) ack 1 id 7 tsval 9 win 0 badsum
    0.050 icmp 3/1 of C > S: 0           an ICMP error that quotes C's segment
    9.000                                | ESTABLISHED ESTABLISHED
    20.00 end                            the capture ends
    flow handshake=complete close=open   a flow's columns, in order of `flow`
    and censored=end                     … of the same flow

Flags as tcpdump writes them (`none`: none). Sequence numbers are relative to the first ISN of their end, as are
acknowledgments to the peer's; another ISN is simply a number far away. After `|`: the sockets of C and S at that time,
with the whole capture in hindsight; `-` no socket (closed, or only a listener), `*` anything. D is a second port of C's
host: `| D: SYN_SENT -`. IP identifications are 1, 2, 3 … and 0 for a SYN+ACK, as Linux has them.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from analyzer import segments
from analyzer.flows import columns
from analyzer.flows.facts import FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.segments import SegmentBatch
from analyzer.sockets import sockets_at
from analyzer.tcp.tracker import Tracker

SCENARIOS = Path(__file__).parent / "scenarios"
EPOCH_NS = 1_700_000_000_000_000_000

FLAGS = {
    "F": segments.FIN,
    "S": segments.SYN,
    "R": segments.RST,
    "P": segments.PSH,
    ".": segments.ACK,
    "U": segments.URG,
    "E": segments.ECE,
    "W": segments.CWR,
}
_LINE = re.compile(r"^(?P<time>\d+(?:\.\d+)?)\s*(?P<body>[^|]*?)\s*(?:\|\s*(?P<states>.*))?$")
_SEGMENT = re.compile(r"^(?P<source>\w) > (?P<target>\w): (?P<flags>[FSRP.UEW]+|none) (?P<rest>.*)$")
_RANGE = re.compile(r"^(?P<seq>-?\d+)(?::(?P<end>-?\d+)\((?P<size>\d+)\))?$")
_ICMP = re.compile(r"^icmp (?P<kind>\d+)/(?P<code>\d+) of (?P<source>\w) > (?P<target>\w): (?P<seq>-?\d+)$")
_PEERS = {"C": "S", "D": "S"}


@dataclass(frozen=True)
class Packet:
    """One segment, or (`icmp` = type << 8 | code) an ICMP error that quotes it; seq and ack relative to the ISNs."""

    at_ns: int
    source: str
    target: str
    flags: int = 0
    seq: int = 0
    ack: int = 0
    payload: int = 0
    icmp: int | None = None
    ip_id: int | None = None
    more: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """At a moment, the sockets of two ends as they must be."""

    at_ns: int
    ends: tuple[str, str]
    states: tuple[str, str]
    line: str


@dataclass
class Scenario:
    """One trace with what is right about it."""

    name: str
    packets: list[Packet] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    flows: list[dict[str, Any]] = field(default_factory=list)
    end_ns: int = 0
    ipv6: bool = False
    ports: tuple[int, int] | None = None
    xfail: str = ""


@dataclass(frozen=True)
class World:
    """Where a scenario is played: the ISNs of both ends, and which of them has the lower address and port."""

    name: str
    isns: tuple[int, int] = (1000, 5000)
    swapped: bool = False
    offset_ns: int = 0

    def isn(self, end: str) -> int:
        return self.isns[end == "S"]

    def address(self, end: str, ipv6: bool) -> str:
        host = ("client" if end != "S" else "server") if not self.swapped else ("server" if end != "S" else "client")
        return {
            ("client", False): "192.0.2.10",
            ("server", False): "198.51.100.20",
            ("client", True): "2001:db8:1::10",
            ("server", True): "2001:db8:2::20",
        }[host, ipv6]

    def port(self, end: str, ports: tuple[int, int] | None) -> int:
        client, server = ports or ((9502, 40000) if self.swapped else (40000, 9502))
        return {"C": client, "D": client + 1, "S": server}[end]


WORLDS = (
    World("plain"),
    World("wrapping", isns=(0xFFFF_FFFF, 0xFFFF_FFF8)),
    World("swapped", swapped=True),
    World("wrapping-swapped", isns=(0xFFFF_FFF8, 0xFFFF_FFFF), swapped=True),
    World("half-way", isns=(0x7FFF_FFFF, 0x8000_0000)),
)


def parse(text: str) -> list[Scenario]:
    """All scenarios of a text. Raises ValueError with the line that is not understood."""
    found: list[Scenario] = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        if line.startswith("== "):
            found.append(Scenario(line[3:].strip()))
            continue
        try:
            _read_line(found[-1], line)
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(f"{found[-1].name if found else '?'}: {raw!r}: {error}") from error
    return found


def _read_line(scenario: Scenario, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "v6":
        scenario.ipv6 = True
    elif word == "ports":
        client, server = rest.split()
        scenario.ports = int(client), int(server)
    elif word == "xfail":
        scenario.xfail = rest
    elif word == "flow":
        scenario.flows.append(dict(_column(pair) for pair in rest.split()))
    elif word == "and":
        scenario.flows[-1].update(_column(pair) for pair in rest.split())
    else:
        _read_moment(scenario, line)


def _column(pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    if name not in columns.BY_NAME:
        raise ValueError(f"no column {name}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _read_moment(scenario: Scenario, line: str) -> None:
    match = _LINE.match(line)
    if match is None:
        raise ValueError("not a line of a scenario")
    at_ns = EPOCH_NS + int(Decimal(match["time"]) * 1_000_000_000)
    scenario.end_ns = max(scenario.end_ns, at_ns)
    body = match["body"]
    if body and body != "end":
        scenario.packets.append(parse_packet(at_ns, body))
    if match["states"]:
        whose, _, states = match["states"].rpartition(":")
        first, second = states.split()
        scenario.checks.append(Check(at_ns, (whose.strip() or "C", "S"), (first, second), line))


def parse_packet(at_ns: int, body: str) -> Packet:
    """A packet from its words, without the time."""
    icmp = _ICMP.match(body)
    if icmp:
        what = int(icmp["kind"]) << 8 | int(icmp["code"])
        return Packet(at_ns, icmp["source"], icmp["target"], segments.SYN, int(icmp["seq"]), icmp=what)
    match = _SEGMENT.match(body)
    if match is None:
        raise ValueError("not a packet")
    flags = 0 if match["flags"] == "none" else sum(FLAGS[letter] for letter in match["flags"])
    where, *words = match["rest"].split()
    span = _RANGE.match(where)
    if span is None:
        raise ValueError(f"not a sequence number: {where}")
    seq, size = int(span["seq"]), int(span["size"] or 0)
    if span["end"] and int(span["end"]) - seq != size:
        raise ValueError("the length does not fit")
    more: dict[str, int] = {}
    ack, ip_id, mark, options = 0, None, 0, 0
    while words:
        word = words.pop(0)
        if word == "badsum":
            mark |= segments.BAD_CHECKSUM
        elif word == "tfo":
            options |= segments.OPT_FAST_OPEN
        elif word == "ack":
            ack = int(words.pop(0))
        elif word == "id":
            ip_id = int(words.pop(0))
        elif word == "tsval":
            more["tsval"] = int(words.pop(0))
            mark |= segments.HAS_TIMESTAMP
        elif word == "win":
            more["window"] = int(words.pop(0))
        else:
            raise ValueError(f"not understood: {word}")
    if bool(flags & segments.ACK) != (" ack " in f" {match['rest']} "):
        raise ValueError("ack and the ACK flag go together")
    return Packet(
        at_ns,
        match["source"],
        match["target"],
        flags,
        seq,
        ack,
        size,
        ip_id=ip_id,
        more={**more, "mark": mark, "options": options},
    )


def halves(address: str) -> tuple[int, int]:
    """The two halves of an address as `SegmentBatch` stores them."""
    parsed = ipaddress.ip_address(address)
    number = int(parsed) if parsed.version == 6 else 0xFFFF << 32 | int(parsed)
    return number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF


def rows(packets: Iterable[Packet], world: World, *, ipv6: bool, ports: tuple[int, int] | None) -> list[dict[str, int]]:
    """The rows that a decoder would have made of the packets."""
    made = []
    for number, packet in enumerate(packets, 1):
        (src_hi, src_lo), (dst_hi, dst_lo) = (
            halves(world.address(end, ipv6)) for end in (packet.source, packet.target)
        )
        synack = packet.flags & (segments.SYN | segments.ACK) == segments.SYN | segments.ACK
        ip_id = packet.ip_id if packet.ip_id is not None else 0 if synack else number
        ack = packet.ack + world.isn(packet.target) if packet.flags & segments.ACK else 0
        row = {
            "kind": segments.SEGMENT,
            "packet": number,
            "ts_ns": packet.at_ns + world.offset_ns,
            "src_hi": src_hi,
            "src_lo": src_lo,
            "dst_hi": dst_hi,
            "dst_lo": dst_lo,
            "sport": world.port(packet.source, ports),
            "dport": world.port(packet.target, ports),
            "seq": (packet.seq + world.isn(packet.source)) % 2**32,
            "ack": ack % 2**32,
            "flags": packet.flags,
            "window": 64240,
            "payload": packet.payload,
            "ttl": 64,
            "ip_id": 0 if ipv6 else ip_id,
            **packet.more,
        }
        row["mark"] = row.get("mark", 0) | (segments.IPV6 if ipv6 else segments.HAS_IP_ID)
        if packet.icmp is not None:
            row |= {"kind": segments.ICMP_ERROR, "options": packet.icmp, "ack": 0, "window": 0}
        made.append(row)
    return made


def track(made: list[dict[str, int]], *, batches_of: int | None = None) -> FlowFacts:
    """Feed rows to a tracker, all at once or so many at a time."""
    tracker = Tracker(keep_transitions=True)
    size = batches_of or len(made)
    facts = FlowFacts()
    for start in range(0, len(made), size):
        batch = SegmentBatch(size)
        for row in made[start : start + size]:
            index = batch.append(**row)
            if row["kind"] == segments.ICMP_ERROR:
                batch.icmp_sender[index] = ipaddress.IPv6Address("::ffff:203.0.113.1").packed
        tracker.feed(batch)
        facts.extend(tracker.take())
    facts.extend(tracker.finish())
    return facts


def play(scenario: Scenario, world: World) -> FlowTable:
    """The table of flows that the scenario gives in that world."""
    facts = track(rows(scenario.packets, world, ipv6=scenario.ipv6, ports=scenario.ports))
    return FlowTable(facts, scenario.end_ns + world.offset_ns)


def states_at(table: FlowTable, scenario: Scenario, world: World, check: Check) -> tuple[str, str]:
    """The sockets of the two ends of `check`, `-` where there is none."""
    ends = [(world.address(end, scenario.ipv6), world.port(end, scenario.ports)) for end in check.ends]
    found = {
        (one.local, one.local_port): one.state
        for one in sockets_at(table, check.at_ns + world.offset_ns)
        if one.flow is not None and {(one.local, one.local_port), (one.peer, one.peer_port)} == set(ends)
    }
    return found.get(ends[0], "-"), found.get(ends[1], "-")


def agrees(wanted: tuple[str, str], got: tuple[str, str]) -> bool:
    """Whether the states are the wanted ones; `*` is content with anything."""
    return all(want in ("*", have) for want, have in zip(wanted, got, strict=True))


def records(table: FlowTable) -> list[dict[str, Any]]:
    """Every flow's columns."""
    return [columns.record(table, row) for row in range(len(table))]


def load(path: Path) -> list[Scenario]:
    """The scenarios of one file."""
    return parse(path.read_text(encoding="utf-8"))
