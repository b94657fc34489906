"""The socket tables of hosts: documents and CSV for programs, netstat's counts and a chart for people.

Owns their shapes, netstat's names for states, and what a pile in each state means.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from analyzer.report import grid, words
from analyzer.sockets import Counts, Socket
from analyzer.tcp.states import STATES

#: where net-tools' netstat calls a state otherwise than RFC 9293
NETSTAT = {"SYN_RECEIVED": "SYN_RECV", "FIN_WAIT_1": "FIN_WAIT1", "FIN_WAIT_2": "FIN_WAIT2", "CLOSED": "CLOSE"}
#: the order of columns: what piles up in trouble stands together
_ORDER = tuple(NETSTAT.get(state, state) for state in STATES if state != "CLOSED")


def document(sockets: Sequence[Socket], at_ns: int, host: str | None) -> dict[str, Any]:
    """`at_ns`, `host`, `counts` in RFC names; `hosts` where none was named; `sockets`."""
    made = instant(counts_of(sockets, at_ns), host)
    made["sockets"] = [socket._asdict() for socket in _sorted(sockets)]
    return made


def counts_of(sockets: Iterable[Socket], at_ns: int) -> Counts:
    """How many sockets of each host stand in each state."""
    return Counts(at_ns, dict(Counter((socket.local, socket.state) for socket in sockets)))


def write_host(out: TextIO, counted: Counts) -> None:
    """The counts of one host, a state a line, the most frequent first: what awk makes of netstat."""
    found = sorted(_netstat(counted.total).items(), key=lambda item: (-item[1], item[0]))
    for line in grid.lines(("", ""), [(state, str(count)) for state, count in found], right=(1,))[1:]:
        out.write(line + "\n")


def write_hosts(out: TextIO, counted: Counts) -> None:
    """A row a host, the busiest first, and the total."""
    rows = [(name, _netstat(own)) for name, own in _by_host(counted)]
    _write_rows(out, "host", [*rows, ("total", _netstat(counted.total))])


def _by_host(counted: Counts) -> list[tuple[str, dict[str, int]]]:
    """The counts of each host, the busiest host first."""
    hosts: dict[str, dict[str, int]] = {}
    for (name, state), count in counted.by_host.items():
        hosts.setdefault(name, {})[state] = count
    return sorted(hosts.items(), key=lambda item: (-sum(item[1].values()), item[0]))


def instant(counted: Counts, host: str | None) -> dict[str, Any]:
    """`at_ns`, `host` and `counts` in RFC names, and `hosts` where none was named."""
    made: dict[str, Any] = {"at_ns": counted.at_ns, "host": host, "counts": _in_order(counted.total)}
    if host is None:
        made["hosts"] = [{"host": name, "counts": _in_order(found)} for name, found in _by_host(counted)]
    return made


def write_instants(out: TextIO, instants: Sequence[Counts]) -> None:
    """A row an instant."""
    _write_rows(out, "time (UTC)", [(words.moment(one.at_ns), _netstat(one.total)) for one in instants])


def write_instants_csv(out: TextIO, instants: Iterable[Counts]) -> None:
    """The same as CSV: the instant in nanoseconds, then one column a state, in the RFC's names."""
    writer = csv.writer(out)
    shown = [state for state in STATES if state != "CLOSED"]
    writer.writerow(("at_ns", *shown))
    for one in instants:
        total = one.total
        writer.writerow((one.at_ns, *(total.get(state, 0) for state in shown)))


def write_counts_csv(out: TextIO, counted: Counts) -> None:
    """One instant as CSV: a row a host and state."""
    writer = csv.writer(out)
    writer.writerow(("at_ns", "host", "state", "count"))
    for name, own in _by_host(counted):
        writer.writerows((counted.at_ns, name, state, count) for state, count in _in_order(own).items())


def write_sockets_csv(out: TextIO, sockets: Sequence[Socket], at_ns: int) -> None:
    """The sockets of one instant as CSV."""
    writer = csv.writer(out)
    writer.writerow(("at_ns", *Socket._fields))
    writer.writerows((at_ns, *socket) for socket in _sorted(sockets))


