"""The kernel's socket tables against the analyzer's, scored as ../shared/checks/agree.py scores them.

Owns: reading NAME.truth.json, what counts, and whether the path explains a difference. Must not know: how cases are
made. Segments are read by dpkt, not by the code under test.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from math import inf
from pathlib import Path
from typing import Any

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
QUIET_S = 0.05  # a snapshot with a packet nearer than this may fall on either side of it
WHOLE = ("client", "server", "client_any", "server_any")  # captures of a host's whole traffic
CLIENT = (CLIENT_V4, CLIENT_V6)
LINKS = {
    dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
    dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
}

Ends = tuple[str, int, str, int]


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


def is_quiet(shot: dict[str, Any], vantage: str) -> bool:
    quiet = shot["quiet"][vantage]
    since, until = quiet["s_since_last_packet"], quiet["s_to_next_packet"]
    return (
        not quiet["packets_during_ss"]
        and since is not None
        and since >= QUIET_S
        and (until is None or until >= QUIET_S)
    )


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
    for address in known[f"{host}_addr"]:
        ours |= analysis.sockets(folder / capture["file"], round(when * 1e6) * 1000, address)
    for ends in sorted(set(kernel) | set(ours)):
        score.total += 1
        theirs, mine = kernel.get(ends, "-"), ours.get(ends, "-")
        if theirs != mine:
            reason = _reason(folder, known, vantage, host, ends, when)
            score.wrong.append(Difference(vantage, host, shot["label"], when, ends, theirs, mine, reason))


def _reason(folder: Path, known: dict[str, Any], vantage: str, host: str, ends: Ends, when: float) -> str:
    """The line of docs/unknowable.md that explains a difference, "" if none does."""
    for one in known["explained"]:
        applies = (one["host"], tuple(one["ends"])) == (host, ends) and one["vantage"] in ("", vantage)
        if applies and one["since"] <= when <= one["until"]:
            return str(one["reason"])
    if kind(vantage, host) == "far" and path_differs(folder, known["scenario"], ends, when):
        return "path"
    if vantage in ("server_rx_only", "server_tx_only"):
        return "direction"
    return ""


def path_differs(folder: Path, case: str, ends: Ends, when: float) -> bool:
    """Whether the two hosts had seen different segments of a connection by then: lost, on their way, or forged.

    A segment that its sender never sent is no truth at any time: a forged one counts from the beginning.
    """
    client, server = (segments(folder / f"{case}.{vantage}.pcap") for vantage in ("client", "server"))
    connection = frozenset((ends[:2], ends[2:]))
    if _until(client, connection, when) != _until(server, connection, when):
        return True
    received = _until(server, connection, inf) - _until(client, connection, inf)
    return any(sender in CLIENT for _, (sender, _), *_ in received)


def _until(found: dict[Any, list[tuple[float, Any]]], connection: Any, when: float) -> Counter[Any]:
    return Counter(identity for at, identity in found.get(connection, ()) if at <= when)


@lru_cache(maxsize=256)
def segments(capture: Path) -> dict[Any, list[tuple[float, Any]]]:
    """Connection → (when, what a segment is known by at both ends); ICMP errors belong to what they quote."""
    found: dict[Any, list[tuple[float, Any]]] = defaultdict(list)
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
            what = (quoted, source, inner.seq, inner.ack, inner.flags, len(inner.data), bytes(inner.opts))
            found[frozenset((source, target))].append((when, what))
    return found


def _packets(capture: Path) -> Iterator[tuple[float, Any]]:
    with capture.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        for when, data in reader:
            packet = LINKS[reader.datalink()](data).data
            if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
                yield float(when), packet
