"""This host's own sockets, as its kernel has them: whose they are, and whether the tracker agrees.

Owns the questions to the kernel (psutil) and the comparison. A difference counts when it outlasts two looks, and no
packet of the connection is younger than that: what is on its way is no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.flows import facts as f
from analyzer.flows.columns import address_text, record
from analyzer.flows.facts import INDEX
from analyzer.live import moment
from analyzer.live.moment import Taken
from analyzer.live.tally import matrix
from analyzer.report import words
from analyzer.tcp import states
from analyzer.tcp.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzer.flows.table import FlowTable

#: (local address, port, peer address, port)
Ends = tuple[str, int, str, int]
#: whose socket of this host that is
Owners = Mapping[Ends, str]
ENDS_OF_FLOW = ("originator", "originator_port", "responder", "responder_port")

MOST_COMPARED = 20_000  # connections of this host that are compared: a flood would take the interpreter for itself
SETTLED_NS = 300_000_000  # a packet younger than this may still be on its way to one of the two
NO_SOCKET = "no socket"
MOST_NAMED = 5  # processes beside one finding
_IPV4 = 0xFFFF
_WILDCARDS = ("0.0.0.0", "::")

#: psutil's names → RFC 9293's
STATES = {
    "ESTABLISHED": "ESTABLISHED",
    "SYN_SENT": "SYN_SENT",
    "SYN_RECV": "SYN_RECEIVED",
    "FIN_WAIT1": "FIN_WAIT_1",
    "FIN_WAIT2": "FIN_WAIT_2",
    "TIME_WAIT": "TIME_WAIT",
    "CLOSE": "CLOSED",
    "CLOSE_WAIT": "CLOSE_WAIT",
    "LAST_ACK": "LAST_ACK",
    "CLOSING": "CLOSING",
}


class Socket(NamedTuple):
    """One of this host's sockets: its state, and its process as name[pid], "" where this user may not see it."""

    state: str
    process: str


class Difference(NamedTuple):
    """A connection on which tracker and kernel do not agree."""

    ends: Ends
    tracked: str
    kernel: str
    process: str

    def text(self) -> str:
        local, peer = words.endpoint(*self.ends[:2]), words.endpoint(*self.ends[2:])
        owner = f" ({self.process})" if self.process else ""
        return f"{local} to {peer}{owner} is {self.kernel}, the packets say {self.tracked}"