def write_chart(out: TextIO, instants: Sequence[Counts], width: int) -> None:
    """The course of every state as a line of bars, its highest count and when that was; for a terminal."""
    totals = [_netstat(one.total) for one in instants]
    shown = [state for state in _ORDER if any(state in total for total in totals)]
    if not shown or len(instants) < LEAST_BARS:
        return
    label = max(map(len, shown))
    peak_width = max(len(f"{total.get(state, 0):,}") for total in totals for state in shown)
    room = max(width - label - peak_width - len("  peak  at 00:00:00") - 2, LEAST_BARS)
    for state in shown:
        course = [total.get(state, 0) for total in totals]
        peak = max(course)
        when = words.clock(instants[course.index(peak)].at_ns).partition(".")[0]
        out.write(f"{state:<{label}}  {_bars(course, room)}  peak {peak:>{peak_width},} at {when}\n")


def _bars(course: Sequence[int], room: int) -> str:
    """`course` in at most `room` characters: where several values share one, the highest of them."""
    size = -(-len(course) // room)
    pooled = [max(course[at : at + size]) for at in range(0, len(course), size)]
    most = max(pooled)
    # The lowest bar is for what is there at all, a blank for nothing.
    return "".join(" " if not value else _BARS[(value * len(_BARS) - 1) // most] for value in pooled)


_BARS = "▁▂▃▄▅▆▇█"
#: fewer instants make no course
LEAST_BARS = 3

#: from how many sockets on a state is a pile: fewer stand so in passing on any busy host
PILE = 10
#: what a pile in a state means on the host that has it, in a line
MEANINGS = {
    "SYN_SENT": "connects that nobody answers: target down, filtered, or dropping SYNs",
    "SYN_RECEIVED": "handshakes not finished: a flood, answers that get lost, or an accept queue that is full",
    "FIN_WAIT_1": "closed here, and the FIN not acknowledged: peers vanished, or hold a zero window",
    "FIN_WAIT_2": "closed here, the peers have not: orphans end after tcp_fin_timeout, half-closed sockets never",
    "CLOSE_WAIT": "closed by the peers, not by the application here: it leaks sockets, and no sysctl helps",
    "CLOSING": "both ends closed at once, and the ACK of the FIN does not come",
    "LAST_ACK": "closed by both, and the last ACK does not come: peers vanished, or their ACKs get lost",
    "TIME_WAIT": "closed first here, gone after 60 s: harmless unless a client runs out of ports",
}
LISTEN_MEANS = "LISTEN is inferred from answered SYNs: ports that nobody asked in this capture are not in it"


def meanings(found: Mapping[str, int]) -> list[str]:
    """A sentence for every state that piles up, and how LISTEN is known; `found` by RFC names."""
    said = [
        f"{count:,} {NETSTAT.get(state, state)}: {MEANINGS[state]}"
        for state, count in _in_order(found).items()
        if state in MEANINGS and count >= PILE
    ]
    return [*said, LISTEN_MEANS] if found.get("LISTEN") else said


def write_sockets(out: TextIO, sockets: Sequence[Socket], at_ns: int) -> None:
    """The sockets as netstat lists them, for how long each has been in its state, and why it may be another."""
    unsure = any(socket.unsure for socket in sockets)
    rows = [
        (
            words.endpoint(socket.local, socket.local_port),
            words.endpoint(socket.peer, socket.peer_port) if socket.peer else "*",
            NETSTAT.get(socket.state, socket.state),
            words.span(max(at_ns - socket.since_ns, 0)),
            "" if socket.flow is None else str(socket.flow),
            socket.basis,
            *([socket.unsure] if unsure else ()),
        )
        for socket in _sorted(sockets)
    ]
    headings = ("local", "foreign", "state", "for", "flow", "basis", *(["unsure"] if unsure else ()))
    for line in grid.lines(headings, rows, right=(3, 4)):
        out.write(line + "\n")


def _netstat(found: Mapping[str, int]) -> dict[str, int]:
    return {NETSTAT.get(state, state): count for state, count in _in_order(found).items()}


def _in_order(found: Mapping[str, int]) -> dict[str, int]:
    """In the order of the RFC."""
    return {state: found[state] for state in STATES if state in found}


def _sorted(sockets: Sequence[Socket]) -> list[Socket]:
    """Listeners first, then by local port, peer and its port."""
    return sorted(sockets, key=lambda s: (s.local, s.state != "LISTEN", s.local_port, s.peer, s.peer_port))


def _write_rows(out: TextIO, first: str, rows: Sequence[tuple[str, dict[str, int]]]) -> None:
    shown = [state for state in _ORDER if any(state in counts_ for _, counts_ in rows)]
    cells = [[name, *(str(counts_.get(state, 0)) for state in shown)] for name, counts_ in rows]
    for line in grid.lines([first, *shown], cells, right=range(1, len(shown) + 1)):
        out.write(line + "\n")
