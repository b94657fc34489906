"""A host's own socket table beside the capture's: what `ss -tan` or `netstat -na` printed, and where the two differ.

Owns the reading of both formats and the comparison. Needs the sockets of one host at one moment; knows no capture.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analyzer.errors import UsageError
from analyzer.sockets import Socket

#: ss (iproute2) and netstat (net-tools, BSD) → RFC 9293
STATES = {
    "ESTAB": "ESTABLISHED",
    "ESTABLISHED": "ESTABLISHED",
    "SYN-SENT": "SYN_SENT",
    "SYN_SENT": "SYN_SENT",
    "SYN-RECV": "SYN_RECEIVED",
    "SYN_RECV": "SYN_RECEIVED",
    "SYN_RCVD": "SYN_RECEIVED",
    "SYN_RECEIVED": "SYN_RECEIVED",
    "FIN-WAIT-1": "FIN_WAIT_1",
    "FIN_WAIT1": "FIN_WAIT_1",
    "FIN_WAIT_1": "FIN_WAIT_1",
    "FIN-WAIT-2": "FIN_WAIT_2",
    "FIN_WAIT2": "FIN_WAIT_2",
    "FIN_WAIT_2": "FIN_WAIT_2",
    "TIME-WAIT": "TIME_WAIT",
    "TIME_WAIT": "TIME_WAIT",
    "CLOSE-WAIT": "CLOSE_WAIT",
    "CLOSE_WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK",
    "LAST_ACK": "LAST_ACK",
    "CLOSING": "CLOSING",
    "LISTEN": "LISTEN",
    "LISTENING": "LISTEN",
    "UNCONN": "CLOSED",
    "CLOSE": "CLOSED",
    "CLOSED": "CLOSED",
}
#: a file larger than this is no table of a host: a million sockets take 100 MB
MAX_BYTES = 1 << 28


class Entry(NamedTuple):
    """One line of a host's table; a listener has no peer ("" and 0)."""

    state: str
    local: str
    local_port: int
    peer: str
    peer_port: int


class Table(NamedTuple):
    """The TCP sockets of a file, and how many lines of sockets have addresses that cannot be read."""

    entries: list[Entry]
    unread: int


class Difference(NamedTuple):
    """One socket on which the two differ; a state is "" where that side has no such socket."""

    local: str
    local_port: int
    peer: str
    peer_port: int
    capture: str
    host: str
    flow: int | None
    means: str


class Comparison(NamedTuple):
    """How many sockets are the same on both sides, and those that are not."""

    same: int
    differences: list[Difference]


def read_table(path: str) -> Table:
    """The TCP sockets in a file of `ss` or `netstat` output. Raises UsageError where there is none."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path}: too large for a table of sockets")
    lines = raw.decode("utf-8", "replace").splitlines()
    entries = [entry for line in lines if (entry := parse_line(line))]
    if not entries:
        raise UsageError(f"{path}: no line of it is a TCP socket as `ss -tan` or `netstat -na` prints them")
    return Table(entries, sum(_is_cut(line.split()) for line in lines))


def _is_cut(words: Sequence[str]) -> bool:
    """Whether it is a socket of netstat's (not one that is CLOSED) without two addresses that can be read."""
    if not words or not words[0].lower().startswith("tcp") or STATES.get(words[-1], "CLOSED") == "CLOSED":
        return False
    return sum(_endpoint(word) is not None for word in words) < 2


def parse_line(line: str) -> Entry | None:
    """One line of either tool, or None: headings, other protocols, anything else."""
    words = line.split()
    if not words or words[0].lower().startswith(("udp", "unix", "raw", "u_", "nl", "icmp", "sctp", "p_")):
        return None
    state = next((STATES[word] for word in words if word in STATES), None)
    ends = [end for word in words if (end := _endpoint(word)) is not None]
    if state is None or state == "CLOSED" or len(ends) < 2:
        return None
    (local, local_port), (peer, peer_port) = ends[:2]
    return Entry(state, local, local_port, *(("", 0) if state == "LISTEN" else (peer, peer_port)))


