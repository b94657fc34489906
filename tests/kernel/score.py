"""The kernel's socket tables against the analyzer's, scored as ../shared/checks/agree.py scores them.

Owns: reading NAME.truth.json, what counts, and whether the path explains a difference. Must not know: how cases are
made. Segments are read by dpkt, not by the code under test.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import dpkt
from lab import CLIENT_V4, CLIENT_V6
from truth import analysis

#: `ss` → RFC 9293; what is not here (LISTEN) is no connection
STATES = {
    "ESTAB": "ESTABLISHED",
    "SYN-SENT": "SYN_SENT",
    "SYN-RECV": "SYN_RECEIVED",
    "FIN-WAIT-1": "FIN_WAIT_1",
    "FIN-WAIT-2": "FIN_WAIT_2",
    "TIME-WAIT": "TIME_WAIT",
    "CLOSE-WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK",
    "CLOSING": "CLOSING",
}
QUIET_S = 0.05  # a snapshot so soon after a packet may fall on either side of it
WHOLE = ("client", "server", "client_any", "server_any")  # captures of a host's whole traffic
CLIENT = (CLIENT_V4, CLIENT_V6)
#: the kernel's state and ours where an ACK arrives that follows lost ones: `doubt` in docs/unknowable.md
DOUBTS = {
    ("ESTABLISHED", "SYN_RECEIVED"),
    ("FIN_WAIT_2", "FIN_WAIT_1"),
    ("TIME_WAIT", "CLOSING"),
    ("-", "LAST_ACK"),
}
LINKS = {
    dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
    dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
}

Ends = tuple[str, int, str, int]
End = tuple[str, int]


class Segment(NamedTuple):
    """What a segment is known by at both ends."""

    quoted: bool  # by an ICMP error
    sender: End
    seq: int
    ack: int
    flags: int
    length: int
    options: bytes


@dataclass(frozen=True)
class Lab:
    """What the laboratory left: captures and truth in `folder`, and why a case did not play ("" if it did)."""

    folder: Path
    failed: dict[str, str]


@dataclass(frozen=True)
class Difference:
    """A socket on which kernel and analyzer disagree; `-` where one of them has none."""

    vantage: str
    host: str
    label: str
    at_s: float
    ends: Ends
    kernel: str
    ours: str
    reason: str

    def __str__(self) -> str:
        return f"{self.vantage}: {self.host} '{self.label}' {self.ends}: kernel {self.kernel}, we {self.ours}"


@dataclass
class Score:
    """Sockets that either has, and the differences, of one host seen from one capture."""

    total: int = 0
    wrong: list[Difference] = field(default_factory=list)

    @property
    def share(self) -> float:
        return 1 - len(self.wrong) / self.total

    def unexplained(self) -> list[str]:
        return [str(one) for one in self.wrong if not one.reason]


def truth(folder: Path, case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{case}.truth.json").read_text())
    return found


def kind(vantage: str, host: str) -> str:
    """`own`: the host captured on; `far`: the other one; `partial`: not all of a host's traffic."""
    if vantage not in WHOLE:
        return "partial"
    return "own" if vantage.startswith(host) else "far"


def nanoseconds(when: float) -> int:
    """A moment of a truth file, which has microseconds, as the analyzer counts time."""
    return round(when * 1e6) * 1000


def is_quiet(shot: dict[str, Any], vantage: str) -> bool:
    quiet = shot["quiet"][vantage]
    since = quiet["s_since_last_packet"]
    return not quiet["packets_during_ss"] and since is not None and since >= QUIET_S


def scores(folder: Path, case: str, wanted: str) -> dict[tuple[str, str], Score]:
    """(vantage, host) → score, of all pairs of that kind whose host's state packets can show at all."""
    known = truth(folder, case)
    found: dict[tuple[str, str], Score] = defaultdict(Score)
    for capture in known["captures"]:
        vantage = capture["vantage"]
        for shot in known["snapshots"]:
            host = shot["host"]
            if kind(vantage, host) != wanted or not is_quiet(shot, vantage):
                continue
            if wanted != "partial" and host in (*known["raw_hosts"], *known["unknowable"]):
                continue
            _compare(folder, known, capture, shot, found[vantage, host])
    return {key: score for key, score in found.items() if score.total}


def _compare(folder: Path, known: dict[str, Any], capture: dict[str, Any], shot: dict[str, Any], score: Score) -> None:
    host, vantage, when = shot["host"], capture["vantage"], shot["t_epoch"]
    kernel = {
        (one["local"], one["lport"], one["peer"], one["pport"]): STATES[one["state"]]
        for one in shot["sockets"]
        if one["state"] in STATES
    }
    ours: dict[Ends, str] = {}
    for address in sorted({*known[f"{host}_addr"], *(ends[0] for ends in kernel)}):
        ours |= analysis.sockets(folder / capture["file"], nanoseconds(when), address)
    for ends in sorted(set(kernel) | set(ours)):
        score.total += 1
        theirs, mine = kernel.get(ends, "-"), ours.get(ends, "-")
        if theirs != mine:
            reason = _reason(folder, known, vantage, host, ends, when, theirs, mine)
            score.wrong.append(Difference(vantage, host, shot["label"], when, ends, theirs, mine, reason))