class OwnSockets:
    """Asked at every look: `owners` names processes; with `check`, `differences` says where states differ.

    A listener's own socket is among the `owners` with no peer ("", 0), one bound to all addresses with each of them.
    """

    def __init__(self, hosts: Iterable[tuple[int, int]], *, check: bool, timers: Timers | None = None) -> None:
        self.owners: dict[Ends, str] = {}
        self.differences: list[Difference] = []
        self.compared = 0
        self.unseen = 0  # sockets of the kernel of which no packet has been seen
        self._hosts = frozenset(hosts)
        self._addresses = tuple(address_text(high, low, high != 0 or low >> 32 != _IPV4) for high, low in self._hosts)
        self._check = check
        self._timers = timers or Timers()
        self._suspects: dict[Ends, tuple[str, str]] = {}
        self._told: set[tuple[Ends, str, str]] = set()
        self._names: dict[int, str] = {}

    def look(self, given: Taken) -> list[dict[str, Any]]:
        """Ask the kernel, and compare with what `given` holds; new differences as events."""
        kernel, listening = self._sockets()
        self.owners = {ends: one.process for ends, one in kernel.items() if one.process} | listening
        if not self._check:
            return []
        tracked = self._tracked(given)
        if tracked is None:
            self.differences = []
            return []
        suspects: dict[Ends, tuple[str, str]] = {}
        self.compared = self.unseen = 0
        for ends in kernel.keys() | tracked.keys():
            theirs = kernel[ends].state if ends in kernel else NO_SOCKET
            if ends not in tracked:
                self.unseen += 1
                continue
            ours, last_ns = tracked[ends]
            self.compared += 1
            if ours != theirs and given.result.end_ns - last_ns > SETTLED_NS:
                suspects[ends] = (ours, theirs)
        lasting = {ends: pair for ends, pair in suspects.items() if self._suspects.get(ends) == pair}
        self._suspects = suspects
        self.differences = [
            Difference(ends, ours, theirs, kernel[ends].process if ends in kernel else "")
            for ends, (ours, theirs) in sorted(lasting.items())
        ]
        return self._events(given.result.end_ns)

    def _events(self, at_ns: int) -> list[dict[str, Any]]:
        now = {(one.ends, one.tracked, one.kernel): one for one in self.differences}
        events = [
            {
                "event": "difference",
                "at_ns": at_ns,
                **dict(zip(("local", "local_port", "peer", "peer_port"), one.ends, strict=True)),
                "tracked": one.tracked,
                "kernel": one.kernel,
                "process": one.process,
            }
            for key, one in now.items()
            if key not in self._told
        ]
        self._told = set(now)
        return events

    def summary(self) -> dict[str, int]:
        """Of the last look: connections compared, those that differ, and sockets without a packet."""
        return {"compared": self.compared, "different": len(self.differences), "unseen": self.unseen}

    def _sockets(self) -> tuple[dict[Ends, Socket], dict[Ends, str]]:
        """The kernel's connections, and the processes that listen."""
        import psutil

        found = {}
        listening: dict[Ends, str] = {}
        alive: dict[int, str] = {}
        for one in psutil.net_connections("tcp"):
            if one.pid is not None and one.pid not in alive:
                alive[one.pid] = self._names.get(one.pid) or _name(one.pid)
            process = f"{alive[one.pid]}[{one.pid}]" if one.pid is not None else ""
            if one.laddr and one.status == "LISTEN" and process:
                bound = self._addresses if one.laddr.ip in _WILDCARDS else (_address(one.laddr.ip),)
                for address in bound:
                    listening.setdefault((address, one.laddr.port, "", 0), process)
            if not one.laddr or not one.raddr or one.status not in STATES:
                continue
            ends = (_address(one.laddr.ip), one.laddr.port, _address(one.raddr.ip), one.raddr.port)
            found[ends] = Socket(STATES[one.status], process)
        self._names = alive
        return found, listening

    def _tracked(self, given: Taken) -> dict[Ends, tuple[str, int]] | None:
        """This host's ends of connections, with state and last packet; None where there are too many."""
        import numpy as np

        rows = matrix(given.result.facts)
        now = given.result.end_ns
        found: dict[Ends, tuple[str, int]] = {}
        order = np.argsort(rows[:, INDEX["number"]], kind="stable")
        for end, other in (("o_", "r_"), ("r_", "o_")):
            here = moment.is_one_of(rows, end, self._hosts)
            if int(here.sum()) > MOST_COMPARED:
                return None
            shown = moment.ends_now(rows, end, now, self._timers)
            for place in order[here[order]]:
                row = rows[place]
                ipv6 = bool(int(row[INDEX["bits"]]) & f.IPV6)
                ends = (*_end(row, end, ipv6), *_end(row, other, ipv6))
                state = int(shown[place])
                name = NO_SOCKET if state in (states.CLOSED, states.LISTEN) else states.STATES[state]
                found[ends] = (name, int(row[INDEX["last_ns"]]))
        return found


def owner_of(owners: Owners, flow: dict[str, Any]) -> str:
    """The process at either end of a flow (a record with both addresses and ports), as far as it is known."""
    o, r = (flow["originator"], flow["originator_port"]), (flow["responder"], flow["responder_port"])
    return owners.get((*r, *o)) or owners.get((*o, *r)) or owners.get((*r, "", 0)) or ""


def owners_of(owners: Owners, table: FlowTable, flows: Iterable[int]) -> list[str]:
    """The processes behind flows given by number, those with most of them first, `MOST_NAMED` at most."""
    if not owners:
        return []
    wanted = set(flows)
    rows = (row for row, number in enumerate(table.raw("number")) if number in wanted)
    found = Counter(owner_of(owners, record(table, row, ENDS_OF_FLOW)) for row in rows)
    del found[""]
    return [process for process, _ in found.most_common(MOST_NAMED)]


def _end(row: Any, end: str, ipv6: bool) -> tuple[str, int]:
    address = address_text(int(row[INDEX[end + "hi"]]), int(row[INDEX[end + "lo"]]), ipv6)
    return address, int(row[INDEX[end + "port"]])


def _address(text: str) -> str:
    """As the columns write it: without its scope, an IPv4 peer of an IPv6 socket as IPv4."""
    text = text.partition("%")[0]
    return text.removeprefix("::ffff:") if "." in text else text


def _name(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "?"