def _endpoint(word: str) -> tuple[str, int] | None:
    """An address and port: 1.2.3.4:80, [::1]:80, ::1:80, 1.2.3.4%eth0:80, *:*; BSD's 1.2.3.4.80, ::1.80, *.*."""
    parts = word.rpartition(":"), word.rpartition(".")
    split = next(((head, tail) for head, mark, tail in parts if mark and _is_port(tail)), None)
    if split is None:
        return None
    head, tail = split
    port = 0 if tail == "*" else int(tail)
    text = head.strip("[]").partition("%")[0]
    if text in ("*", ""):
        return "", port
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), port


def _is_port(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535)


def host_of(entries: Iterable[Entry], sockets: Iterable[Socket]) -> str | None:
    """Whose table it is: the local address that occurs most often and is a host of the capture."""
    known = {socket.local for socket in sockets}
    found = Counter(entry.local for entry in entries if entry.peer and entry.local in known)
    return found.most_common(1)[0][0] if found else None


def compare(ours: Sequence[Socket], theirs: Sequence[Entry], host: str) -> Comparison:
    """The two tables of `host`, socket by socket; wildcard listeners (0.0.0.0, ::, *) stand for the host's address."""
    wildcards = ("", "0.0.0.0", "::")
    left = {(s.local, s.local_port, s.peer, s.peer_port): s for s in ours}
    right = {
        (host if entry.state == "LISTEN" and entry.local in wildcards else entry.local, *entry[2:]): entry.state
        for entry in theirs
        if entry.local == host or (entry.state == "LISTEN" and entry.local in wildcards)
    }
    same, differences = 0, []
    for key in sorted(left.keys() | right.keys()):
        socket, state = left.get(key), right.get(key, "")
        seen = socket.state if socket is not None else ""
        if seen == state:
            same += 1
            continue
        if state == "LISTEN" and not seen:
            continue  # nobody asked that port in the capture: it says nothing
        flow = socket.flow if socket is not None else None
        differences.append(Difference(*key, seen, state, flow, meaning(seen, state)))
    return Comparison(same, differences)


def meaning(capture: str, host: str) -> str:
    """What a difference says."""
    if not capture:
        return _WITHOUT_PACKETS.get(host, "a socket without packets: idle while it was captured, or on another path")
    if not host:
        return _WITHOUT_SOCKET.get(capture, "packets without a socket: it ended silently (timer, crash, kill)")
    return _BETWEEN.get(
        (capture, host), "the states differ: a segment lost between capture point and host, or another moment"
    )


_WITHOUT_PACKETS = {
    "ESTABLISHED": "a socket without packets: idle meanwhile, older than the capture, or its packets go elsewhere;"
    " if the peer is gone it is a false ESTABLISHED",
    "CLOSE_WAIT": "a socket without packets: it was closed by the peer before the capture began, and leaked",
    "TIME_WAIT": "a socket without packets: closed before the capture began",
    "SYN_SENT": "a socket without packets: its SYN leaves by another interface, or is dropped before the capture point",
}
_WITHOUT_SOCKET = {
    "SYN_RECEIVED": "packets without a socket: a SYN cookie, or its listener was closed",
    "FIN_WAIT_2": "packets without a socket: an orphan that tcp_fin_timeout ended",
    "TIME_WAIT": "packets without a socket: tcp_max_tw_buckets was reached, or its port was used again",
    "ESTABLISHED": "packets without a socket: it died silently (retries given up, TCP_USER_TIMEOUT, restart), or a"
    " SYN cookie that met a full accept queue",
    "LISTEN": "the capture saw it answer; it was closed since",
}
_BETWEEN = {
    ("ESTABLISHED", "SYN_RECEIVED"): "the host has not taken the third ACK: lost behind the capture point, deferred"
    " accept, or a full accept queue",
    ("ESTABLISHED", "FIN_WAIT_1"): "the application has closed, and the FIN waits behind a zero window",
    ("CLOSE_WAIT", "ESTABLISHED"): "the FIN was captured and never arrived: lost behind the capture point",
    ("CLOSE_WAIT", "LAST_ACK"): "the application has closed, and the FIN waits behind a zero window",
}