def _reason(
    folder: Path, known: dict[str, Any], vantage: str, host: str, ends: Ends, when: float, theirs: str, mine: str
) -> str:
    """The line of docs/unknowable.md that explains a difference, "" if none does."""
    for one in known["explained"]:
        applies = (one["host"], tuple(one["ends"])) == (host, ends) and one["vantage"] in ("", vantage)
        if applies and one["since"] <= when <= one["until"]:
            return str(one["reason"])
    if kind(vantage, host) == "far" and path_differs(folder, known["scenario"], ends, when):
        return "path"
    if kind(vantage, host) == "far" and (theirs, mine) in DOUBTS and path_lost(folder, known["scenario"], ends, when):
        return "doubt"
    if vantage.endswith(("_rx_only", "_tx_only")):
        return "direction"
    return ""


def path_differs(folder: Path, case: str, ends: Ends, when: float) -> bool:
    """Whether something that one host has said was still unheard by the other then: lost, on its way, or forged.

    A segment sent again and then received explains nothing any more. One that its sender never sent is no truth at
    any time: a forged one counts from the beginning.
    """
    client, server = (segments(_capture(folder, case, host)) for host in ("client", "server"))
    connection = frozenset((ends[:2], ends[2:]))
    at_client, at_server = client.get(connection, ()), server.get(connection, ())
    for sender in (ends[:2], ends[2:]):
        here, there = (at_client, at_server) if sender[0] in CLIENT else (at_server, at_client)
        if heard(here, sender, when) != heard(there, sender, when):
            return True
    forged = {what for _, what in at_server} - {what for _, what in at_client}
    return any(what.sender[0] in CLIENT for what in forged)


def path_lost(folder: Path, case: str, ends: Ends, when: float) -> bool:
    """Whether a segment from the other end was lost on its way to `ends[:2]` before, sent again or not."""
    sender, host = ends[2:], "client" if ends[0] in CLIENT else "server"
    there = segments(_capture(folder, case, "server" if host == "client" else "client"))
    here = segments(_capture(folder, case, host))
    connection = frozenset((ends[:2], ends[2:]))

    def known_by(found: Any) -> Counter[Segment]:
        return Counter(one for at, one in found.get(connection, ()) if at <= when and one.sender == sender)

    return bool(known_by(there) - known_by(here))


def heard(found: Iterable[tuple[float, Segment]], sender: End, when: float) -> tuple[object, ...]:
    """All that a sender had let a host know by then, however often: its bytes, FINs, RSTs, highest ACK, errors."""
    sent: set[int] = set()
    others: set[Segment] = set()
    highest: int | None = None
    for at, one in found:
        if at > when or one.sender != sender:
            continue
        if one.quoted or one.flags & dpkt.tcp.TH_RST:
            others.add(one._replace(options=b""))
            continue
        if one.flags & dpkt.tcp.TH_FIN:  # what it acknowledges tells CLOSING from LAST_ACK
            others.add(one._replace(options=b"", flags=dpkt.tcp.TH_FIN, length=0, seq=(one.seq + one.length) % 2**32))
        room = one.length + bool(one.flags & dpkt.tcp.TH_SYN) + bool(one.flags & dpkt.tcp.TH_FIN)
        sent |= {(one.seq + at_byte) % 2**32 for at_byte in range(room)}
        if one.flags & dpkt.tcp.TH_ACK and (highest is None or (one.ack - highest) % 2**32 < 2**31):
            highest = one.ack
    return sent, highest, others


def _capture(folder: Path, case: str, vantage: str) -> Path:
    """The case's capture there, in whichever format; a path where nothing is if it has none."""
    return next(folder.glob(f"{case}.{vantage}.pcap*"), folder / f"{case}.{vantage}.pcap")


@lru_cache(maxsize=256)
def segments(capture: Path) -> dict[frozenset[End], list[tuple[float, Segment]]]:
    """Connection → (when, segment) in order of capture; ICMP errors belong to what they quote."""
    found: dict[frozenset[End], list[tuple[float, Segment]]] = defaultdict(list)
    if not capture.exists():
        return found
    for when, packet in _packets(capture):
        inner = packet.data
        quoted = isinstance(inner, dpkt.icmp.ICMP | dpkt.icmp6.ICMP6)
        if quoted:
            packet = inner.data.data
            inner = packet.data
        if isinstance(inner, dpkt.tcp.TCP):
            source, target = (str(ip_address(packet.src)), inner.sport), (str(ip_address(packet.dst)), inner.dport)
            size, options = len(inner.data), bytes(inner.opts)
            what = Segment(quoted, source, inner.seq, inner.ack, inner.flags, size, options)
            found[frozenset((source, target))].append((when, what))
    return found


def _packets(capture: Path) -> Iterator[tuple[float, Any]]:
    with capture.open("rb") as file:
        reader = dpkt.pcap.UniversalReader(file)
        for when, data in reader:
            packet = LINKS[reader.datalink()](data).data
            if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
                yield float(when), packet
