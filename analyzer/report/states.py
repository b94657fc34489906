"""The socket tables of hosts: a document for programs, and netstat's counts for people.

Owns the shape of both, and netstat's names for states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from analyzer.report import grid, words
from analyzer.sockets import Socket
from analyzer.tcp.states import STATES

#: where net-tools' netstat calls a state otherwise than RFC 9293
NETSTAT = {"SYN_RECEIVED": "SYN_RECV", "FIN_WAIT_1": "FIN_WAIT1", "FIN_WAIT_2": "FIN_WAIT2", "CLOSED": "CLOSE"}
#: the order of columns: what piles up in trouble stands together
_ORDER = tuple(NETSTAT.get(state, state) for state in STATES if state != "CLOSED")


def counts(sockets: Iterable[Socket]) -> dict[str, int]:
    """How many sockets are in each state that occurs, in the order of the RFC."""
    found = Counter(socket.state for socket in sockets)
    return {state: found[state] for state in STATES if state in found}


def by_host(sockets: Iterable[Socket]) -> dict[str, list[Socket]]:
    """The sockets of each host, the busiest host first."""
    hosts: dict[str, list[Socket]] = {}
    for socket in sockets:
        hosts.setdefault(socket.local, []).append(socket)
    return dict(sorted(hosts.items(), key=lambda item: (-len(item[1]), item[0])))


def document(sockets: Sequence[Socket], at_ns: int, host: str | None, *, listed: bool) -> dict[str, Any]:
    """`at_ns`, `host`, `counts` in RFC names; `hosts` where none was named; `sockets` where `listed`."""
    made: dict[str, Any] = {"at_ns": at_ns, "host": host, "counts": counts(sockets)}
    if host is None:
        made["hosts"] = [{"host": name, "counts": counts(own)} for name, own in by_host(sockets).items()]
    if listed:
        made["sockets"] = [socket._asdict() for socket in _sorted(sockets)]
    return made


def write_host(out: TextIO, sockets: Sequence[Socket]) -> None:
    """The counts of one host, a state a line, the most frequent first: what awk makes of netstat."""
    found = sorted(_netstat_counts(sockets).items(), key=lambda item: (-item[1], item[0]))
    for line in grid.lines(("", ""), [(state, str(count)) for state, count in found], right=(1,))[1:]:
        out.write(line + "\n")


def write_hosts(out: TextIO, sockets: Sequence[Socket]) -> None:
    """A row a host, the busiest first, and the total."""
    rows = [(name, _netstat_counts(own)) for name, own in by_host(sockets).items()]
    _write_rows(out, "host", [*rows, ("total", _netstat_counts(sockets))])


def write_instants(out: TextIO, instants: Iterable[tuple[int, Sequence[Socket]]]) -> None:
    """A row an instant."""
    _write_rows(out, "time (UTC)", [(words.moment(at_ns), _netstat_counts(sockets)) for at_ns, sockets in instants])


def write_sockets(out: TextIO, sockets: Sequence[Socket], at_ns: int) -> None:
    """The sockets as netstat lists them, and for how long each has been in its state."""
    rows = [
        (
            words.endpoint(socket.local, socket.local_port),
            words.endpoint(socket.peer, socket.peer_port) if socket.peer else "*",
            NETSTAT.get(socket.state, socket.state),
            words.span(max(at_ns - socket.since_ns, 0)),
            "" if socket.flow is None else str(socket.flow),
            socket.basis,
        )
        for socket in _sorted(sockets)
    ]
    headings = ("local", "foreign", "state", "for", "flow", "basis")
    for line in grid.lines(headings, rows, right=(3, 4)):
        out.write(line + "\n")


def _netstat_counts(sockets: Iterable[Socket]) -> dict[str, int]:
    return {NETSTAT.get(state, state): count for state, count in counts(sockets).items()}


def _sorted(sockets: Sequence[Socket]) -> list[Socket]:
    """Listeners first, then by local port, peer and its port."""
    return sorted(sockets, key=lambda s: (s.local, s.state != "LISTEN", s.local_port, s.peer, s.peer_port))


def _write_rows(out: TextIO, first: str, rows: Sequence[tuple[str, dict[str, int]]]) -> None:
    shown = [state for state in _ORDER if any(state in counts_ for _, counts_ in rows)]
    cells = [[name, *(str(counts_.get(state, 0)) for state in shown)] for name, counts_ in rows]
    for line in grid.lines([first, *shown], cells, right=range(1, len(shown) + 1)):
        out.write(line + "\n")
